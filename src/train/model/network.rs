//! A sequence of layers with the memory that a pass through it needs, allocated once.

use crate::train::device::{Accelerator, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real, Workspace};
use crate::train::lane_set::LaneSet;
use crate::train::layer::{Flow, GradientReady, Layer, Lives, Parameter, Pass, Shape, State};
use crate::train::loss::accelerated::{Coming, ComingSamples, Kept, Wanted};
use crate::train::loss::{BatchLoss, Targets, cross_entropy, cross_entropy_gradient};
use crate::train::measure::{Label, LayerClock, Way};
use crate::train::parallel::Peers;

/// How the network wants its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputOrder {
    /// (C, H, W), the order of data sets and of PyTorch.
    ChannelsFirst,
    /// (H, W, C), the order of the convolutions' kernels.
    ChannelsLast,
}

/// One layer of a network.
pub struct Stage<T> {
    /// What it is called.
    pub label: Label,
    /// The lanes in whose network it is; it passes the others through unchanged.
    pub lanes: LaneSet,
    /// The layer.
    pub layer: Box<dyn Layer<T>>,
}

/// A network of L lanes for batches of up to `capacity` samples in each.
pub struct Network<T> {
    layers: Vec<Box<dyn Layer<T>>>,
    /// What each layer is called.
    labels: Vec<Label>,
    /// In which lanes' networks each layer is.
    presence: Vec<LaneSet>,
    lanes: usize,
    capacity: usize,
    input_order: InputOrder,
    input_shape: Shape,
    /// The images, (L, capacity, units).
    input: Buffer<T>,
    /// What each layer makes, (L, capacity, units).
    outputs: Vec<Buffer<T>>,
    /// The gradient that arrives at a layer and the one that leaves it, in turn; with room for the
    /// largest layer.
    gradients: [Buffer<T>; 2],
    /// The first layer with parameters; nobody needs a gradient before it.
    first_trained: usize,
    /// What the layers share while they compute.
    workspace: Workspace<T>,
    /// Nobody asks, ordinarily.
    clock: Option<LayerClock>,
    /// What the loss keeps on an accelerator.
    loss: Kept,
    /// The lanes that live, as the accelerator that the network is on knows it.
    lives: Option<Lives>,
}

impl<T: Real> Network<T> {
    /// A network of `stages`, the first of which takes samples of shape `input`, and which share
    /// `workspace`.
    ///
    /// # Errors
    /// When the tensor library cannot allocate.
    pub fn new(
        stages: Vec<Stage<T>>,
        lanes: usize,
        capacity: usize,
        (input, input_order): (Shape, InputOrder),
        workspace: Workspace<T>,
    ) -> Result<Self, TrainError> {
        let (mut labels, mut presence) = (Vec::new(), Vec::new());
        let mut layers: Vec<Box<dyn Layer<T>>> = Vec::new();
        for Stage { label, lanes, layer } in stages {
            labels.push(label);
            presence.push(lanes);
            layers.push(layer);
        }
        let parameters = layers.iter_mut().flat_map(|layer| layer.parameters_mut());
        parameters.enumerate().for_each(|(place, parameter)| parameter.place = place);
        let shapes: Vec<Shape> = layers.iter().map(|layer| layer.output_shape()).collect();
        let outputs = shapes
            .iter()
            .map(|shape| Buffer::zeros(lanes, &[capacity, shape.units()]))
            .collect::<Result<_, _>>()?;
        let largest = shapes.iter().map(Shape::units).max().unwrap_or(0);
        let gradient = || Buffer::zeros(lanes, &[capacity, largest]);
        let first_trained =
            layers.iter().position(|layer| !layer.parameters().is_empty()).unwrap_or(layers.len());
        Ok(Self {
            lanes,
            capacity,
            input_order,
            input_shape: input,
            labels,
            presence,
            input: Buffer::zeros(lanes, &[capacity, input.units()])?,
            outputs,
            gradients: [gradient()?, gradient()?],
            first_trained,
            workspace,
            clock: None,
            loss: Kept::default(),
            lives: None,
            layers,
        })
    }

    /// Moves the network to an accelerator, where it computes from then on.
    ///
    /// # Errors
    /// When it has no room, or the network computes in another precision.
    pub fn move_to(&mut self, accelerator: &Accelerator) -> Result<(), TrainError> {
        self.layers.iter_mut().try_for_each(|layer| layer.move_to(accelerator))?;
        let lives = Lives::new(accelerator, self.lanes)?;
        self.layers.iter_mut().for_each(|layer| layer.heed(&lives));
        self.lives = Some(lives);
        let passing = self.outputs.iter_mut().chain(&mut self.gradients);
        passing.chain([&mut self.input]).try_for_each(|buffer| buffer.move_to(accelerator))
    }

    /// Lets `now`, in seconds since anything, tell how long each layer takes from here on.
    pub fn wind_clock(&mut self, now: Box<dyn Fn() -> f64 + Send>) {
        self.clock = Some(LayerClock::new(self.layers.len(), now));
    }

    /// Every layer with its seconds forward and backward since the last time; none where nobody has
    /// wound the clock.
    pub fn take_layer_seconds(&mut self) -> Vec<(&Label, [f64; 2])> {
        let seconds = self.clock.as_mut().map(LayerClock::take).unwrap_or_default();
        self.labels.iter().zip(seconds).collect()
    }

    /// Samples of a lane that fit in one pass.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Number of lanes.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// How images are to be put into [`input_mut`](Self::input_mut).
    pub fn input_order(&self) -> InputOrder {
        self.input_order
    }

    /// Where the images go, (L, capacity, units).
    pub fn input_mut(&mut self) -> &mut Buffer<T> {
        &mut self.input
    }

    /// What the layers are called, in the order in which a sample passes them.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// Shape of one sample that arrives at a layer.
    pub fn shape_before(&self, layer: usize) -> Shape {
        match layer {
            0 => self.input_shape,
            _ => self.shape_after(layer - 1),
        }
    }

    /// Shape of one sample that leaves a layer.
    pub fn shape_after(&self, layer: usize) -> Shape {
        self.layers[layer].output_shape()
    }

    /// What arrived at a layer in the last pass, (L, capacity, units).
    pub fn input_of(&self, layer: usize) -> &Buffer<T> {
        if layer == 0 { &self.input } else { &self.outputs[layer - 1] }
    }

    /// What left a layer in the last pass, (L, capacity, units).
    pub fn output(&self, layer: usize) -> &Buffer<T> {
        &self.outputs[layer]
    }

    /// Bytes that passes through one lane's layers leave behind: images, outputs, and what layers
    /// keep for the way back.
    pub fn activation_bytes(&self, lane: usize) -> usize {
        let outputs = self.layers_of(lane).map(|(layer, _)| layer.output_shape().units());
        let units = self.capacity * (self.input_shape.units() + outputs.sum::<usize>());
        let kept = self.layers_of(lane).map(|(layer, _)| layer.kept_bytes());
        units * size_of::<T>() + kept.sum::<usize>()
    }

    /// Bytes that mean nothing after a pass: the gradients of outputs of one lane, and the workspace
    /// that all lanes share.
    pub fn scratch_bytes(&self, lane: usize) -> usize {
        let outputs = self.layers_of(lane).map(|(layer, _)| layer.output_shape().units());
        let gradients = self.gradients.len() * self.capacity * outputs.max().unwrap_or(0);
        (gradients + self.workspace.len()) * size_of::<T>()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.output_shape().units())
    }

    /// Computes the logits of the images in the input.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn forward(&mut self, pass: &Pass) -> Result<(), TrainError> {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let (before, after) = self.outputs.split_at_mut(i);
            let input = before.last().unwrap_or(&self.input);
            LayerClock::time(&mut self.clock, (i, Way::Forward), || {
                layer.forward(input, &mut after[0], pass)
            })?;
        }
        Ok(())
    }

    /// The layers of one lane from the input to the output, each with what it made of all lanes in
    /// the last forward, (L, capacity, units).
    pub fn layers_of(&self, lane: usize) -> impl Iterator<Item = (&dyn Layer<T>, &Buffer<T>)> {
        let layers = self.layers.iter().map(|layer| &**layer).zip(&self.outputs);
        let present = layers.zip(&self.presence).filter(move |(_, lanes)| lanes.contains(lane));
        present.map(|(layer, _)| layer)
    }

    /// The loss of every lane for smoothed targets, after [`forward`](Self::forward), with its
    /// gradient for [`backward`](Self::backward).
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn loss_and_gradient(
        &mut self,
        targets: &Targets<'_>,
        smoothing: &[f64],
        results: &mut [BatchLoss],
    ) -> Result<(), TrainError> {
        let classes = self.classes();
        let logits = self.outputs.last().expect("invariant: a network has layers");
        if let Some(accelerator) = logits.accelerator() {
            results.fill(BatchLoss::default());
            let samples = targets.labels.len() / results.len();
            let mean_over = targets.whole.unwrap_or(samples);
            let gradient = Some((&mut self.gradients[0], mean_over));
            let (on, aimed) = ((&accelerator, logits), (targets, classes));
            return self.loss.cross_entropy(on, aimed, Wanted { gradient, smoothing }, results);
        }
        let gradient = (&mut self.gradients[0], classes);
        cross_entropy_gradient(logits, targets, smoothing, gradient, results)
    }

    /// [`loss_and_gradient`](Self::loss_and_gradient) of a step of training, for which nobody waits on
    /// an accelerator: there `results` stay as they are until they are
    /// [fetched](Self::fetch_losses), and a lane whose loss is not finite lives no more.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn queue_loss_and_gradient(
        &mut self,
        targets: &Targets<'_>,
        smoothing: &[f64],
        results: &mut [BatchLoss],
    ) -> Result<(), TrainError> {
        let Some(accelerator) = self.accelerator() else {
            return self.loss_and_gradient(targets, smoothing, results);
        };
        let classes = self.classes();
        let logits = self.outputs.last().expect("invariant: a network has layers");
        let mean_over = targets.whole.unwrap_or(targets.labels.len() / self.lanes);
        let gradient = Some((&mut self.gradients[0], mean_over));
        let (on, aimed) = ((&accelerator, logits), (targets, classes));
        self.loss.queue(on, aimed, Wanted { gradient, smoothing }, self.lives.as_ref())
    }

    /// The losses that were queued last, on their way; none where they are in main memory already.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn fetch_losses(&self) -> Result<Option<Coming>, TrainError> {
        if self.lives.is_some() { self.loss.fetch() } else { Ok(None) }
    }

    /// The accelerator that it computes on, if it does not do so in main memory.
    pub fn accelerator(&self) -> Option<Accelerator> {
        self.input.accelerator()
    }

    /// The lanes that live, as the accelerator knows it; nobody in main memory asks.
    pub fn lives(&self) -> Option<&Lives> {
        self.lives.as_ref()
    }

    /// The logits of every lane, (L, capacity, classes), after [`forward`](Self::forward).
    pub fn logits(&self) -> &Buffer<T> {
        self.outputs.last().expect("invariant: a network has layers")
    }

    /// Adds the plain cross-entropy of every lane to `results`, sample by sample, after
    /// [`forward`](Self::forward).
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn add_loss(
        &mut self,
        labels: &[u16],
        results: &mut [BatchLoss],
    ) -> Result<(), TrainError> {
        let logits = self.outputs.last().expect("invariant: a network has layers");
        if let Some(accelerator) = logits.accelerator() {
            let (on, aimed) = ((&accelerator, logits), (&Targets::plain(labels), self.classes()));
            let wanted = Wanted { gradient: None, smoothing: &[] };
            return self.loss.cross_entropy(on, aimed, wanted, results);
        }
        cross_entropy(logits, labels, self.classes(), results)
    }

    /// [`add_loss`](Self::add_loss) of a pass for which nobody waits on an accelerator: there `results`
    /// stay as they are until the losses are [fetched](Self::fetch_samples) and added.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn queue_loss(
        &mut self,
        labels: &[u16],
        results: &mut [BatchLoss],
    ) -> Result<(), TrainError> {
        let Some(accelerator) = self.accelerator() else { return self.add_loss(labels, results) };
        let logits = self.outputs.last().expect("invariant: a network has layers");
        let (on, aimed) = ((&accelerator, logits), (&Targets::plain(labels), self.classes()));
        let wanted = Wanted { gradient: None, smoothing: &[] };
        self.loss.queue_samples(on, aimed, wanted)
    }

    /// The losses of the samples that were queued last, as many as `labels` of all lanes, on their way;
    /// none where they have been added already.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn fetch_samples(&self, labels: usize) -> Result<Option<ComingSamples>, TrainError> {
        match self.lives {
            Some(_) => self.loss.fetch_samples(labels, self.lanes),
            None => Ok(None),
        }
    }

    /// Overwrites the gradients of all parameters, after
    /// [`loss_and_gradient`](Self::loss_and_gradient), and tells `ready` of each.
    ///
    /// # Errors
    /// When the tensor library fails, or what `ready` fails with.
    pub fn backward(
        &mut self,
        pass: &Pass,
        ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError> {
        if pass.samples == 0 {
            self.clear_gradients()?;
        }
        let [arriving, leaving] = &mut self.gradients;
        let (mut arriving, mut leaving) = (arriving, leaving);
        for i in (self.first_trained..self.layers.len()).rev() {
            let flow = Flow {
                input: if i == 0 { &self.input } else { &self.outputs[i - 1] },
                output: &self.outputs[i],
                gradient: arriving,
                input_gradient: (i > self.first_trained).then_some(&mut *leaving),
            };
            let layer = &mut self.layers[i];
            LayerClock::time(&mut self.clock, (i, Way::Backward), || {
                layer.backward(flow, pass, ready)
            })?;
            std::mem::swap(&mut arriving, &mut leaving);
        }
        Ok(())
    }

    /// Makes the gradients on an accelerator 0, which nothing overwrites in a pass without samples: a
    /// product over no rows is none there.
    fn clear_gradients(&mut self) -> Result<(), TrainError> {
        for parameter in self.parameters() {
            let gradient = &parameter.gradient;
            if let Some(accelerator) = gradient.accelerator() {
                let given = arguments![gradient, gradient.pitch()];
                let threads = [gradient.lane_len(), gradient.lanes()];
                accelerator.launch_fours("clear_lanes", threads, given)?;
            }
        }
        Ok(())
    }

    /// All parameters, in their fixed order: from the input to the output.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter<T>> {
        self.layers.iter().flat_map(|layer| layer.parameters())
    }

    /// Those of one lane.
    pub fn parameters_of(&self, lane: usize) -> impl Iterator<Item = &Parameter<T>> {
        self.parameters().filter(move |parameter| parameter.lanes.contains(lane))
    }

    /// The parameters of all lanes, to change them.
    pub fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter<T>> {
        self.layers.iter_mut().flat_map(|layer| layer.parameters_mut())
    }

    /// Leaves the running statistics of the lanes that are not `living` as they are from now on.
    pub fn keep_alive(&mut self, living: &LaneSet) {
        self.layers.iter_mut().for_each(|layer| layer.keep_alive(living));
    }

    /// Lets the layers that need the whole batch agree on it with the other ranks, in these lanes.
    pub fn connect(&mut self, peers: &Peers, lanes: &LaneSet) {
        self.layers.iter_mut().for_each(|layer| layer.connect(peers, lanes));
    }

    /// All running statistics, in a fixed order.
    pub fn states(&self) -> impl Iterator<Item = &State<T>> {
        self.layers.iter().flat_map(|layer| layer.states())
    }

    /// The same, to change them.
    pub fn states_mut(&mut self) -> impl Iterator<Item = &mut State<T>> {
        self.layers.iter_mut().flat_map(|layer| layer.states_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::Mode;
    use crate::train::layer::parameter::{Start, StorageOrder};
    use std::sync::{Arc, Mutex};

    /// Notes whether an input gradient was asked of it.
    struct Probe {
        name: &'static str,
        parameters: Vec<Parameter<f64>>,
        asked: Arc<Mutex<Vec<(&'static str, bool)>>>,
    }

    impl Layer<f64> for Probe {
        fn forward(
            &mut self,
            _: &Buffer<f64>,
            _: &mut Buffer<f64>,
            _: &Pass,
        ) -> Result<(), TrainError> {
            Ok(())
        }

        fn backward(
            &mut self,
            flow: Flow<'_, f64>,
            _: &Pass,
            _: &mut GradientReady<'_, f64>,
        ) -> Result<(), TrainError> {
            self.asked.lock().unwrap().push((self.name, flow.input_gradient.is_some()));
            Ok(())
        }

        fn output_shape(&self) -> Shape {
            Shape::flat(2)
        }

        fn parameters(&self) -> &[Parameter<f64>] {
            &self.parameters
        }
    }

    #[test]
    fn no_input_gradient_is_computed_for_the_first_trained_layer_or_before_it() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let probe = |name: &'static str, trained: bool| -> Box<dyn Layer<f64>> {
            let (order, start) = (StorageOrder::Saved, Start::Constant(0.0));
            let parameter = || Parameter::new("w".to_owned(), 1, vec![1], order, start).unwrap();
            let parameters = if trained { vec![parameter()] } else { Vec::new() };
            Box::new(Probe { name, parameters, asked: Arc::clone(&asked) })
        };
        let stages = [("a", false), ("b", true), ("c", false)].map(|(name, trained)| Stage {
            label: Label::new(name),
            lanes: LaneSet::all(1),
            layer: probe(name, trained),
        });
        let input = (Shape::flat(2), InputOrder::ChannelsFirst);
        let mut network = Network::new(stages.into(), 1, 3, input, Workspace::default()).unwrap();
        let pass = Pass { mode: Mode::Train { step: 0 }, samples: 3, first_sample: 0 };
        network.backward(&pass, &mut |_| Ok(())).unwrap();
        assert_eq!(*asked.lock().unwrap(), [("c", true), ("b", false)]);
    }
}
