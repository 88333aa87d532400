//! A rank above 0: makes the calls of the trainer that rank 0 makes, and writes nothing.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::begin::{config_of, read_record, trainer_of};
use super::error::WorkerError;
use super::ranks::{Seat, announced};
use super::run::Assignment;
use crate::event::WorkerExit;
use crate::record::{RunFolder, checkpoint};
use crate::train::{EpochEnd, Part, TrainError, Trainer};

/// Computes a rank's share of a run, for as long as `stop` allows and rank 0 goes on.
///
/// # Errors
/// What keeps the rank from going on; see [`WorkerError`].
pub fn follow(
    assignment: &Assignment,
    seat: Seat,
    stop: &AtomicBool,
) -> Result<WorkerExit, WorkerError> {
    let started = Instant::now();
    let folder = RunFolder::at(&assignment.folder);
    let record = read_record(&folder)?;
    let config = config_of(&record)?;
    let ranks = seat.take(config.devices)?;
    let peers = ranks.peers().cloned();
    let mut trainer = trainer_of((&folder, &record), &config, assignment, ranks, started)?;
    if let Some(step) = announced(peers.as_ref())? {
        let found = checkpoint::load(&folder, record.run_id)?.loaded;
        let found = found.filter(|loaded| loaded.entry.step == step);
        let loaded = found.ok_or_else(|| TrainError::Checkpoint {
            what: "what rank 0 goes on from".to_owned(),
            expected: format!("step {step}"),
            found: "another step, or a file that is not whole".to_owned(),
        })?;
        trainer.restore(&[&loaded.tensors])?;
    }
    train(&mut trainer, config.epochs, stop)
}

fn train(trainer: &mut Trainer, epochs: u32, stop: &AtomicBool) -> Result<WorkerExit, WorkerError> {
    while trainer.epochs_done() < epochs {
        let end = trainer.train_epoch(&mut |_| match stop.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        match end? {
            EpochEnd::Complete(_) => {
                trainer.validate()?;
                trainer.measure()?;
            }
            EpochEnd::Stopped => return Ok(WorkerExit::Interrupted),
            EpochEnd::Diverged => {}
        }
        if trainer.divergence(0).is_some() {
            return Ok(WorkerExit::Done);
        }
    }
    trainer.evaluate(Part::Test)?;
    Ok(WorkerExit::Done)
}
