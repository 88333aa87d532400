//! The state of one lane's training as a safetensors file, and back.
//!
//! A lane of a group is saved as the run alone is, to the byte: which lanes it was trained with can
//! not be told from its file. Tensors are named `lane0/conv1.weight`, `lane0/norm1.running_mean`,
//! `lane0/optim/momentum/conv1.weight` and have PyTorch's shapes. What is not a tensor stands in
//! one JSON text under the metadata's key `gridlane`: a single key, because several would come in
//! an order that changes from save to save.
//!
//! Neither writing nor reading holds the tensors once more: they are written from where they lie, one
//! after the other, and read from the file's bytes into their places. The layout is that of the
//! `safetensors` crate: tensors in the order of their names.
//!
//! Reading checks everything before anything is changed. Whether the bytes are the ones that were
//! written is not checked here; the envelope on disk does that.

use std::collections::HashMap;
use std::io::Write;

use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::kernel::Buffer;
use super::layer::{Parameter, State};
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
        let remembers = |progress: &LaneProgress| progress.stall.is_some();
        let what = format!("memory of `early_stopping` of lane {lane}");
        same(&what, remembers(&expected.progress), remembers(progress))?;
        if let Some(stall) = progress
            .stall
            .filter(|stall| !stall.is_sound() || stall.epochs() > progress.epochs_done)
        {
            let expected = format!("a best value within {} epochs", progress.epochs_done);
            let found = format!("{stall:?}");
            return Err(TrainError::Checkpoint { what, expected, found });
        }
        if progress.stopped && (progress.stall.is_none() || progress.diverged.is_some()) {
            return Err(TrainError::Checkpoint {
                what: format!("end of lane {lane}"),
                expected: "one of several".to_owned(),
                found: "an early stop of a lane that is not to be stopped, or that broke down"
                    .to_owned(),
            });
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

/// Numbers that are turned into bytes at once.
const CHUNK: usize = 1 << 12;

/// Writes the bytes of one lane's checkpoint. The same state gives the same bytes.
///
/// # Errors
/// When the tensor library fails, or `to` takes no more.
pub fn write(
    source: Source<'_>,
    lane: usize,
    header: &Header,
    to: &mut dyn Write,
) -> Result<(), TrainError> {
    let mut entries = entries(source, lane);
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let mut end = 0;
    let tensors = entries.iter().map(|entry| {
        let start = end;
        end += entry.shape.iter().product::<usize>() * size_of::<f32>();
        let (shape, data_offsets) = (entry.shape.clone(), (start, end));
        (entry.name.clone(), TensorInfo { dtype: Dtype::F32, shape, data_offsets })
    });
    let text = serde_json::to_string(header).expect("invariant: a header is finite numbers");
    let metadata = HashMap::from([(KEY.to_owned(), text)]);
    let metadata = Metadata::new(Some(metadata), tensors.collect())?;
    let mut head = serde_json::to_vec(&metadata).expect("invariant: shapes and texts are JSON");
    // The tensors begin at a multiple of eight bytes.
    head.resize(head.len().next_multiple_of(size_of::<u64>()), b' ');
    to.write_all(&(head.len() as u64).to_le_bytes())?;
    to.write_all(&head)?;
    for entry in &entries {
        let (buffer, parameter) = place(source, entry.place);
        let stored = buffer.read()?;
        let stored = stored.lane(lane, buffer.lane_len());
        match parameter {
            Some(parameter) => write_numbers(&parameter.to_saved(stored), to)?,
            None => write_numbers(stored, to)?,
        }
    }
    Ok(())
}

/// Where a tensor of a checkpoint lies, and the parameter that it has the shape and order of.
fn place(
    (network, optimizer, measured): Source<'_>,
    place: Place,
) -> (&Buffer<f32>, Option<&Parameter<f32>>) {
    let parameter =
        |i: usize| network.parameters().nth(i).expect("invariant: entries come from this network");
    match place {
        Place::Parameter { parameter: i } => (&parameter(i).value, Some(parameter(i))),
        Place::Memory { parameter: i, memory } => (optimizer.memory(i, memory), Some(parameter(i))),
        Place::State { state } => {
            let state = network.states().nth(state);
            (&state.expect("invariant: entries come from this network").value, None)
        }
        Place::Measured { state } => (&measured[state].value, None),
    }
}

fn write_numbers(numbers: &[f32], to: &mut dyn Write) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(CHUNK * size_of::<f32>());
    for numbers in numbers.chunks(CHUNK) {
        bytes.clear();
        bytes.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        to.write_all(&bytes)?;
    }
    Ok(())
}

/// A lane's checkpoint whose tensors fit the network.
pub struct Checkpoint<'a> {
    lane: usize,
    /// What it says besides.
    pub header: Header,
    file: SafeTensors<'a>,
    entries: Vec<Entry>,
}

/// Reads a checkpoint for a lane of this network and optimizer.
///
/// # Errors
/// When the bytes are no checkpoint or have other tensors.
pub fn read<'a>(
    bytes: &'a [u8],
    source: Source<'_>,
    lane: usize,
) -> Result<Checkpoint<'a>, TrainError> {
    let header = read_header(bytes)?;
    let file = SafeTensors::deserialize(bytes)?;
    let entries = entries(source, lane);
    same("number of tensors", entries.len(), file.len())?;
    for entry in &entries {
        let tensor = file.tensor(&entry.name)?;
        let found = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
        same(&entry.name, format!("{:?} {:?}", Dtype::F32, entry.shape), found)?;
    }
    Ok(Checkpoint { lane, header, file, entries })
}

/// The numbers of a tensor of type F32.
pub fn read_numbers(bytes: &[u8]) -> Vec<f32> {
    numbers(bytes).collect()
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
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

impl Checkpoint<'_> {
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
        for entry in &self.entries {
            let tensor = self.file.tensor(&entry.name)?;
            let saved = tensor.data();
            let parameter = match entry.place {
                Place::Parameter { parameter } | Place::Memory { parameter, .. } => {
                    network.parameters().nth(parameter).filter(|p| p.is_reordered())
                }
                Place::State { .. } | Place::Measured { .. } => None,
            };
            let stored = parameter.map(|p| p.to_stored(read_numbers(saved)));
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
            let len = buffer.lane_len();
            let place = self.lane * len..(self.lane + 1) * len;
            buffer.write(|data| match &stored {
                Some(stored) => data[place].copy_from_slice(stored),
                None => {
                    data[place]
                        .iter_mut()
                        .zip(numbers(saved))
                        .for_each(|(to, number)| *to = number);
                }
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;
    use crate::spec::batch_norm::BatchNorm;
    use crate::spec::model::Model;
    use crate::spec::optimizer::Optimizer as Rule;
    use crate::train::model;
    use crate::train::progress::Progress;

    /// The crate puts tensors in order, makes the head and pads it; so must what is written here.
    #[test]
    fn what_is_written_is_what_the_crate_would_serialise() {
        let config = RunConfig {
            model: Model::Alexnet32,
            width: 0.03,
            batch_norm: BatchNorm::ON,
            optimizer: Rule::Adam { beta1: 0.9, beta2: 0.99, eps: 1e-8 },
            ..RunConfig::default()
        };
        let lanes = [config.clone(), RunConfig { seed: 3, ..config }];
        let network = model::build(&lanes, [3, 12, 12], 4, 2).unwrap();
        let mut optimizer = Optimizer::new(&lanes, network.parameters()).unwrap();
        let wave = |x: &mut [f32]| (0_u16..).zip(x).for_each(|(i, x)| *x = f32::from(i) - 0.1);
        optimizer.memory_mut(0, 1).write(wave).unwrap();
        let source = (&network, &optimizer, [].as_slice());
        let header = Header::new(&lanes[1], 10, Progress::new(&lanes).lane(1));
        let mut found = Vec::new();
        write(source, 1, &header, &mut found).unwrap();

        let tensors: Vec<(Entry, Vec<u8>)> = entries(source, 1)
            .into_iter()
            .map(|entry| {
                let (buffer, parameter) = place(source, entry.place);
                let numbers = buffer.read().unwrap();
                let numbers = numbers.lane(1, buffer.lane_len());
                let numbers = parameter
                    .map_or_else(|| numbers.to_vec(), |p| p.to_saved(numbers).into_owned());
                (entry, numbers.iter().flat_map(|x| x.to_le_bytes()).collect())
            })
            .collect();
        let views = tensors.iter().map(|(entry, bytes)| {
            let view = TensorView::new(Dtype::F32, entry.shape.clone(), bytes).unwrap();
            (entry.name.as_str(), view)
        });
        let text = serde_json::to_string(&header).unwrap();
        let metadata = HashMap::from([(KEY.to_owned(), text)]);
        assert!(found == safetensors::serialize(views, Some(metadata)).unwrap());
    }
}
