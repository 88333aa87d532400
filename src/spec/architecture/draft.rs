//! A network while it is put together: every layer is given its name, its number and the shapes
//! around it, and held against what arrives.
//!
//! Nothing is allocated here, so that a million configurations can be checked: the layers go one by
//! one to whoever asked for them.

use super::layer::{Layer, LayerName, Operation, Shape};
use super::window::Window;
use super::{alexnet, alexnet_paper, alexnet32, layers, mlp};
use crate::spec::RunConfig;
use crate::spec::activation::Activation;
use crate::spec::model::Model;

/// Largest image side that is tried when asked how large images must be.
const LARGEST_SIDE: usize = 1024;

/// A layer that does not fit what arrives at it, or a network that does not end in its classes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unfit {
    /// What is wrong: the layer, what it needs, what it would get.
    pub message: String,
    /// What to do; `None` where larger images are all there is to say.
    pub help: Option<&'static str>,
}

impl Unfit {
    fn too_small(message: String) -> Self {
        Self { message, help: None }
    }

    fn new(message: String, help: &'static str) -> Self {
        Self { message, help: Some(help) }
    }
}

/// Hands the layers of `config`'s network to `each`, for images of shape (channels, height, width).
///
/// # Errors
/// When a layer does not fit what arrives at it; the layers before it have been handed out.
pub fn walk(
    config: &RunConfig,
    [channels, height, width]: [usize; 3],
    classes: usize,
    each: &mut dyn FnMut(Layer),
) -> Result<(), Unfit> {
    let input = Shape { height, width, channels };
    let mut draft = Draft {
        config,
        classes,
        shape: input,
        form: Form::Image,
        last: None,
        counts: [0; Stem::COUNT],
        weights: 0,
        each,
    };
    match &config.model {
        Model::Mlp { hidden } => mlp::define(hidden, &mut draft)?,
        Model::Alexnet32 => alexnet32::define(&mut draft)?,
        Model::Alexnet { pooling, lrn } => alexnet::define(pooling, *lrn, &mut draft)?,
        Model::AlexnetPaper => alexnet_paper::define(&mut draft)?,
        Model::Layers { layers } => layers::define(layers, &mut draft)?,
    }
    draft.finish()
}

/// The smallest square image of `channels` channels that no layer of `config`'s network finds too
/// small.
pub fn smallest_side(config: &RunConfig, channels: usize, classes: usize) -> Option<usize> {
    let too_small = |side: &usize| {
        let walked = walk(config, [channels, *side, *side], classes, &mut |_| {});
        walked.is_err_and(|unfit| unfit.help.is_none())
    };
    // What is too small for a network is so with one pixel less.
    let sides: Vec<usize> = (1..=LARGEST_SIDE).collect();
    sides.get(sides.partition_point(too_small)).copied()
}

/// Is what arrives an image or a vector? Decides what may follow; the shape alone cannot say, since
/// an image may have a single pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Image,
    Vector,
}

/// What layers are numbered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stem {
    Conv,
    Linear,
    Norm,
    Lrn,
    Pool,
    Activation,
    Dropout,
    Flatten,
}

impl Stem {
    const COUNT: usize = 8;

    fn text(self) -> &'static str {
        match self {
            Self::Conv => "conv",
            Self::Linear => "linear",
            Self::Norm => "norm",
            Self::Lrn => "lrn",
            Self::Pool => "pool",
            Self::Activation => "activation",
            Self::Dropout => "dropout",
            Self::Flatten => "flatten",
        }
    }
}

/// A network under construction.
pub(super) struct Draft<'a> {
    config: &'a RunConfig,
    classes: usize,
    /// What the next layer is given.
    shape: Shape,
    form: Form,
    /// The layer before it; `None` for the images.
    last: Option<LayerName>,
    /// Layers so far, by their stem.
    counts: [usize; Stem::COUNT],
    /// Convolutions and linear layers so far.
    weights: u32,
    each: &'a mut dyn FnMut(Layer),
}

impl<'a> Draft<'a> {
    /// The configuration whose network this is.
    pub(super) fn config(&self) -> &'a RunConfig {
        self.config
    }

    /// Does the configuration put batch normalisations where a network has a place for them? The
    /// layers before them then have no bias.
    pub(super) fn normalised(&self) -> bool {
        self.config.batch_norm.is_on()
    }

    /// Shape of one sample as it is now.
    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    fn name(&mut self, stem: Stem) -> LayerName {
        self.counts[stem as usize] += 1;
        LayerName { stem: stem.text(), number: self.counts[stem as usize] }
    }

    /// Adds a layer whose output has shape `output`.
    fn push(&mut self, name: LayerName, operation: Operation, output: Shape) {
        let weights = self.weights;
        if matches!(operation, Operation::Conv2d { .. } | Operation::Linear { .. }) {
            self.weights += 1;
        }
        if matches!(operation, Operation::Flatten) {
            self.form = Form::Vector;
        }
        (self.each)(Layer { name, operation, input: self.shape, output, weights });
        self.shape = output;
        self.last = Some(name);
    }

    /// What the next layer would be given, in words.
    fn found(&self) -> String {
        let shape = self.shape;
        let what = match self.form {
            Form::Image => shape.to_string(),
            Form::Vector => format!("a vector of {}", shape.channels),
        };
        match self.last {
            Some(name) => format!("{what} from {name}"),
            None => format!("images of {what}"),
        }
    }

    fn image(&self, name: LayerName) -> Result<(), Unfit> {
        match self.form {
            Form::Image => Ok(()),
            Form::Vector => Err(Unfit::new(
                format!("{name} needs an image, found {}", self.found()),
                "put it before the \"flatten\"",
            )),
        }
    }

    /// Height and width after a window.
    fn windowed(&self, name: LayerName, window: Window, ceil: bool) -> Result<[usize; 2], Unfit> {
        self.image(name)?;
        let Shape { height, width, .. } = self.shape;
        match (window.outputs(height, ceil), window.outputs(width, ceil)) {
            (Some(height), Some(width)) => Ok([height, width]),
            _ => {
                let (least, found) = (window.least_side(), self.found());
                Err(Unfit::too_small(format!(
                    "{name} ({window}) needs at least {least} x {least} pixels, found {found}"
                )))
            }
        }
    }

    /// A convolution.
    pub(super) fn convolution(
        &mut self,
        channels: usize,
        window: Window,
        groups: usize,
        bias: bool,
    ) -> Result<(), Unfit> {
        let name = self.name(Stem::Conv);
        if window.padding >= window.extent() {
            return Err(Unfit::new(
                format!(
                    "{name} ({window}) needs a padding below the {} pixels of its kernel",
                    window.extent()
                ),
                "take less padding",
            ));
        }
        let [height, width] = self.windowed(name, window, false)?;
        let inputs = self.shape.channels;
        if !inputs.is_multiple_of(groups) || !channels.is_multiple_of(groups) {
            let found = self.found();
            return Err(Unfit::new(
                format!(
                    "{name} in {groups} groups needs multiples of {groups} channels, found {found} and {channels} to give"
                ),
                "take channels that the groups divide; the key `width` scales them too",
            ));
        }
        let operation = Operation::Conv2d { channels, window, groups, bias };
        self.push(name, operation, Shape { height, width, channels });
        Ok(())
    }

    /// A linear layer.
    pub(super) fn linear(&mut self, units: usize, bias: bool) -> Result<(), Unfit> {
        let name = self.name(Stem::Linear);
        if self.form == Form::Image {
            return Err(Unfit::new(
                format!("{name} needs a vector, found {}", self.found()),
                "put \"flatten\" before the first linear layer",
            ));
        }
        self.push(name, Operation::Linear { units, bias }, Shape::flat(units));
        Ok(())
    }

    /// Max pooling.
    pub(super) fn max_pool(&mut self, window: Window, ceil: bool) -> Result<(), Unfit> {
        let name = self.name(Stem::Pool);
        let [height, width] = self.pooled(name, window, ceil)?;
        let output = Shape { height, width, ..self.shape };
        self.push(name, Operation::MaxPool2d { window, ceil }, output);
        Ok(())
    }

    /// Average pooling.
    pub(super) fn avg_pool(&mut self, window: Window) -> Result<(), Unfit> {
        let name = self.name(Stem::Pool);
        let [height, width] = self.pooled(name, window, false)?;
        let output = Shape { height, width, ..self.shape };
        self.push(name, Operation::AvgPool2d { window }, output);
        Ok(())
    }

    /// Height and width after a pool, none of whose windows may lie wholly in the border.
    fn pooled(&self, name: LayerName, window: Window, ceil: bool) -> Result<[usize; 2], Unfit> {
        if 2 * window.padding > window.kernel {
            return Err(Unfit::new(
                format!("{name} ({window}) needs a padding of at most half its kernel"),
                "take less padding",
            ));
        }
        self.windowed(name, window, ceil)
    }

    /// Average pooling to `side` x `side`; nothing where the image has that size already.
    pub(super) fn adaptive_avg_pool(&mut self, side: usize) -> Result<(), Unfit> {
        let name = self.name(Stem::Pool);
        self.image(name)?;
        if [self.shape.height, self.shape.width] != [side; 2] {
            let output = Shape { height: side, width: side, ..self.shape };
            self.push(name, Operation::AdaptiveAvgPool2d { side }, output);
        }
        Ok(())
    }

    /// Batch normalisation.
    pub(super) fn batch_norm(&mut self) {
        let name = self.name(Stem::Norm);
        self.push(name, Operation::BatchNorm, self.shape);
    }

    /// Normalisation across neighbouring channels.
    pub(super) fn local_response_norm(
        &mut self,
        size: usize,
        [alpha, beta, k]: [f64; 3],
    ) -> Result<(), Unfit> {
        let name = self.name(Stem::Lrn);
        self.image(name)?;
        self.push(name, Operation::LocalResponseNorm { size, alpha, beta, k }, self.shape);
        Ok(())
    }

    /// The configuration's activation.
    pub(super) fn activation(&mut self) {
        self.function(&self.config.activation);
    }

    /// A given activation.
    pub(super) fn function(&mut self, function: &Activation) {
        let name = LayerName { stem: function.kind(), ..self.name(Stem::Activation) };
        self.push(name, Operation::Activation(function.clone()), self.shape);
    }

    /// The configuration's dropout.
    pub(super) fn dropout(&mut self) {
        self.dropout_of(self.config.dropout);
    }

    /// Dropout with probability `p`.
    pub(super) fn dropout_of(&mut self, p: f64) {
        let name = self.name(Stem::Dropout);
        self.push(name, Operation::Dropout { p }, self.shape);
    }

    /// From an image to a vector; nothing where it is one.
    pub(super) fn flatten(&mut self) {
        if self.form == Form::Image {
            let name = self.name(Stem::Flatten);
            self.push(name, Operation::Flatten, Shape::flat(self.shape.units()));
        }
    }

    /// The linear layer of the logits.
    pub(super) fn logits(&mut self) -> Result<(), Unfit> {
        self.linear(self.classes, true)
    }

    /// Does the network end in its classes?
    fn finish(self) -> Result<(), Unfit> {
        if self.weights == 0 {
            return Err(Unfit::new(
                "the network has no layer that learns".to_owned(),
                "end the list of layers with \"flatten\", \"logits\"",
            ));
        }
        if self.shape != Shape::flat(self.classes) {
            return Err(Unfit::new(
                format!(
                    "the network must end in {} units, one for each class, found {}",
                    self.classes,
                    self.found()
                ),
                "end the list of layers with \"logits\"",
            ));
        }
        Ok(())
    }
}

/// `units` times the factor `width`, rounded down, but not below `least` (nor below `units` itself
/// where that is less already).
pub(super) fn scaled(units: usize, width: f64, least: usize) -> usize {
    ((units as f64 * width) as usize).max(least.min(units))
}

/// Channels that remain however narrow a network is.
pub(super) const LEAST_CHANNELS: usize = 8;

/// Units of a linear layer that remain however narrow a network is.
pub(super) const LEAST_UNITS: usize = 16;
