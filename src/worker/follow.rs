//! A rank above 0: makes the calls of the trainer that rank 0 makes, and writes nothing.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::cohort::start_from_file;
use super::error::WorkerError;
use super::open::known;
use super::order::{self, Order};
use super::ranks::Seat;
use super::run::Assignment;
use super::throughput;
use crate::event::WorkerExit;
use crate::record::RunFolder;
use crate::spec::RunConfig;
use crate::train::data::DataSplits;
use crate::train::device::Device;
use crate::train::parallel::Member;
use crate::train::{Part, TrainError, Trainer};

/// Computes a rank's share of a group of runs, for as long as rank 0 goes on.
///
/// # Errors
/// What keeps the rank from going on; see [`WorkerError`].
pub fn follow(assignment: &Assignment, seat: Seat) -> Result<WorkerExit, WorkerError> {
    let config = any_config(assignment)?;
    let member = seat.take(config.devices)?;
    // While rank 0 loads the data.
    let device = assignment.open_device(seat.rank)?;
    device.check(config.precision).map_err(TrainError::from)?;
    let data = Arc::new(seat.data(&member)?);
    let follower = Follower { assignment, member, data, device };
    let mut trainer = None;
    loop {
        let order = Order::hear(follower.member.orders())?;
        match (order, &mut trainer) {
            (Order::Begin { lanes, resumes }, trainer) => {
                // The one before gives its memory back, and the way to the other accelerators.
                drop(trainer.take());
                *trainer = Some(follower.begin(lanes, resumes)?);
            }
            (Order::Epoch, Some(trainer)) => {
                // Rank 0 stops for all.
                trainer.train_epoch(&mut |_| ControlFlow::Continue(()))?;
            }
            (Order::Validate, Some(trainer)) => {
                trainer.validate()?;
                trainer.measure()?;
            }
            (Order::Test, Some(trainer)) => drop(trainer.evaluate(Part::Test)?),
            (Order::End, _) | (_, None) => return Ok(WorkerExit::Done),
        }
    }
}

/// A configuration of the group: all have the data set and the number of devices in common. One whose
/// record is damaged does not keep the others from being trained.
fn any_config(assignment: &Assignment) -> Result<RunConfig, WorkerError> {
    let mut why = WorkerError::NoRun("the assignment".to_owned());
    for path in &assignment.folders {
        match known(&RunFolder::at(path)) {
            Ok((_, config)) => return Ok(config),
            Err(error) => why = error,
        }
    }
    Err(why)
}

struct Follower<'a> {
    assignment: &'a Assignment,
    member: Member,
    data: Arc<DataSplits>,
    device: Device,
}

impl Follower<'_> {
    /// Builds the network of the lanes that rank 0 names, and takes it to where rank 0's is.
    fn begin(&self, lanes: usize, resumes: bool) -> Result<Trainer, WorkerError> {
        let orders = self.member.orders();
        let mut places = vec![0.0; lanes];
        orders.follow(&mut places)?;
        let folders: Vec<RunFolder> = places
            .iter()
            .filter_map(|&place| self.assignment.folders.get(place as usize))
            .map(|path| RunFolder::at(path))
            .collect();
        let data = Arc::clone(&self.data);
        let config = |folder| known(folder).map(|(_, config)| throughput::trained(&config, &data));
        let configs = folders.iter().map(config).collect::<Result<Vec<_>, _>>()?;
        let mut trainer = Trainer::of_rank(&configs, data, self.member.ranks())?;
        if resumes {
            let checkpoints =
                folders.iter().map(|_| order::receive(orders)).collect::<Result<Vec<_>, _>>()?;
            trainer.restore(&checkpoints)?;
        } else {
            for (lane, (config, folder)) in configs.iter().zip(&folders).enumerate() {
                start_from_file(&mut trainer, lane, (config, folder))?;
            }
        }
        if let Device::Accelerator(accelerator) = &self.device {
            trainer.move_to(accelerator)?;
        }
        Ok(trainer)
    }
}
