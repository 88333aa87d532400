//! Do the operations of an augmentation fit the images and the batches of their configuration?

use super::augmentation::Augmentation;
use super::config::{Key, RunConfig};
use super::operation::{Operation, Side};
use super::validate::Misfit;

impl RunConfig {
    /// Shape of the images that the network is given, (C, H, W): those of the data set, or what the
    /// augmentation makes of them. Allocates nothing.
    pub fn input_shape(&self) -> [usize; 3] {
        let [channels, height, width] = self.dataset.image_shape();
        let [height, width] = self.input_size([height, width]);
        [channels, height, width]
    }

    /// Height and width that the network is given of images stored with `size`: what the
    /// augmentation makes of them, or the data set's crop where it leaves the size alone.
    pub fn input_size(&self, stored: [usize; 2]) -> [usize; 2] {
        let size = self.augmentation.output_size(stored);
        self.dataset.crop().filter(|_| size == stored).unwrap_or(size)
    }
}

/// The first operation that does not fit; the levels always do.
pub fn misfit(config: &RunConfig) -> Option<Misfit> {
    let Augmentation::List(operations) = &config.augmentation else { return None };
    let [channels, height, width] = config.dataset.image_shape();
    let mut size = [height, width];
    for operation in operations {
        let misfit = match operation {
            Operation::RandomCrop { padding, size: Side::Pixels(side) } => {
                crop_too_large(size, *padding as usize, *side as usize)
            }
            Operation::RandomResizedCrop { size: Side::Pixels(side), .. } => {
                enlarged(size, *side as usize)
            }
            Operation::PcaColourNoise { .. } => without_colours(channels),
            Operation::Cutout { size: side, .. } => all_cut_out(size, *side as usize),
            Operation::Mixup { .. } => alone(config.batch_size),
            _ => None,
        };
        if misfit.is_some() {
            return misfit;
        }
        size = operation.output_size(size);
    }
    None
}

fn of_images(message: String, help: impl Into<String>) -> Option<Misfit> {
    let keys = vec![Key::Augmentation, Key::Dataset];
    Some(Misfit { keys, message, help: Some(help.into()) })
}

fn crop_too_large([height, width]: [usize; 2], padding: usize, side: usize) -> Option<Misfit> {
    let least = height.min(width);
    if side <= least + 2 * padding {
        return None;
    }
    let message = format!(
        "random_crop cannot cut {side} x {side} px out of images of {height} x {width} px with {padding} px of padding"
    );
    let help = format!(
        "take size = {} or less, or padding = {}",
        least + 2 * padding,
        (side - least).div_ceil(2)
    );
    of_images(message, help)
}

/// Evaluation takes the middle of the image as it is, which would then be shown at another scale.
fn enlarged([height, width]: [usize; 2], side: usize) -> Option<Misfit> {
    if side <= height.min(width) {
        return None;
    }
    let message = format!(
        "random_resized_crop to {side} x {side} px would enlarge images of {height} x {width} px"
    );
    of_images(message, format!("take size = {} or less, or larger images", height.min(width)))
}

fn without_colours(channels: usize) -> Option<Misfit> {
    if channels == 3 {
        return None;
    }
    let message = format!(
        "pca_colour_noise needs red, green and blue, and these images have {channels} {}",
        if channels == 1 { "channel" } else { "channels" }
    );
    let help = "leave it out; `alexnet_style` does so by itself for images without colours";
    of_images(message, help)
}

fn all_cut_out([height, width]: [usize; 2], side: usize) -> Option<Misfit> {
    if side < 2 * height.max(width) {
        return None;
    }
    let message =
        format!("a cutout of {side} px leaves nothing of images of {height} x {width} px");
    of_images(message, format!("take size = {}", height.min(width) / 2))
}

fn alone(batch: u32) -> Option<Misfit> {
    (batch == 1).then(|| Misfit {
        keys: vec![Key::Augmentation, Key::BatchSize],
        message: "mixup needs two images in a batch".to_owned(),
        help: Some("take a larger batch_size, or leave mixup out".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::dataset::Dataset;
    use crate::spec::validate::misfits;

    fn found(operations: Vec<Operation>, change: impl Fn(&mut RunConfig)) -> String {
        let mut config =
            RunConfig { augmentation: Augmentation::of(operations), ..RunConfig::default() };
        change(&mut config);
        let found = misfits(&config).into_iter();
        let found: Vec<String> = found
            .map(|misfit| format!("{} | {}", misfit.message, misfit.help.unwrap_or_default()))
            .collect();
        found.join("\n")
    }

    #[test]
    fn what_does_not_fit_the_images_is_refused_with_advice() {
        let crop = |padding, side| Operation::RandomCrop { padding, size: Side::Pixels(side) };
        let resized = |side| Operation::RandomResizedCrop {
            size: Side::Pixels(side),
            scale: [0.08, 1.0],
            ratio: [0.75, 1.5],
        };
        let cases = [
            found(vec![crop(4, 37)], |_| {}),
            found(vec![crop(0, 20), crop(0, 21)], |_| {}),
            found(vec![resized(32)], |_| {}),
            found(vec![Operation::PcaColourNoise { std: 0.2 }], |_| {}),
            found(vec![Operation::Cutout { size: 56, p: 1.0 }], |_| {}),
            found(vec![Operation::Mixup { alpha: 1.0 }], |config| config.batch_size = 1),
        ];
        insta::assert_snapshot!(cases.join("\n"), @r"
        random_crop cannot cut 37 x 37 px out of images of 28 x 28 px with 4 px of padding | take size = 36 or less, or padding = 5
        random_crop cannot cut 21 x 21 px out of images of 20 x 20 px with 0 px of padding | take size = 20 or less, or padding = 1
        random_resized_crop to 32 x 32 px would enlarge images of 28 x 28 px | take size = 28 or less, or larger images
        pca_colour_noise needs red, green and blue, and these images have 1 channel | leave it out; `alexnet_style` does so by itself for images without colours
        a cutout of 56 px leaves nothing of images of 28 x 28 px | take size = 14
        mixup needs two images in a batch | take a larger batch_size, or leave mixup out
        ");
    }

    #[test]
    fn what_fits_is_accepted_and_gives_the_networks_input() {
        let list = vec![
            Operation::RandomCrop { padding: 4, size: Side::Pixels(36) },
            Operation::PcaColourNoise { std: 0.2 },
            Operation::Cutout { size: 16, p: 1.0 },
        ];
        let colour =
            Dataset::Synthetic { train: 64, val: 8, test: 8, shape: vec![3, 28, 30], classes: 2 };
        assert_eq!(found(list.clone(), |config| config.dataset = colour.clone()), "");
        let config = RunConfig {
            augmentation: Augmentation::of(list),
            dataset: colour,
            ..RunConfig::default()
        };
        assert_eq!(config.input_shape(), [3, 36, 36]);
    }
}
