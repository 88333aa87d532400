//! Calls a program of Slurm: with a time limit, and without what a surrounding job or a person's habits
//! would make of it.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::error::SlurmError;

/// How often it is looked whether the program has ended.
const POLL: Duration = Duration::from_millis(10);

/// What a program came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It ended well, and printed this.
    Good(String),
    /// It did not, and complained so.
    Bad(String),
    /// It took too long and was killed.
    None,
}

/// Is a variable of the environment kept from the programs? Those of a surrounding job make an inner one
/// believe that it is part of it; those of `squeue` and `sbatch` change what they print or are asked for.
/// `SLURM_CONF` says where the cluster is.
fn is_kept_from(name: &str) -> bool {
    const FOREIGN: [&str; 6] = ["SLURM_", "SQUEUE_", "SINFO_", "PMIX_", "PMI_", "SCANCEL_"];
    /// What the command line of `sbatch` says, or the program relies on.
    const SAID: [&str; 12] = [
        "SBATCH_ARRAY_INX",
        "SBATCH_CLUSTERS",
        "SBATCH_EXPORT",
        "SBATCH_JOB_NAME",
        "SBATCH_NO_REQUEUE",
        "SBATCH_OPEN_MODE",
        "SBATCH_OUTPUT",
        "SBATCH_REQUEUE",
        "SBATCH_SIGNAL",
        "SBATCH_TEST_ONLY",
        "SBATCH_WAIT",
        "SBATCH_WCKEY",
    ];
    let foreign = FOREIGN.iter().any(|prefix| name.starts_with(prefix));
    (foreign && name != "SLURM_CONF") || SAID.contains(&name)
}

/// Calls `program` and waits for at most `patience`.
pub(super) fn call(
    program: &'static str,
    arguments: &[String],
    patience: Duration,
) -> Result<Answer, SlurmError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_kept_from) {
            command.env_remove(name);
        }
    }
    // Ctrl-C in the terminal is for whoever watches: `sbatch` that dies of it may have been heard.
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SlurmError::Missing { program },
        _ => SlurmError::Unclear { message: format!("cannot start {program}: {error}") },
    })?;
    let (out, err) = (read_all(child.stdout.take()), read_all(child.stderr.take()));
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < patience => thread::sleep(POLL),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Ok(Answer::None);
            }
            Err(error) => {
                return Err(SlurmError::Unclear { message: format!("{program}: {error}") });
            }
        }
    };
    if let Some(signal) = status.signal() {
        // What it had asked for by then may happen all the same.
        let message = format!("`{program}` was killed (signal {signal})");
        return Err(SlurmError::Unclear { message });
    }
    let text = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default();
    Ok(match status.success() {
        true => Answer::Good(text(out)),
        false => {
            let said = format!("{}\n{}", text(err).trim(), text(out).trim());
            Answer::Bad(match said.trim() {
                "" => format!("{program} ended with {status} and no word"),
                said => said.to_owned(),
            })
        }
    })
}

/// Reads a pipe to its end beside the program, which a full pipe would stall. A grandchild that keeps the
/// pipe open keeps this thread, and nobody else.
fn read_all(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_the_cluster_is_passes_from_a_surrounding_job() {
        for name in ["SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SQUEUE_STATES", "SBATCH_JOB_NAME"] {
            assert!(is_kept_from(name), "{name}");
        }
        for name in ["SLURM_CONF", "SBATCH_PARTITION", "SBATCH_ACCOUNT", "PATH", "CUDA_HOME"] {
            assert!(!is_kept_from(name), "{name}");
        }
    }

    #[test]
    fn a_program_that_hangs_is_killed_and_one_that_is_not_there_is_named() {
        let patience = Duration::from_millis(50);
        let hangs = call("sleep", &["1000".to_owned()], patience).unwrap();
        assert_eq!(hangs, Answer::None);
        let error = call("no-such-program-of-slurm", &[], patience).unwrap_err();
        assert!(matches!(error, SlurmError::Missing { .. }), "{error}");
        let killed = call("sh", &["-c".to_owned(), "kill -KILL $$".to_owned()], patience * 100);
        assert!(
            matches!(killed, Err(SlurmError::Unclear { .. })),
            "it may have been heard: {killed:?}"
        );
        let bad = call("false", &[], Duration::from_secs(60)).unwrap();
        assert_eq!(bad, Answer::Bad("false ended with exit status: 1 and no word".to_owned()));
    }
}
