//! Strings layers together, giving each its number, its name and the shape that arrives.

use super::network::{InputOrder, Network};
use crate::spec::RunConfig;
use crate::train::error::TrainError;
use crate::train::kernel::{Real, Workspace};
use crate::train::layer::activation::Activation;
use crate::train::layer::avg_pool2d::AvgPool2d;
use crate::train::layer::batch_norm::BatchNorm;
use crate::train::layer::conv2d::{Conv2d, Convolution};
use crate::train::layer::dropout::{Dropout, DropoutLane};
use crate::train::layer::flatten::Flatten;
use crate::train::layer::linear::{Bias, Linear};
use crate::train::layer::max_pool2d::MaxPool2d;
use crate::train::layer::patches::Window;
use crate::train::layer::pool_windows::Pool;
use crate::train::layer::{Layer, Shape};
use crate::train::measure::Label;

/// A network under construction. Lanes share all but the seed, the dropout probability, the rates
/// and the like, so lane 0 decides the layers.
pub struct Builder<'a, T> {
    lanes: &'a [RunConfig],
    capacity: usize,
    input: (Shape, InputOrder),
    /// What the next layer is given.
    shape: Shape,
    layers: Vec<(Label, Box<dyn Layer<T>>)>,
    convolutions: usize,
    linears: usize,
    norms: usize,
    dropouts: u32,
    /// What the layers share while they compute.
    workspace: Workspace<T>,
}

impl<'a, T: Real> Builder<'a, T> {
    /// A network without layers for samples of shape `input`.
    pub fn new(lanes: &'a [RunConfig], capacity: usize, input: (Shape, InputOrder)) -> Self {
        Self {
            lanes,
            capacity,
            input,
            shape: input.0,
            layers: Vec::new(),
            convolutions: 0,
            linears: 0,
            norms: 0,
            dropouts: 0,
            workspace: Workspace::default(),
        }
    }

    /// Adds a layer, named by what it is and its number among its like.
    fn push(&mut self, stem: &str, layer: impl Layer<T> + 'static) {
        self.shape = layer.output_shape();
        let alike = self.layers.iter().filter(|(label, _)| label.kind() == stem).count();
        self.layers.push((Label::new(format!("{stem}{}", alike + 1)), Box::new(layer)));
    }

    /// Number of the next layer with weights.
    fn weights(&self) -> u32 {
        (self.convolutions + self.linears) as u32
    }

    /// A convolution.
    pub fn convolution(
        &mut self,
        channels: usize,
        window: Window,
        bias: Bias,
    ) -> Result<(), TrainError> {
        let numbers = (self.convolutions + 1, self.weights());
        let convolution = Convolution { channels, window, groups: 1, bias };
        let memory = (&self.workspace, self.capacity);
        self.push("conv", Conv2d::new(self.lanes.len(), numbers, self.shape, convolution, memory)?);
        self.convolutions += 1;
        Ok(())
    }

    /// A linear layer.
    pub fn linear(&mut self, outputs: usize, bias: Bias) -> Result<(), TrainError> {
        let numbers = (self.linears + 1, self.weights());
        let shape = (self.shape.units(), outputs);
        self.push("linear", Linear::new(self.lanes.len(), numbers, shape, bias)?);
        self.linears += 1;
        Ok(())
    }

    /// Batch normalisation.
    pub fn batch_norm(&mut self) -> Result<(), TrainError> {
        self.norms += 1;
        let lanes =
            self.lanes.iter().map(|lane| lane.batch_norm.normalisation().unwrap_or_default());
        self.push("norm", BatchNorm::new(lanes.collect(), self.norms, self.shape)?);
        Ok(())
    }

    /// The configurations' activations.
    pub fn activation(&mut self) {
        let kind = self.lanes[0].activation.kind();
        let functions = self.lanes.iter().map(|lane| lane.activation.clone()).collect();
        self.push(kind, Activation::new(functions, self.shape));
    }

    /// Dropout, unless no lane drops anything.
    pub fn dropout(&mut self) -> Result<(), TrainError> {
        if self.lanes.iter().any(|lane| lane.dropout > 0.0) {
            let lanes: Vec<DropoutLane> = self
                .lanes
                .iter()
                .map(|lane| DropoutLane { seed: lane.seed, probability: lane.dropout })
                .collect();
            self.push("dropout", Dropout::new(&lanes, self.capacity, self.shape, self.dropouts)?);
        }
        self.dropouts += 1;
        Ok(())
    }

    /// Max pooling.
    pub fn max_pool(&mut self, size: usize, stride: usize) -> Result<(), TrainError> {
        let pool = Pool::square(size, stride);
        self.push("pool", MaxPool2d::new(self.lanes.len(), self.capacity, self.shape, pool)?);
        Ok(())
    }

    /// Average pooling to a fixed size; nothing where the image has that size already.
    pub fn adaptive_avg_pool(&mut self, size: [usize; 2]) {
        if [self.shape.height, self.shape.width] != size {
            self.push("pool", AvgPool2d::adaptive(self.shape, size));
        }
    }

    /// From images to vectors.
    pub fn flatten(&mut self) {
        self.push("flatten", Flatten::new(self.shape));
    }

    /// The network.
    pub fn finish(self) -> Result<Network<T>, TrainError> {
        Network::new(self.layers, self.lanes.len(), self.capacity, self.input)
    }
}

/// `units` times the factor `width`, rounded down, but not below `least` (nor below `units` itself
/// where that is less already).
pub fn scaled(units: usize, width: f64, least: usize) -> usize {
    ((units as f64 * width) as usize).max(least.min(units))
}
