//! A network that the sweep file declares layer by layer.

use super::draft::{Draft, LEAST_CHANNELS, LEAST_UNITS, Unfit, scaled};
use super::window::Window;
use crate::spec::layers::{Entry, LayerWord, Probability, Stride};

/// The layers in the order written. The key `width` scales every channel and unit but those of
/// `logits`; a layer before a normalisation has no bias, which it would take out again.
pub(super) fn define(entries: &[Entry], network: &mut Draft<'_>) -> Result<(), Unfit> {
    let config = network.config();
    for (place, entry) in entries.iter().enumerate() {
        let normalised = entries.get(place + 1).is_some_and(|next| next.normalises(config));
        match entry {
            Entry::Function(function) => network.function(function),
            Entry::Layer(word) => add(word, normalised, network)?,
        }
    }
    Ok(())
}

fn add(word: &LayerWord, normalised: bool, network: &mut Draft<'_>) -> Result<(), Unfit> {
    let config = network.config();
    match *word {
        LayerWord::Conv2d { channels, kernel, stride, padding, dilation, groups, bias } => {
            let channels = scaled(channels as usize, config.width, LEAST_CHANNELS);
            let [kernel, stride, padding, dilation, groups] =
                [kernel, stride, padding, dilation, groups].map(|x| x as usize);
            let window = Window { kernel, stride, padding, dilation };
            network.convolution(channels, window, groups, bias && !normalised)
        }
        LayerWord::Linear { units, bias } => {
            let units = scaled(units as usize, config.width, LEAST_UNITS);
            network.linear(units, bias && !normalised)
        }
        LayerWord::MaxPool2d { kernel, stride, padding, ceil } => {
            network.max_pool(pool(kernel, stride, padding), ceil)
        }
        LayerWord::AvgPool2d { kernel, stride, padding } => {
            network.avg_pool(pool(kernel, stride, padding))
        }
        LayerWord::AdaptiveAvgPool2d { side } => network.adaptive_avg_pool(side as usize),
        LayerWord::LocalResponseNorm { size, alpha, beta, k } => {
            network.local_response_norm(size as usize, [alpha, beta, k])
        }
        LayerWord::Logits => network.logits(),
        LayerWord::BatchNorm => {
            network.batch_norm();
            Ok(())
        }
        LayerWord::Norm => {
            if config.batch_norm.is_on() {
                network.batch_norm();
            }
            Ok(())
        }
        LayerWord::Activation => {
            network.activation();
            Ok(())
        }
        LayerWord::Dropout { p: Probability::Key } => {
            network.dropout();
            Ok(())
        }
        LayerWord::Dropout { p: Probability::Fixed(p) } => {
            network.dropout_of(p);
            Ok(())
        }
        LayerWord::Flatten => {
            network.flatten();
            Ok(())
        }
    }
}

fn pool(kernel: u32, stride: Stride, padding: u32) -> Window {
    let stride = match stride {
        Stride::Kernel => kernel,
        Stride::Pixels(pixels) => pixels,
    };
    Window::new(kernel as usize, stride as usize, padding as usize)
}
