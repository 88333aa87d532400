//! What a trainer takes: configurations that can be one group, and data that is whole.

use super::data::DataSplits;
use super::error::TrainError;
use crate::spec::{RunConfig, lanes};

/// Can these configurations be one network on so many ranks? See [`lanes`] for what they share.
///
/// # Errors
/// When there are none, they ask for another number of devices, or they differ in a key that all
/// share.
pub fn check_lanes(configs: &[RunConfig], ranks: usize) -> Result<(), TrainError> {
    let first = configs.first().ok_or(TrainError::NoLanes)?;
    if first.devices as usize != ranks {
        return Err(TrainError::Devices { expected: first.devices, found: ranks });
    }
    for (lane, config) in configs.iter().enumerate() {
        if let Some(key) = lanes::difference(first, config) {
            let [first, found] = [first, config].map(|config| config.setting(key).label());
            return Err(TrainError::LanesDiffer { key: key.name(), first, lane, found });
        }
    }
    Ok(())
}

/// Shape of the images that the network is given, (C, H, W).
pub fn input_shape(config: &RunConfig, data: &DataSplits) -> [usize; 3] {
    let [channels, height, width] = data.shape;
    let [height, width] = config.input_size([height, width]);
    [channels, height, width]
}

/// Is the data whole? Kernels index by what it says.
///
/// # Errors
/// Names the part and what is wrong with it.
pub fn check_data(data: &DataSplits) -> Result<(), TrainError> {
    let [channels, height, width] = data.shape;
    let parts = [("training", &data.train), ("validation", &data.val), ("test", &data.test)];
    for (part, images) in parts {
        let expected = images.len() * channels * height * width;
        if images.pixels.len() != expected {
            let found = images.pixels.len();
            return Err(data_error(part, "a wrong number of bytes", expected.to_string(), found));
        }
        if let Some(&label) = images.labels.iter().find(|&&l| usize::from(l) >= data.classes) {
            let expected = format!("below {}", data.classes);
            return Err(data_error(part, "a class out of range", expected, label.into()));
        }
    }
    if data.train.is_empty() {
        return Err(no_images("training"));
    }
    for what in [&data.mean, &data.std] {
        if what.len() != channels {
            let expected = channels.to_string();
            let name = "a mean or deviation for a wrong number of channels";
            return Err(data_error("training", name, expected, what.len()));
        }
    }
    Ok(())
}

/// A part without images, where there must be some.
pub fn no_images(part: &'static str) -> TrainError {
    data_error(part, "no images", "at least 1".to_owned(), 0)
}

fn data_error(
    part: &'static str,
    what: &'static str,
    expected: String,
    found: usize,
) -> TrainError {
    TrainError::Data { part, what, expected, found: found.to_string() }
}
