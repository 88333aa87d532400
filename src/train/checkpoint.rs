//! The state of one lane's training as a safetensors file, and back.
//!
//! A lane of a group is saved as the run alone is, to the byte: which lanes it was trained with can
//! not be told from its file. Tensors are named `lane0/conv1.weight`, `lane0/norm1.running_mean`,
//! `lane0/optim/momentum/conv1.weight` and have PyTorch's shapes. What is not a tensor stands in
//! one JSON text under the metadata's key `gridlane`: a single key, because several would come in
//! an order that changes from save to save.
//!
//! Reading checks everything before anything is changed. Whether the bytes are the ones that were
//! written is not checked here; the envelope on disk does that.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::layer::State;
use super::model::Network;
use super::optim::Optimizer;
use super::progress::LaneProgress;
use crate::spec::RunConfig;
use crate::spec::config::ENGINE_NUMERICS;

/// Version of this format.
const FORMAT: u32 = 1;

/// The metadata's key.
const KEY: &str = "gridlane";

/// What the names of the tensors begin with.
const LANE: &str = "lane0/";

/// What a checkpoint says besides its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    format: u32,
    engine: u32,
    /// Canonical configuration of the lane.
    configurations: [serde_json::Value; 1],
    training_images: usize,
    /// How far the run had come.
    pub progress: LaneProgress,
}

impl Header {
    /// The header of a lane of a trainer.
    pub fn new(lane: &RunConfig, training_images: usize, progress: LaneProgress) -> Self {
        let canonical = lane.canonical().into_iter();
        let canonical = canonical.map(|(key, value)| (key.to_owned(), value)).collect();
        Self {
            format: FORMAT,
            engine: ENGINE_NUMERICS,
            configurations: [serde_json::Value::Object(canonical)],
            training_images,
            progress,
        }
    }

    /// Does this header, read from a checkpoint, belong to the lane (of that number) that `expected`
    /// is of?
    ///
    /// # Errors
    /// Names the first thing that differs.
    pub fn check(
        &self,
        lane: usize,
        expected: &Self,
        steps_per_epoch: u64,
    ) -> Result<(), TrainError> {
        same("version of the format", expected.format, self.format)?;
        same("version of the engine", expected.engine, self.engine)?;
        let [[this], [found]] = [&expected.configurations, &self.configurations];
        same(&format!("configuration of lane {lane}"), this, found)?;
        same("number of training images", expected.training_images, self.training_images)?;
        self.check_progress(lane, expected, steps_per_epoch)
    }

    fn check_progress(
        &self,
        lane: usize,
        expected: &Self,
        steps_per_epoch: u64,
    ) -> Result<(), TrainError> {
        let progress = &self.progress;
        let epochs = expected.configurations[0].get("epochs");
        let epochs = epochs.map_or(Some(u64::from(RunConfig::default().epochs)), |e| e.as_u64());
        let epochs = epochs.unwrap_or_default();
        let begun = u64::from(progress.epochs_done).saturating_mul(steps_per_epoch);
        let last =
            begun.saturating_add(steps_per_epoch).min(epochs.saturating_mul(steps_per_epoch));
        if begun > last || !(begun..=last).contains(&progress.steps_done) {
            return Err(TrainError::Checkpoint {
                what: format!("steps done after {} epochs", progress.epochs_done),
                expected: format!("at most {epochs} epochs of {steps_per_epoch} steps"),
                found: progress.steps_done.to_string(),
            });
        }
        if let Some(divergence) = &progress.diverged {
            let (step, epochs) = (divergence.step, divergence.epochs_done());
            same(&format!("step at which lane {lane} diverged"), progress.steps_done, step)?;
            same(&format!("epochs of lane {lane} when it diverged"), progress.epochs_done, epochs)?;
        }
        let plateaus = expected.progress.plateaus.len();
        same("number of memories of `plateau`", plateaus, progress.plateaus.len())?;
        for plateau in &progress.plateaus {
            if !plateau.is_sound() || plateau.epochs() > progress.epochs_done {
                return Err(TrainError::Checkpoint {
                    what: format!("memory of `plateau` of lane {lane}"),
                    expected: format!(
                        "a factor up to 1 after at most {} epochs",
                        progress.epochs_done
                    ),
                    found: format!("{plateau:?}"),
                });
            }
        }
        let most = self.training_images as u64;
        for sums in &progress.sums {
            if !sums.loss.is_finite() || sums.right > most {
                return Err(TrainError::Checkpoint {
                    what: format!("sums of lane {lane}"),
                    expected: format!("a finite loss and at most {most} right"),
                    found: format!("{sums:?}"),
                });
            }
        }
        Ok(())
    }
}

/// Is something of a checkpoint what it should be?
///
/// # Errors
/// When it is not.
pub fn same<T: PartialEq + std::fmt::Display>(
    what: &str,
    expected: T,
    found: T,
) -> Result<(), TrainError> {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (expected.to_string(), found.to_string());
    Err(TrainError::Checkpoint { what: what.to_owned(), expected, found })
}

/// Where one tensor of a checkpoint belongs.
#[derive(Debug, Clone, Copy)]
enum Place {
    Parameter { parameter: usize },
    Memory { parameter: usize, memory: usize },
    State { state: usize },
    Measured { state: usize },
}

/// One tensor of a checkpoint.
struct Entry {
    name: String,
    shape: Vec<usize>,
    place: Place,
}

/// What the tensors of a checkpoint are of: the network, the optimizer, and what measurements keep.
type Source<'a> = (&'a Network<f32>, &'a Optimizer<f32>, &'a [State<f32>]);

/// Every tensor that a checkpoint of a lane of this network and optimizer has.
fn entries((network, optimizer, measured): Source<'_>, lane: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    let parameters = network.parameters().enumerate();
    for (parameter, p) in parameters.filter(|(_, p)| p.lanes.contains(lane)) {
        let shape = p.shape.clone();
        let name = format!("{LANE}{}", p.name);
        entries.push(Entry { name, shape, place: Place::Parameter { parameter } });
        for (memory, kind) in optimizer.memory_names(lane).iter().enumerate() {
            let name = format!("{LANE}optim/{kind}/{}", p.name);
            let place = Place::Memory { parameter, memory };
            entries.push(Entry { name, shape: p.shape.clone(), place });
        }
    }
    let mut add = |s: &State<f32>, place| {
        if s.lanes.contains(lane) {
            let (name, shape) = (format!("{LANE}{}", s.name), vec![s.value.lane_len()]);
            entries.push(Entry { name, shape, place });
        }
    };
    network.states().enumerate().for_each(|(state, s)| add(s, Place::State { state }));
    measured.iter().enumerate().for_each(|(state, s)| add(s, Place::Measured { state }));
    entries
}

/// The bytes of one lane's checkpoint. The same state gives the same bytes.
///
/// # Errors
/// When the tensor library fails.
pub fn save(source: Source<'_>, lane: usize, header: &Header) -> Result<Vec<u8>, TrainError> {
    let (network, optimizer, measured) = source;
    let mut tensors = Vec::new();
    for entry in entries(source, lane) {
        let parameter = |i: usize| {
            network.parameters().nth(i).expect("invariant: entries come from this network")
        };
        let numbers = match entry.place {
            Place::Parameter { parameter: i } => {
                let p = parameter(i);
                p.to_saved(p.value.read()?.lane(lane, p.len()))
            }
            Place::Memory { parameter: i, memory } => {
                let p = parameter(i);
                p.to_saved(optimizer.memory(i, memory).read()?.lane(lane, p.len()))
            }
            Place::State { state } => {
                let s = network.states().nth(state);
                let s = s.expect("invariant: entries come from this network");
                s.value.read()?.lane(lane, s.value.lane_len()).to_vec()
            }
            Place::Measured { state } => {
                let value = &measured[state].value;
                value.read()?.lane(lane, value.lane_len()).to_vec()
            }
        };
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        tensors.push((entry.name, entry.shape, bytes));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>, TrainError>>()?;
    let text = serde_json::to_string(header).expect("invariant: a header is finite numbers");
    let metadata = HashMap::from([(KEY.to_owned(), text)]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// A lane's checkpoint that has been read and whose tensors fit the network.
pub struct Checkpoint {
    lane: usize,
    /// What it says besides.
    pub header: Header,
    entries: Vec<(Entry, Vec<f32>)>,
}

/// Reads a checkpoint for a lane of this network and optimizer.
///
/// # Errors
/// When the bytes are no checkpoint or have other tensors.
pub fn read(bytes: &[u8], source: Source<'_>, lane: usize) -> Result<Checkpoint, TrainError> {
    let header = read_header(bytes)?;
    let file = SafeTensors::deserialize(bytes)?;
    let expected = entries(source, lane);
    same("number of tensors", expected.len(), file.len())?;
    let entries = expected
        .into_iter()
        .map(|entry| {
            let tensor = file.tensor(&entry.name)?;
            let found = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
            same(&entry.name, format!("{:?} {:?}", Dtype::F32, entry.shape), found)?;
            Ok((entry, read_numbers(tensor.data())))
        })
        .collect::<Result<_, TrainError>>()?;
    Ok(Checkpoint { lane, header, entries })
}

/// The numbers of a tensor of type F32.
pub fn read_numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn read_header(bytes: &[u8]) -> Result<Header, TrainError> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let problem = |found: String| TrainError::Checkpoint {
        what: format!("metadata `{KEY}`"),
        expected: "the state of a training".to_owned(),
        found,
    };
    let text = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
    let text = text.ok_or_else(|| problem("none".to_owned()))?;
    serde_json::from_str(text).map_err(|error| problem(error.to_string()))
}

impl Checkpoint {
    /// Puts the tensors into the network and the optimizer that they were read for.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn apply(
        &self,
        network: &mut Network<f32>,
        optimizer: &mut Optimizer<f32>,
        measured: &mut [State<f32>],
    ) -> Result<(), TrainError> {
        for (entry, saved) in &self.entries {
            let place = self.lane * saved.len()..(self.lane + 1) * saved.len();
            let mut stored = saved.clone();
            if let Place::Parameter { parameter } | Place::Memory { parameter, .. } = entry.place {
                let p = network.parameters().nth(parameter);
                let p = p.expect("invariant: entries come from this network");
                p.load_saved(saved, &mut stored);
            }
            let buffer = match entry.place {
                Place::Parameter { parameter } => {
                    network.parameters_mut().nth(parameter).map(|p| &mut p.value)
                }
                Place::Memory { parameter, memory } => {
                    Some(optimizer.memory_mut(parameter, memory))
                }
                Place::State { state } => network.states_mut().nth(state).map(|s| &mut s.value),
                Place::Measured { state } => measured.get_mut(state).map(|s| &mut s.value),
            };
            let buffer = buffer.expect("invariant: entries come from this network");
            buffer.write(|data| data[place].copy_from_slice(&stored))?;
        }
        Ok(())
    }
}
