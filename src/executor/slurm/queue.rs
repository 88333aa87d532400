//! What `squeue` says of pilots.

use super::error::SlurmError;

/// A job, one of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Number of the array.
    pub job: String,
    /// Its place in the array.
    pub index: String,
    /// How it stands.
    pub state: TaskState,
    /// Why it waits, or why it ended, as Slurm says.
    pub reason: String,
    /// Where it runs or ran.
    pub node: String,
    /// Its time limit, as Slurm writes it.
    pub limit: String,
    /// The name that it was submitted under.
    pub batch: String,
}

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// It waits for its turn.
    Pending,
    /// It runs, or is in between: being set up, ended or put back into the queue.
    Running,
    /// It is over, in this way: `COMPLETED`, `OUT_OF_MEMORY`.
    Ended(String),
}

/// States in which a job is over. Whatever else Slurm may say now or in later versions, it is not.
const ENDED: [&str; 10] = [
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
];

impl Task {
    /// As people and the folders of pilots call it: `17_3`.
    pub fn name(&self) -> String {
        format!("{}_{}", self.job, self.index)
    }

    /// Is it not over yet?
    pub fn is_live(&self) -> bool {
        !matches!(self.state, TaskState::Ended(_))
    }

    /// What a person should know about why it waits, if it is more than waiting for its turn.
    pub fn why_it_waits(&self) -> Option<String> {
        if self.state != TaskState::Pending {
            return None;
        }
        let reason = self.reason.as_str();
        let never = "it will never start so: cancel, and submit with other options";
        let says = match reason {
            "" | "None" | "Priority" => return None,
            "Resources" => "waiting for nodes to become free".to_owned(),
            "BeginTime" => {
                "put back into the queue; Slurm starts such jobs two minutes later".to_owned()
            }
            "DependencyNeverSatisfied"
            | "BadConstraints"
            | "PartitionTimeLimit"
            | "PartitionNodeLimit"
            | "InvalidQOS"
            | "InvalidAccount" => format!("{reason}: {never}"),
            "JobHeldUser" => "held: `scontrol release` lets it go".to_owned(),
            "JobHeldAdmin" => "held by an administrator, who alone can let it go".to_owned(),
            "launch failed requeued held" | "launch_failed_requeued_held" => {
                "a node could not start it, and Slurm holds it: `scontrol release` lets it go"
                    .to_owned()
            }
            // Also of what no node has: `sbatch` of some versions takes that all the same.
            "PartitionConfig" => {
                "PartitionConfig: no node of the partition has now what each job asks for (`sinfo -o '%P %c %m %G'`)"
                    .to_owned()
            }
            "PartitionDown" | "PartitionInactive" => {
                format!("{reason}: the partition takes no jobs now")
            }
            _ if reason.starts_with("ReqNodeNotAvail") => {
                format!("{reason}: nodes are down, drained or reserved (maintenance?)")
            }
            _ if reason.contains("Limit")
                || reason.starts_with("QOS")
                || reason.starts_with("Assoc") =>
            {
                format!(
                    "{reason}: a limit of your account or QOS; it starts when others of yours end"
                )
            }
            _ => reason.to_owned(),
        };
        Some(says)
    }

    /// What a person should know about how it ended, if it was not well.
    pub fn why_it_failed(&self) -> Option<String> {
        let TaskState::Ended(state) = &self.state else { return None };
        let out_of_time = format!(
            "it was killed at its time limit of {} before it could stop by itself",
            self.limit
        );
        let says = match state.as_str() {
            "COMPLETED" => return None,
            "OUT_OF_MEMORY" => "it was out of memory: ask for more with --mem",
            "TIMEOUT" => out_of_time.as_str(),
            "NODE_FAIL" => "its node failed",
            "BOOT_FAIL" => "its node did not boot",
            "PREEMPTED" => "it had to make room for others",
            "CANCELLED" => "it was cancelled",
            "DEADLINE" => "its deadline passed",
            _ => "it failed",
        };
        let on = if self.node.is_empty() { String::new() } else { format!(" on {}", self.node) };
        Some(format!("pilot {}{on}: {says} ({state})", self.name()))
    }
}

/// Reads what `squeue --format=%F|%K|%T|%r|%N|%l|%j` prints.
pub(super) fn parse(text: &str) -> Result<Vec<Task>, SlurmError> {
    let task = |line: &str| {
        let mut fields = line.trim().split('|').map(str::trim);
        let mut next = || fields.next().map(str::to_owned);
        let (job, index, state) = (next()?, next()?, next()?);
        let (reason, node, limit, batch) = (next()?, next()?, next()?, next()?);
        let state = match state.as_str() {
            "PENDING" => TaskState::Pending,
            // `CANCELLED by 1000` in some versions.
            other => match ENDED.iter().find(|ended| other.split(' ').next() == Some(ended)) {
                Some(ended) => TaskState::Ended((*ended).to_owned()),
                None => TaskState::Running,
            },
        };
        Some(Task { job, index, state, reason, node, limit, batch })
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let message = format!("squeue printed {line:?}");
            task(line).ok_or(SlurmError::Unclear { message })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_squeue_prints_is_told_to_people() {
        let text = "\
17|0|RUNNING|None|n3|1:00:00|gridlane-lr-1
17|1|PENDING|Priority||1:00:00|gridlane-lr-1
17|2|PENDING|Resources||1:00:00|gridlane-lr-1
17|3|PENDING|QOSMaxGRESPerUser||1:00:00|gridlane-lr-1
17|4|PENDING|launch failed requeued held||1:00:00|gridlane-lr-1
17|5|PENDING|ReqNodeNotAvail, UnavailableNodes:n[1-3]||1:00:00|gridlane-lr-1
17|6|PENDING|PartitionTimeLimit||1:00:00|gridlane-lr-1
17|7|COMPLETED|None|n1|1:00:00|gridlane-lr-1
17|8|OUT_OF_MEMORY|OutOfMemory|n1|1:00:00|gridlane-lr-1
17|9|NODE_FAIL|None|n2|1:00:00|gridlane-lr-1
17|10|CANCELLED|None||1:00:00|gridlane-lr-1
17|11|COMPLETING|None|n4|1:00:00|gridlane-lr-1
17|12|REQUEUE_HOLD|None||1:00:00|gridlane-lr-1
17|14|PENDING|PartitionConfig||1:00:00|gridlane-lr-1
17|15|TIMEOUT|TimeLimit|n1|1:00|gridlane-lr-1
17|13|SOMETHING_NEW|None|n1|1:00:00|gridlane-lr-1
";
        let tasks = parse(text).unwrap();
        let told: Vec<String> = tasks
            .iter()
            .map(|task| {
                let live = if task.is_live() { "live" } else { "over" };
                let says = task.why_it_waits().or(task.why_it_failed()).unwrap_or_default();
                format!("{:5} {live} {says}", task.name())
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
        assert!(parse("slurm_load_jobs error: nonsense").is_err());
        assert!(parse("\n").unwrap().is_empty());
    }
}
