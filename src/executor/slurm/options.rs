//! What each pilot job asks Slurm for, and the script that it runs.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::spec::slurm::SlurmSection;

/// Seconds before its time limit at which a pilot is told, where the limit leaves as many.
const WARNING_S: u64 = 120;

/// What each pilot job asks Slurm for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlurmOptions {
    /// The partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// The account that pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The quality of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<String>,
    /// The time limit, as Slurm writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    /// Cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory, as Slurm writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem: Option<String>,
    /// Jobs at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pilots: Option<u32>,
    /// Further options, word for word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sbatch: Vec<String>,
}

impl SlurmOptions {
    /// These, and what they do not say as `other` says it. Further options are all of them.
    pub fn or(self, other: Self) -> Self {
        let sbatch = if self.sbatch.is_empty() { other.sbatch } else { self.sbatch };
        Self {
            partition: self.partition.or(other.partition),
            account: self.account.or(other.account),
            qos: self.qos.or(other.qos),
            time: self.time.or(other.time),
            gpus: self.gpus.or(other.gpus),
            cpus: self.cpus.or(other.cpus),
            mem: self.mem.or(other.mem),
            pilots: self.pilots.or(other.pilots),
            sbatch,
        }
    }

    /// Bytes of memory of a job, where that is said.
    pub fn memory(&self) -> Option<u64> {
        let text = self.mem.as_deref()?;
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match text[digits.len()..].chars().next() {
            Some('K' | 'k') => 1 << 10,
            None | Some('M' | 'm') => 1 << 20,
            Some('G' | 'g') => 1 << 30,
            Some('T' | 't') => 1 << 40,
            Some(_) => return None,
        };
        // Slurm takes 0 for all that a node has.
        digits.parse::<u64>().ok().filter(|n| *n > 0)?.checked_mul(unit)
    }

    /// The command line of `sbatch` for `pilots` jobs called `name`, whose logs go to `logs`.
    pub fn arguments(
        &self,
        name: &str,
        pilots: u32,
        (script, logs): (&Path, &Path),
    ) -> Vec<String> {
        let mut arguments: Vec<String> = vec![
            "--parsable".to_owned(),
            format!("--job-name={name}"),
            format!("--array=0-{}", pilots.max(1) - 1),
            "--nodes=1".to_owned(),
            "--ntasks=1".to_owned(),
            format!("--output={}/%A_%a.log", logs.display()),
            "--open-mode=append".to_owned(),
            "--requeue".to_owned(),
            // `B:` is the batch script alone, which the pilot takes the place of. Not USR2: NCCL has it.
            format!("--signal=B:USR1@{}", self.warning_s()),
        ];
        let named = [
            ("partition", &self.partition),
            ("account", &self.account),
            ("qos", &self.qos),
            ("time", &self.time),
            ("mem", &self.mem),
        ];
        let named = named.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        arguments.extend(named.map(|(key, value)| format!("--{key}={value}")));
        arguments.extend(self.cpus.map(|cpus| format!("--cpus-per-task={cpus}")));
        // `--gres` is what every version and every site knows.
        arguments.extend(self.gpus.filter(|n| *n > 0).map(|gpus| format!("--gres=gpu:{gpus}")));
        arguments.push(script.display().to_string());
        arguments
    }

    /// Seconds before the time limit at which a pilot is told.
    fn warning_s(&self) -> u64 {
        let limit = self.time.as_deref().and_then(seconds).map(Duration::from_secs);
        limit.map_or(WARNING_S, |limit| warning(limit).as_secs())
    }

    /// The script of a pilot: the further options, then `program pilot sweep` in the shell's place, so that
    /// Slurm's signals reach it.
    pub fn script(&self, program: &Path, sweep: &Path) -> String {
        let further: String =
            self.sbatch.iter().map(|option| format!("#SBATCH {option}\n")).collect();
        let (program, sweep) = (quoted(program), quoted(sweep));
        format!(
            "#!/bin/sh\n{further}\
             # Made by gridlane {}, which submits it: a pilot, which takes runs of the sweep until none is left.\n\
             # Slurm may announce the end of the job's time before anybody listens, which is to kill nobody.\n\
             trap '' USR1\n\
             program={program}\nsweep={sweep}\n\
             if ! [ -x \"$program\" ]; then\n\
             \x20   echo \"the program $program is not on node $(uname -n): put it on a disk that the nodes share\" >&2\n\
             \x20   exit 72\n\
             fi\n\
             if ! [ -f \"$sweep/slurm.json\" ]; then\n\
             \x20   echo \"the sweep's folder $sweep is not on node $(uname -n): --runs must be on a disk that the nodes share\" >&2\n\
             \x20   exit 72\n\
             fi\n\
             exec \"$program\" pilot \"$sweep\"\n",
            env!("CARGO_PKG_VERSION"),
        )
    }
}

impl From<&SlurmSection> for SlurmOptions {
    fn from(section: &SlurmSection) -> Self {
        let SlurmSection { partition, account, qos, time, gpus, cpus, mem, pilots, sbatch } =
            section.clone();
        Self { partition, account, qos, time, gpus, cpus, mem, pilots, sbatch }
    }
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Time before a limit at which a pilot stops: a fifth of it, within what makes sense.
pub(super) fn warning(limit: Duration) -> Duration {
    Duration::from_secs((limit.as_secs() / 5).clamp(10, WARNING_S))
}

/// Seconds of a time limit as Slurm writes it: `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M`, `D-H:M:S`.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(days.parse::<u64>().ok()?), rest),
        None => (None, text),
    };
    let parts: Vec<u64> = rest.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match (days, parts.as_slice()) {
        (Some(_), [h]) => (*h, 0, 0),
        (Some(_), [h, m]) => (*h, *m, 0),
        (_, [h, m, s]) => (*h, *m, *s),
        (None, [m]) => (0, *m, 0),
        (None, [m, s]) => (0, *m, *s),
        _ => return None,
    };
    Some(((days.unwrap_or(0) * 24 + hours) * 60 + minutes) * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_and_the_script() {
        let options = SlurmOptions {
            partition: Some("gpu".to_owned()),
            time: Some("2:00:00".to_owned()),
            gpus: Some(2),
            cpus: Some(8),
            mem: Some("16G".to_owned()),
            sbatch: vec!["--constraint=\"a100&ib\"".to_owned()],
            ..SlurmOptions::default()
        };
        let runs = Path::new("/shared/o'neil/runs/lr");
        let (script, logs) = (runs.join("slurm.sh"), runs.join("pilots"));
        let arguments = options.arguments("gridlane-lr-1", 4, (&script, &logs)).join("\n");
        let script = options.script(Path::new("/opt/gridlane"), runs);
        insta::assert_snapshot!(format!("{arguments}\n\n{script}"));
        assert_eq!(options.memory(), Some(16 << 30));
    }

    #[test]
    fn the_warning_fits_into_the_time_limit() {
        let warning = |time: Option<&str>| {
            let time = time.map(str::to_owned);
            SlurmOptions { time, ..SlurmOptions::default() }.warning_s()
        };
        let cases = [(None, 120), (Some("1"), 12), (Some("5:00"), 60), (Some("1-0"), 120)];
        for (time, expected) in cases {
            assert_eq!(warning(time), expected, "{time:?}");
        }
        assert_eq!(seconds("1-02:03:04"), Some(93_784));
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn what_is_said_first_counts() {
        let said = SlurmOptions { gpus: Some(1), ..SlurmOptions::default() };
        let file = SlurmOptions {
            gpus: Some(4),
            qos: Some("low".to_owned()),
            sbatch: vec!["--exclusive".to_owned()],
            ..SlurmOptions::default()
        };
        let both = said.or(file);
        assert_eq!((both.gpus, both.qos.as_deref(), both.sbatch.len()), (Some(1), Some("low"), 1));
    }
}
