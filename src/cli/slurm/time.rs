//! Jobs whose time is up: they go back into the queue, unless their time limit leaves none of them far enough
//! to get a run any further.

use std::time::{Duration, Instant};

use super::super::error::CliError;
use super::super::terminal;
use crate::dispatch::signals::TimeIsUp;
use crate::executor::slurm::submission::{began, job_of, own_job};
use crate::executor::slurm::{Slurm, TimeLimit};
use crate::record::claims::{LEFT_FORMAT, Left};
use crate::record::{Durability, PilotFolder, RecordError, SweepFolder, atomic};
use crate::units::show_duration;

/// Jobs in a row that may end at their time limit without a run that got any further.
const FRUITLESS: usize = 3;

/// Time limits below which Slurm, which does not know them when a job is submitted, announces the end when
/// the job has hardly begun: its announcement comes two minutes before the end, and up to half a minute early.
const SHORT: Duration = Duration::from_secs(300);

/// What to do about a time limit that is too short.
pub const MORE_TIME: &str = "give jobs more time with --time: `sinfo -o '%P %l %L'` lists the most and the default of each \
     partition, and a QOS may allow less. A job needs time to start, to read its data, and for some steps of training";

/// The job that a pilot runs in.
pub struct Job {
    id: Option<String>,
    limit: Option<TimeLimit>,
    begun: Instant,
}

impl Job {
    /// Asks Slurm for its time limit, which a partition or a QOS may have set.
    pub fn ask() -> Self {
        let id = own_job();
        let begun = Instant::now();
        let limit = id.as_deref().and_then(|id| Slurm::default().time_limit(id));
        Self { id, limit, begun }
    }

    /// `, time limit 4h 00m`; nothing where there is none.
    pub fn limit_in_words(&self) -> String {
        self.limit
            .map_or_else(String::new, |it| format!(", time limit {}", show_duration(it.limit)))
    }

    /// Is there no time for anything but training?
    pub fn is_short(&self) -> bool {
        self.limit.is_some_and(|it| it.limit < SHORT)
    }

    /// Uses what there is of a short time.
    pub fn uses(&self, time: TimeIsUp) -> TimeIsUp {
        match self.limit.filter(|_| self.is_short()) {
            Some(it) => time.known(self.begun + it.left.saturating_sub(it.warning())),
            None => time,
        }
    }

    /// Puts this job back into the queue, where it may be: the next pilot goes on.
    ///
    /// # Errors
    /// When this and the jobs before came no further: those that follow will not either.
    pub fn go_on_later(&self, folder: &SweepFolder, pilot: &PilotFolder) -> Result<(), CliError> {
        let Some(id) = &self.id else { return Ok(()) };
        let in_vain = in_vain(folder, pilot)?;
        let limit = self.limit.map_or_else(
            || "their time limit".to_owned(),
            |it| format!("their time limit of {}", show_duration(it.limit)),
        );
        if in_vain >= FRUITLESS {
            let message = format!(
                "no run got any further in {in_vain} jobs in a row: {limit} was over before there was a checkpoint"
            );
            atomic::replace(&folder.given_up(), message.as_bytes(), Durability::Derived)?;
            return Err(CliError::Cluster { message, help: MORE_TIME.to_owned() });
        }
        if in_vain > 0 {
            terminal::notice(&format!(
                "no run got any further within {limit} ({in_vain} of {FRUITLESS} jobs in a row, then it is given up)"
            ));
        }
        // Said first: Slurm ends this process as soon as it has heard.
        terminal::notice("time is up: this job goes back into the queue");
        if let Err(error) = Slurm::default().requeue(id) {
            terminal::notice(&format!(
                "it cannot, and whoever is attached submits another: {error}"
            ));
        }
        Ok(())
    }
}

/// How many pilots of this job in a row, `pilot` the last of them, ran out of time before a run got further.
fn in_vain(folder: &SweepFolder, pilot: &PilotFolder) -> Result<usize, RecordError> {
    let left: Option<Left> = atomic::read_json(&pilot.left(), LEFT_FORMAT)?;
    if !left.is_some_and(|left| left.fruitless) {
        return Ok(0);
    }
    atomic::replace(&pilot.out_of_time(), b"", Durability::Derived)?;
    let own = pilot.path().file_name().unwrap_or_default().to_string_lossy();
    let names = folder.pilot_names().map_err(RecordError::io("read", &folder.pilots()))?;
    let mut all: Vec<(u64, PilotFolder)> = names
        .iter()
        .filter(|name| job_of(name) == job_of(&own))
        .filter_map(|name| Some((began(name)?, folder.pilot(name))))
        .collect();
    all.sort_by_key(|(began, _)| std::cmp::Reverse(*began));
    Ok(all.iter().take_while(|(_, pilot)| pilot.out_of_time().exists()).count())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::ids::SweepName;

    /// A pilot of the job that began then, and how it left.
    fn pilot(sweep: &SweepFolder, job: &str, began: u64, fruitless: bool) -> PilotFolder {
        let pilot = sweep.pilot(&format!("{job}-{began}-4711"));
        fs::create_dir_all(pilot.path()).unwrap();
        let left = Left { format: LEFT_FORMAT, fruitless };
        atomic::replace_json(&pilot.left(), &left, Durability::Derived).unwrap();
        pilot
    }

    fn sweep(temporary: &Path) -> SweepFolder {
        SweepFolder::new(temporary, &SweepName::new("short").unwrap())
    }

    #[test]
    fn jobs_in_vain_are_counted_in_a_row_and_one_that_got_further_ends_it() {
        let temporary = tempfile::tempdir().unwrap();
        let sweep = sweep(temporary.path());
        let vain = [true, true, false, true, true, true];
        let mut counts = Vec::new();
        for (fruitless, began) in vain.into_iter().zip(998..) {
            // Others count for themselves.
            pilot(&sweep, "17_4", began, false);
            let last = pilot(&sweep, "17_3", began, fruitless);
            counts.push(in_vain(&sweep, &last).unwrap());
        }
        assert_eq!(counts, [1, 2, 0, 1, 2, 3]);
    }

    #[test]
    fn a_short_limit_that_slurm_announces_at_once_is_used() {
        let [limit, left] = [60, 58].map(Duration::from_secs);
        let begun = Instant::now();
        let job = Job { id: None, limit: Some(TimeLimit { limit, left }), begun };
        assert_eq!(job.limit_in_words(), ", time limit 1m 00s");
        let time = job.uses(TimeIsUp::listen().unwrap());
        assert_eq!(time.when(), Some(begun + Duration::from_secs(58 - 12)));
        let limit = Duration::from_secs(3600);
        let long = Job { limit: Some(TimeLimit { limit, left: limit }), ..job };
        assert_eq!(long.uses(TimeIsUp::listen().unwrap()).when(), None);
    }
}
