//! Why Slurm did not do what it was asked.

use std::time::Duration;

use crate::record::RecordError;
use crate::units::show_duration;

/// Why Slurm did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SlurmError {
    /// A program of Slurm is not on the path.
    #[error(
        "`{program}` is not on the path: this machine has no Slurm, or its module is not loaded"
    )]
    Missing {
        /// Which.
        program: &'static str,
    },
    /// The programs of Slurm are here, and do not know where its controller is: nothing was asked for.
    #[error("Slurm is installed on this machine and finds no cluster: {message}")]
    NoCluster {
        /// As Slurm puts it.
        message: String,
    },
    /// Slurm says no, and will say so again.
    #[error("Slurm refuses: {message}")]
    Refused {
        /// As Slurm puts it.
        message: String,
    },
    /// No node can ever have what each job asks for.
    #[error("{why}. Slurm says: {said}")]
    Unfit {
        /// What is asked for, and what there is.
        why: String,
        /// As Slurm puts it.
        said: String,
    },
    /// No answer, or one that says nothing: what was asked for may have happened all the same.
    #[error("no clear answer from Slurm: {message}")]
    Unclear {
        /// What came instead.
        message: String,
    },
    /// The record could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Somebody wants to stop.
    #[error("stopped while Slurm was asked")]
    Stopped,
}

/// What Slurm's programs say when the controller cannot be asked, or was too slow; not of the request.
const PASSING: [&str; 11] = [
    "timed out",
    "unable to contact",
    "zero bytes were transmitted",
    "connection refused",
    "connection failure",
    "transport endpoint",
    "temporarily",
    "standby mode",
    "unexpected message received",
    "protocol authentication error",
    "try again",
];

/// What they say before they have asked anybody, for want of a `slurm.conf`.
const LOST: [&str; 3] = ["configuration source", "fetch_config", "process configuration file"];

impl SlurmError {
    /// What a program that failed with this on its error output means.
    pub(super) fn of_failed(program: &str, text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let message = one_line(program, text);
        let says = |words: &[&str]| words.iter().any(|words| lower.contains(words));
        // Why no configuration came may sound like a controller that is away, which it may be.
        if says(&LOST) {
            Self::NoCluster { message }
        } else if says(&PASSING) {
            Self::Unclear { message }
        } else {
            Self::Refused { message }
        }
    }

    /// A program that took longer than `patience`.
    pub(super) fn silent(program: &str, patience: Duration) -> Self {
        let message = format!("`{program}` took longer than {}", show_duration(patience));
        Self::Unclear { message }
    }

    /// Is it certain that what was asked for does not happen?
    pub(super) fn is_certain(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Missing { .. } | Self::NoCluster { .. })
    }

    /// What a person can do about it.
    pub fn help(&self) -> String {
        let Self::Refused { message } = self else {
            return match self {
                Self::Missing { .. } => "run it on the cluster's login node (`module load slurm` there, where modules \
                                         are used); without `--slurm` the sweep runs on this machine",
                Self::NoCluster { .. } => "run it on the cluster's login node, or let SLURM_CONF name the cluster's slurm.conf \
                                           (`sinfo` shows whether that does); without `--slurm` the sweep runs on this machine",
                Self::Unfit { .. } => "ask for less, or name another --partition: `sinfo -o '%P %c %m %G'` lists what nodes have",
                _ => "nothing is lost: the same command goes on when Slurm answers (`scontrol ping` says whether)",
            }
            .to_owned();
        };
        let lower = message.to_ascii_lowercase();
        let knows = |word: &str| lower.contains(word);
        if knows("permission denied") {
            return "another user's jobs, who can cancel them: `squeue` says whose they are"
                .to_owned();
        }
        // Of both where an account may not use a partition.
        let help = if knows("account") {
            "name one of your accounts with --account: `sacctmgr show associations user=$USER` lists them"
        } else if knows("partition") {
            "`sinfo` lists the partitions; name one with --partition"
        } else if knows("qos") {
            "name a QOS that you may use with --qos: `sacctmgr show qos` lists them"
        } else if knows("node configuration") || knows("generic resource") || knows("gres") {
            "no node of the partition has what each pilot asks for: look at --gpus, --cpus, --mem beside `sinfo -o '%P %c %m %G'`"
        } else if knows("time") {
            "give a --time that the partition allows: `sinfo -o '%P %l'`"
        } else if knows("array") {
            "arrays of jobs are limited or off here: `scontrol show config | grep MaxArraySize`"
        } else {
            "the options are in slurm.sh in the sweep's folder and on the command line; further ones go into --sbatch"
        };
        help.to_owned()
    }
}

/// The words of Slurm without its names before them.
fn one_line(program: &str, text: &str) -> String {
    let [error, fatal] = ["error", "fatal"].map(|weight| format!("{program}: {weight}: "));
    let said = text.lines().map(|line| line.trim().trim_start_matches(&error));
    let said = said.map(|line| line.trim_start_matches(&fatal));
    // The second is what `--test-only` says.
    let said = said.map(|line| line.trim_start_matches("Batch job submission failed: "));
    let said = said.map(|line| line.trim_start_matches("allocation failure: "));
    said.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_silence_and_come_with_help() {
        let refused = [
            "sbatch: error: invalid partition specified: gpuu\nsbatch: error: Batch job submission failed: Invalid partition name specified",
            "sbatch: error: Batch job submission failed: Requested node configuration is not available",
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
            "sbatch: error: Batch job submission failed: Invalid qos specification",
            "sbatch: error: Batch job submission failed: Invalid job array specification",
            "scancel: error: Kill job error on job id 44_0: Access/permission denied",
            "sbatch: error: invalid partition specified: gpuu\nallocation failure: Invalid partition name specified",
            "sbatch: error: fetch_config: DNS SRV lookup failed\nsbatch: fatal: Could not establish a configuration source",
        ];
        let told: Vec<String> = refused
            .iter()
            .map(|text| {
                let error = SlurmError::of_failed("sbatch", text);
                format!("{error}\n  {}", error.help())
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
        for text in [
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
            "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
            "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
        ] {
            let error = SlurmError::of_failed("sbatch", text);
            assert!(matches!(error, SlurmError::Unclear { .. }), "{error}");
        }
    }
}
