//! What a cluster has: the nodes of a partition, the most jobs of an array, the time limit of a job.

use std::time::Duration;

use super::Slurm;
use super::error::SlurmError;
use super::options::{SlurmOptions, seconds};

/// Jobs of an array where Slurm does not say how many there may be: what it allows if nobody has changed it.
const MOST_OF_AN_ARRAY: u32 = 1000;

/// A node as a partition has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    partition: String,
    cpus: u32,
    memory_mib: u64,
    gpus: u32,
}

/// The time limit of a job that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimit {
    /// All of it.
    pub limit: Duration,
    /// What is left.
    pub left: Duration,
}

impl TimeLimit {
    /// Time before the end at which runs are stopped, so that they have checkpoints.
    pub fn warning(self) -> Duration {
        super::options::warning(self.limit)
    }
}

impl Slurm {
    /// Would Slurm take a job like this? `None` where it would, or does not answer: then it is seen when the
    /// job is submitted. Otherwise its words.
    ///
    /// # Errors
    /// [`SlurmError::Missing`], [`SlurmError::NoCluster`].
    pub(super) fn objection(&self, arguments: &[String]) -> Result<Option<String>, SlurmError> {
        let arguments = [&["--test-only".to_owned()][..], arguments].concat();
        match self.ask("sbatch", &arguments) {
            Err(SlurmError::Refused { message }) => Ok(Some(message)),
            Err(error @ (SlurmError::Missing { .. } | SlurmError::NoCluster { .. })) => Err(error),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// The nodes of those partitions, or of the cluster's own choice.
    pub(super) fn nodes(&self, partitions: Option<&str>) -> Vec<Node> {
        let mut arguments = vec!["--noheader", "--Node", "--format=%P|%c|%m|%G"];
        let named = partitions.map(|names| format!("--partition={names}"));
        arguments.extend(named.as_deref());
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let Ok(text) = self.ask("sinfo", &arguments) else { return Vec::new() };
        let mut nodes: Vec<Node> = text.lines().filter_map(node).collect();
        if partitions.is_none() && nodes.iter().any(|node| node.partition.ends_with('*')) {
            nodes.retain(|node| node.partition.ends_with('*'));
        }
        nodes
    }

    /// Jobs that one array may have.
    pub fn most_of_an_array(&self) -> u32 {
        let config = self.ask("scontrol", &["show".to_owned(), "config".to_owned()]);
        config.ok().as_deref().and_then(most_of_an_array).unwrap_or(MOST_OF_AN_ARRAY)
    }

    /// The time limit of a job that runs; `None` where it has none, or Slurm does not say.
    pub fn time_limit(&self, job: &str) -> Option<TimeLimit> {
        let arguments =
            ["--noheader".to_owned(), format!("--jobs={job}"), "--format=%l|%L".to_owned()];
        time_limit(&self.ask("squeue", &arguments).ok()?)
    }
}

/// `main*|64|256000|gpu:a100:4(S:0-1)`.
fn node(line: &str) -> Option<Node> {
    let mut fields = line.trim().split('|');
    let mut next = || fields.next().map(str::trim);
    let (partition, cpus, memory, gres) = (next()?, next()?, next()?, next()?);
    Some(Node {
        partition: partition.to_owned(),
        // `64+` where nodes differ.
        cpus: cpus.trim_end_matches('+').parse().ok()?,
        memory_mib: memory.trim_end_matches('+').parse().ok()?,
        gpus: gpus_of(gres),
    })
}

/// GPUs of `gpu:a100:4(S:0-1),gpu:v100:2,nvme:1`.
fn gpus_of(gres: &str) -> u32 {
    let mut depth = 0;
    // Commas within brackets are of the lists of sockets.
    let plain: String = gres
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '(') - i32::from(*c == ')');
            depth == 0 && *c != ')'
        })
        .collect();
    let of_gpus = plain.split(',').filter(|part| part.split(':').next() == Some("gpu"));
    of_gpus.filter_map(|part| part.rsplit(':').next()?.parse::<u32>().ok()).sum()
}

fn most_of_an_array(config: &str) -> Option<u32> {
    let line = config.lines().find(|line| line.trim_start().starts_with("MaxArraySize"))?;
    let most: u32 = line.split('=').nth(1)?.trim().parse().ok()?;
    (most > 0).then_some(most)
}

fn time_limit(text: &str) -> Option<TimeLimit> {
    let (limit, left) = text.trim().split_once('|')?;
    let [limit, left] = [limit, left].map(|text| seconds(text).map(Duration::from_secs));
    Some(TimeLimit { limit: limit?, left: left? })
}

/// Why no node can ever have what each job asks for; `None` where one has it, or none is known.
pub(super) fn misfit(options: &SlurmOptions, nodes: &[Node]) -> Option<String> {
    let (cpus, gpus) = (options.cpus.unwrap_or(1), options.gpus.unwrap_or(0));
    let memory = options.memory().unwrap_or(0).div_ceil(1 << 20);
    let has = |node: &Node| node.cpus >= cpus && node.gpus >= gpus && node.memory_mib >= memory;
    if nodes.is_empty() || nodes.iter().any(has) {
        return None;
    }
    let most = |of: &dyn Fn(&Node) -> u64| nodes.iter().map(of).max().unwrap_or(0);
    let (most_cpus, most_gpus) = (most(&|n| n.cpus.into()), most(&|n| n.gpus.into()));
    let most_memory = most(&|n| n.memory_mib);
    let mut names: Vec<&str> =
        nodes.iter().map(|node| node.partition.trim_end_matches('*')).collect();
    names.sort_unstable();
    names.dedup();
    let place = match names.as_slice() {
        [one] => format!("partition {one}"),
        several => format!("partitions {}", several.join(", ")),
    };
    let too_much: Vec<String> = [
        (u64::from(cpus), most_cpus, "--cpus", "cores", cpus.to_string(), most_cpus.to_string()),
        (u64::from(gpus), most_gpus, "--gpus", "GPUs", gpus.to_string(), most_gpus.to_string()),
        (
            memory,
            most_memory,
            "--mem",
            "of memory",
            options.mem.clone().unwrap_or_default(),
            format!("{most_memory}M"),
        ),
    ]
    .into_iter()
    .filter(|(asked, most, ..)| asked > most)
    .map(|(_, _, option, what, asked, most)| {
        format!("{option} {asked}, and no node of {place} has more than {most} {what}")
    })
    .collect();
    Some(match too_much.is_empty() {
        true => format!("no node of {place} has all of it: {}", wishes(cpus, gpus, options)),
        false => format!("each job asks for {}", too_much.join("; for ")),
    })
}

fn wishes(cpus: u32, gpus: u32, options: &SlurmOptions) -> String {
    let mem = options.mem.as_ref().map(|mem| format!(", --mem {mem}")).unwrap_or_default();
    format!("--cpus {cpus}, --gpus {gpus}{mem}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Vec<Node> {
        let text = "main*|2|4000|gpu:2\nmain*|64|256000|gpu:a100:4(S:0-1),gpu:v100:2(S:0,1),nvme:8\nmain*|8+|8000+|(null)";
        text.lines().filter_map(node).collect()
    }

    #[test]
    fn what_no_node_can_have_is_told_beside_what_there_is() {
        assert_eq!(nodes().iter().map(|node| node.gpus).collect::<Vec<_>>(), [2, 6, 0]);
        let of = |cpus, gpus, mem: Option<&str>| {
            let mem = mem.map(str::to_owned);
            let options = SlurmOptions { cpus, gpus, mem, ..SlurmOptions::default() };
            misfit(&options, &nodes())
        };
        assert_eq!(of(Some(64), Some(6), Some("250G")), None);
        assert_eq!(of(None, None, None), None);
        let told: Vec<String> =
            [of(Some(99), None, None), of(Some(99), Some(9), Some("1T")), of(None, Some(7), None)]
                .into_iter()
                .map(Option::unwrap)
                .collect();
        insta::assert_snapshot!(told.join("\n"));
        // Each of them somewhere, and nowhere all.
        let small = [node("a|2|99000|(null)").unwrap(), node("b|64|1000|gpu:1").unwrap()];
        let options =
            SlurmOptions { cpus: Some(4), mem: Some("9G".to_owned()), ..SlurmOptions::default() };
        insta::assert_snapshot!("none_has_all", misfit(&options, &small).unwrap());
        assert_eq!(misfit(&options, &[]), None, "nothing is known");
    }

    #[test]
    fn limits_as_slurm_writes_them() {
        let limit = |limit, left| {
            let [limit, left] = [limit, left].map(Duration::from_secs);
            Some(TimeLimit { limit, left })
        };
        assert_eq!(time_limit("1:00|0:48\n"), limit(60, 48));
        assert_eq!(time_limit("1-02:00:00|1:00:00"), limit(93_600, 3600));
        assert_eq!(time_limit("UNLIMITED|UNLIMITED"), None);
        assert_eq!(time_limit(""), None);
        assert_eq!(time_limit("1:00|INVALID"), None);
        assert_eq!(time_limit("1:00|0:59\n1:00|0:58"), None, "of several jobs");
        let config = "MaxArraySize            = 1001\nMaxBatchRequeue = 5\n";
        assert_eq!(most_of_an_array(config), Some(1001));
        assert_eq!(most_of_an_array("SLURM_VERSION = 24.05"), None);
    }
}
