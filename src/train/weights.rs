//! Initial weights from a file: what is in it, whether it fits a network, and into the network.
//!
//! The file is safetensors with the names and shapes that checkpoints have (`conv1.weight` (O, C /
//! groups, kH, kW), `linear1.weight` (outputs, inputs), `norm1.running_mean`), all of type F32. A
//! checkpoint of ours will do as well.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors};

use super::checkpoint::read_numbers;
use super::error::TrainError;
use super::model::Network;
use crate::spec::architecture::Architecture;

/// What the tensors of a checkpoint's first lane begin with.
const LANE: &str = "lane0/";

/// What the optimizer's tensors in it begin with.
const OPTIMIZER: &str = "lane0/optim/";

/// A file of weights, in memory.
pub struct Weights {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Why a file of weights is none, or does not fit.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// It cannot be read.
    #[error("cannot read the weights {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no safetensors file.
    #[error("the weights {} are not a whole safetensors file: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        source: safetensors::SafeTensorError,
    },
    /// It holds other tensors than the network has.
    #[error("the weights {} do not fit: {}", path.display(), faults.join("; "))]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Every tensor that is wrong.
        faults: Vec<String>,
    },
    /// It is not the file that the run was planned with.
    #[error(
        "the weights {} are not those that the run was planned with: expected BLAKE3 {expected}, found {found}",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Digest in the run's configuration.
        expected: String,
        /// Digest of the file.
        found: String,
    },
}

impl Weights {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is not a safetensors file.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let bytes = fs::read(path)
            .map_err(|source| WeightsError::Read { path: path.to_owned(), source })?;
        let weights = Self { path: path.to_owned(), bytes };
        weights.tensors()?;
        Ok(weights)
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// BLAKE3 of the file in hexadecimal digits.
    pub fn digest(&self) -> String {
        blake3::hash(&self.bytes).to_hex().to_string()
    }

    /// Is it the file with this digest?
    ///
    /// # Errors
    /// When it is another.
    pub fn check_digest(&self, expected: &str) -> Result<(), WeightsError> {
        let found = self.digest();
        if found == expected {
            return Ok(());
        }
        let (path, expected) = (self.path.clone(), expected.to_owned());
        Err(WeightsError::Changed { path, expected, found })
    }

    fn tensors(&self) -> Result<SafeTensors<'_>, WeightsError> {
        SafeTensors::deserialize(&self.bytes)
            .map_err(|source| WeightsError::Format { path: self.path.clone(), source })
    }

    /// Name, type and shape of every tensor, without its numbers.
    ///
    /// # Errors
    /// When it is not a safetensors file.
    pub fn listing(&self) -> Result<Listing, WeightsError> {
        let tensors = self.tensors()?;
        let mut listing = Listing { prefix: "", tensors: BTreeMap::new() };
        let names = tensors.names();
        if names.iter().any(|name| name.starts_with(LANE)) {
            listing.prefix = LANE;
        }
        for (name, view) in tensors.iter() {
            let own = match name.strip_prefix(listing.prefix) {
                Some(own) if !(listing.prefix == LANE && name.starts_with(OPTIMIZER)) => own,
                // Another lane, or the optimizer's memory.
                _ => continue,
            };
            listing.tensors.insert(own.to_owned(), (view.dtype(), view.shape().to_vec()));
        }
        Ok(listing)
    }

    /// Puts the weights into one lane of `network`.
    ///
    /// # Errors
    /// When they do not fit the network, or the tensor library fails.
    pub fn load(&self, network: &mut Network<f32>, lane: usize) -> Result<(), TrainError> {
        let listing = self.listing()?;
        let parameters = network.parameters_of(lane).map(|p| (p.name.clone(), p.shape.clone()));
        let states = network.states().filter(|s| s.lanes.contains(lane));
        let states = states.map(|s| (s.name.clone(), vec![s.value.lane_len()]));
        let faults = listing.faults(parameters.chain(states));
        if !faults.is_empty() {
            return Err(WeightsError::Unfit { path: self.path.clone(), faults }.into());
        }
        let tensors = self.tensors()?;
        let numbers = |name: &str| -> Result<Vec<f32>, TrainError> {
            let view = tensors.tensor(&format!("{}{name}", listing.prefix))?;
            Ok(read_numbers(view.data()))
        };
        for parameter in network.parameters_mut().filter(|p| p.lanes.contains(lane)) {
            let stored = parameter.to_stored(numbers(&parameter.name)?);
            let place = lane * stored.len()..(lane + 1) * stored.len();
            parameter.value.write(|value| value[place].copy_from_slice(&stored))?;
        }
        for state in network.states_mut().filter(|s| s.lanes.contains(lane)) {
            let saved = numbers(&state.name)?;
            let place = lane * saved.len()..(lane + 1) * saved.len();
            state.value.write(|value| value[place].copy_from_slice(&saved))?;
        }
        Ok(())
    }
}

/// What a file of weights holds, without the numbers.
#[derive(Debug, Clone)]
pub struct Listing {
    /// What the names in the file begin with.
    prefix: &'static str,
    /// Name -> type and shape.
    tensors: BTreeMap<String, (Dtype, Vec<usize>)>,
}

impl Listing {
    /// Everything that keeps the file from being the initial weights of `architecture`.
    pub fn faults_for(&self, architecture: &Architecture) -> Vec<String> {
        self.faults(architecture.parameters().chain(architecture.states()))
    }

    /// Everything that keeps the file from holding just these tensors.
    fn faults(&self, expected: impl Iterator<Item = (String, Vec<usize>)>) -> Vec<String> {
        let mut faults = Vec::new();
        let mut extra: BTreeMap<&str, _> =
            self.tensors.iter().map(|(name, what)| (name.as_str(), what)).collect();
        for (name, shape) in expected {
            match extra.remove(name.as_str()) {
                None => faults.push(format!("`{name}` is missing, expected F32 {shape:?}")),
                Some((Dtype::F32, found)) if *found == shape => {}
                Some((dtype, found)) => faults
                    .push(format!("`{name}`: expected F32 {shape:?}, found {dtype:?} {found:?}")),
            }
        }
        faults.extend(extra.into_iter().map(|(name, (dtype, shape))| {
            format!("`{name}` ({dtype:?} {shape:?}) belongs to no layer")
        }));
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RunConfig;
    use crate::spec::model::Model;
    use crate::train::model::build;
    use safetensors::tensor::TensorView;

    fn config(hidden: u32) -> RunConfig {
        RunConfig { model: Model::Mlp { hidden: vec![hidden] }, ..Default::default() }
    }

    /// A file of tensors, each filled with its number from 1.
    fn file(folder: &Path, tensors: &[(&str, Dtype, &[usize])]) -> PathBuf {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .enumerate()
            .map(|(n, (_, dtype, shape))| {
                let count = shape.iter().product::<usize>();
                match dtype {
                    Dtype::F32 => ((n + 1) as f32).to_le_bytes().repeat(count),
                    _ => vec![0; count * dtype.bitsize() / 8],
                }
            })
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, dtype, shape), bytes)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
        });
        let path = folder.join("weights.safetensors");
        fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        path
    }

    #[test]
    fn a_file_that_does_not_fit_is_refused_tensor_by_tensor() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(
            folder.path(),
            &[
                ("linear1.weight", Dtype::F32, &[16, 4]),
                ("linear1.bias", Dtype::F64, &[16]),
                ("linear2.bias", Dtype::F32, &[3]),
                ("conv1.weight", Dtype::F32, &[1, 2]),
            ],
        );
        let weights = Weights::open(&path).unwrap();
        let mut network = build::<f32>(&[config(16)], [1, 2, 3], 3, 1).unwrap();
        let error = weights.load(&mut network, 0).unwrap_err().to_string();
        let error = error.replace(&folder.path().display().to_string(), "");
        insta::assert_snapshot!(error, @"the weights /weights.safetensors do not fit: `linear1.weight`: expected F32 [16, 6], found F32 [16, 4]; `linear1.bias`: expected F32 [16], found F64 [16]; `linear2.weight` is missing, expected F32 [3, 16]; `conv1.weight` (F32 [1, 2]) belongs to no layer");
        let architecture = Architecture::new(&config(16), [1, 2, 3], 3).unwrap();
        assert_eq!(weights.listing().unwrap().faults_for(&architecture).len(), 4);
    }

    #[test]
    fn weights_arrive_where_they_belong() {
        let folder = tempfile::tempdir().unwrap();
        let tensors: [(&str, Dtype, &[usize]); 4] = [
            ("linear1.weight", Dtype::F32, &[16, 6]),
            ("linear1.bias", Dtype::F32, &[16]),
            ("linear2.weight", Dtype::F32, &[3, 16]),
            ("linear2.bias", Dtype::F32, &[3]),
        ];
        let mut network = build::<f32>(&[config(16), config(16)], [1, 2, 3], 3, 1).unwrap();
        let first: Vec<f32> = network.parameters().next().unwrap().value.read().unwrap().to_vec();
        Weights::open(&file(folder.path(), &tensors)).unwrap().load(&mut network, 1).unwrap();
        for (n, parameter) in network.parameters().enumerate() {
            let len = parameter.len();
            let value = parameter.value.read().unwrap();
            assert!(value.lane(1, len).iter().all(|&x| x == (n + 1) as f32), "{}", parameter.name);
        }
        // The other lane is left alone.
        let now = network.parameters().next().unwrap().value.read().unwrap().to_vec();
        assert_eq!(now[..16 * 6], first[..16 * 6]);
    }

    #[test]
    fn what_is_no_file_of_weights_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        assert!(matches!(Weights::open(&path), Err(WeightsError::Read { .. })));
        fs::write(&path, "not safetensors").unwrap();
        assert!(matches!(Weights::open(&path), Err(WeightsError::Format { .. })));
    }
}
