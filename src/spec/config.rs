//! The keys of a configuration: their names, types, defaults and documentation, in one table.
//!
//! [`RunConfig`] holds one value for every key; [`Setting`] is one key with one value, the piece
//! that grids, rules and overrides are made of. Everything here is *identity*: two runs differ if
//! and only if a key or the seed differs. Where and how a run is executed is not here but in
//! [`RunPolicy`](super::run_policy::RunPolicy).

use std::collections::BTreeMap;
use std::fmt;

use super::activation::Activation;
use super::augmentation::Augmentation;
use super::batch_norm::BatchNorm;
use super::dataset::Dataset;
use super::device::Device;
use super::diagnostics::{Diagnostics, SpecError};
use super::early_stopping::EarlyStopping;
use super::evaluation::Views;
use super::init::Init;
use super::lr_scaling::LrScaling;
use super::measure::Measurements;
use super::mode::Mode;
use super::model::Model;
use super::node::{Node, Raw};
use super::optimizer::{DecayOn, Optimizer};
use super::precision::Precision;
use super::schedule::Schedule;
use super::value::{Interval, Value};

/// Version of what the engine computes. Raise it when the same configuration and seed would no
/// longer give the same numbers: every run then gets a new id and old results are not mixed in.
pub const ENGINE_NUMERICS: u32 = 4;

macro_rules! config_keys {
    ($( $(#[doc = $doc:literal])+ $field:ident / $Variant:ident: $Type:ty = $default:expr, $limits:expr; )+) => {
        /// One configuration with its seed: all that decides what a run computes.
        #[derive(Debug, Clone, PartialEq)]
        pub struct RunConfig {
            $( $(#[doc = $doc])+ pub $field: $Type, )+
        }

        impl Default for RunConfig {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        /// A key of a configuration.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Key { $( $(#[doc = $doc])+ $Variant, )+ }

        impl Key {
            /// Every key, in the order of the documentation.
            pub const ALL: &[Self] = &[$( Self::$Variant ),+];

            /// Every key's name, in the same order.
            pub const NAMES: &[&str] = &[$( stringify!($field) ),+];

            /// The name, as written in a sweep file.
            pub fn name(self) -> &'static str {
                match self { $( Self::$Variant => stringify!($field), )+ }
            }

            /// What the key means.
            pub fn doc(self) -> &'static str {
                match self { $( Self::$Variant => concat!($($doc),+).trim(), )+ }
            }

            /// JSON Schema of the key's value, with documentation and default.
            pub fn schema(self) -> serde_json::Value {
                match self { $( Self::$Variant => {
                    let mut schema = <$Type as Value>::schema(&$limits);
                    schema["description"] = self.doc().into();
                    schema["default"] = <$Type as Value>::canonical(&$default);
                    schema
                } )+ }
            }

            /// Reads a value of this key.
            pub fn read(self, node: &Node, diagnostics: &mut Diagnostics) -> Option<Setting> {
                let before = diagnostics.count();
                let setting = match self { $( Self::$Variant => {
                    <$Type as Value>::read(node, &$limits, diagnostics).map(Setting::$Variant)
                } )+ };
                diagnostics.attribute(before, self.name());
                setting
            }

            /// Is the list `node` one value of this key, where one or several may stand?
            pub fn is_one_list(self, node: &Node) -> bool {
                let Raw::List(items) = &node.raw else { return false };
                match self { $( Self::$Variant => <$Type as Value>::is_one(items), )+ }
            }

            /// The key at its default.
            pub fn default_setting(self) -> Setting {
                match self { $( Self::$Variant => Setting::$Variant($default), )+ }
            }
        }

        /// A key with a value.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Setting { $( $(#[doc = $doc])+ $Variant($Type), )+ }

        impl Setting {
            /// The key.
            pub fn key(&self) -> Key {
                match self { $( Self::$Variant(_) => Key::$Variant, )+ }
            }

            /// The value as tables show it.
            pub fn label(&self) -> String {
                match self { $( Self::$Variant(value) => Value::label(value), )+ }
            }

            /// The value in canonical JSON.
            pub fn canonical(&self) -> serde_json::Value {
                match self { $( Self::$Variant(value) => Value::canonical(value), )+ }
            }

            /// The value as a number, where it is one.
            pub fn number(&self) -> Option<f64> {
                match self { $( Self::$Variant(value) => Value::number(value), )+ }
            }

            /// The kind of the value, where it is a word.
            pub fn kind(&self) -> Option<&'static str> {
                match self { $( Self::$Variant(value) => Value::kind(value), )+ }
            }
        }

        impl RunConfig {
            /// Sets one key.
            pub fn set(&mut self, setting: &Setting) {
                match setting { $( Setting::$Variant(value) => self.$field.clone_from(value), )+ }
            }

            /// One key with its value.
            pub fn setting(&self, key: Key) -> Setting {
                match key { $( Key::$Variant => Setting::$Variant(self.$field.clone()), )+ }
            }
        }
    };
}

config_keys! {
    /// The images a run trains on.
    dataset/Dataset: Dataset = Dataset::Mnist10k, ();
    /// Part of the training images that is set aside for validation, the same part for every seed;
    /// a data set with a validation part of its own ignores it.
    validation_fraction/ValidationFraction: f64 = 0.1, Interval::above_up_to(0.0, 0.9);
    /// Part of the training images, validation set aside, that is trained on: the same part for every
    /// seed, and a smaller one is part of a larger one.
    train_fraction/TrainFraction: f64 = 1.0, Interval::above_up_to(0.0, 1.0);
    /// The network.
    model/Model: Model = Model::Mlp { hidden: vec![512, 256, 128] }, ();
    /// Factor on every hidden width and channel count (at least 8 channels, 16 units remain).
    width/Width: f64 = 1.0, Interval::above_up_to(0.0, 16.0);
    /// The non-linearity after every hidden layer, and at every `"activation"` of a declared network.
    activation/Activation: Activation = Activation::Relu, ();
    /// Batch normalisation (Ioffe and Szegedy, 2015) before the activation of every convolution of
    /// the AlexNets and of every hidden layer of mlp, and at every `"norm"` of a declared network;
    /// the layer before it then has no bias. true, false or a table of the parameters that differ from
    /// PyTorch's, which hold for every `"batch_norm"` of a declared network too.
    batch_norm/BatchNorm: BatchNorm = BatchNorm::Off, ();
    /// Probability that a unit is dropped: before both hidden linear layers of the AlexNets, after
    /// every hidden activation of mlp, at every `"dropout"` of a declared network. 0 leaves the
    /// layers out.
    dropout/Dropout: f64 = 0.0, Interval::half_open(0.0, 1.0);
    /// The distribution of the initial weights.
    init/Init: Init = Init::Pytorch, ();
    /// What is done to training images, anew in every epoch: one of the levels, or a list of
    /// operations, done one after another, such as `["random_crop", "horizontal_flip"]`.
    augmentation/Augmentation: Augmentation = Augmentation::NONE, ();
    /// What of an image the network is shown when it is measured.
    evaluation/Evaluation: Views = Views::SingleCrop, ();
    /// The update rule.
    optimizer/Optimizer: Optimizer = Optimizer::Sgd { momentum: 0.0, nesterov: false }, ();
    /// The learning rate that the schedule starts from or warms up to.
    lr/Lr: f64 = 0.01, Interval::above(0.0);
    /// How the learning rate moves over training.
    schedule/Schedule: Schedule = Schedule::Constant, ();
    /// Epochs, also a fraction of one, over which the rate rises linearly to where the schedule
    /// begins (Goyal et al., 2017). 0 leaves the warm-up out.
    warmup_epochs/WarmupEpochs: f64 = 0.0, Interval::at_least(0.0);
    /// Weight decay, on the parameters of `weight_decay_on`; as the optimizer defines it.
    weight_decay/WeightDecay: f64 = 0.0, Interval::at_least(0.0);
    /// Which parameters the weight decay acts on.
    weight_decay_on/WeightDecayOn: DecayOn = DecayOn::All, ();
    /// Largest Euclidean norm of all gradients together; a longer gradient is scaled down to it
    /// before the update (Pascanu et al., 2013). 0 leaves gradients as they are.
    clip_norm/ClipNorm: f64 = 0.0, Interval::at_least(0.0);
    /// Part of the target that is spread evenly over all classes (Szegedy et al., 2016), in training
    /// only: validation and test measure the plain cross-entropy.
    label_smoothing/LabelSmoothing: f64 = 0.0, Interval::half_open(0.0, 1.0);
    /// Images in one optimizer step, over all devices; an epoch's last step takes what is left.
    batch_size/BatchSize: u32 = 128, Interval::closed(1.0, 1_048_576.0);
    /// Passes over the training images.
    epochs/Epochs: u32 = 10, Interval::closed(1.0, 1_000_000.0);
    /// Whether a run may end before its last epoch.
    early_stopping/EarlyStopping: EarlyStopping = EarlyStopping::None, ();
    /// Is the run trained, or are its steps timed?
    mode/Mode: Mode = Mode::Train, ();
    /// Devices that train one run together, each on a part of every batch.
    devices/Devices: u32 = 1, Interval::closed(1.0, 1024.0);
    /// Whether batch normalisation looks at the whole batch of several devices, as one device would,
    /// or each device normalises its own part of it.
    sync_batch_norm/SyncBatchNorm: bool = false, ();
    /// What the learning rate is multiplied with on several devices.
    lr_scaling/LrScaling: LrScaling = LrScaling::None, ();
    /// Where it trains. On a GPU sums are made in another order than on cores: results agree, bits
    /// do not.
    device/Device: Device = Device::Auto, ();
    /// How matrix products and convolutions are computed on a GPU. Anything but f32 is refused where
    /// the run would train on cores.
    precision/Precision: Precision = Precision::F32, ();
    /// What is measured in the network while it trains; it changes no number of the run, but costs
    /// time. Written to `layers.csv`.
    measure/Measure: Measurements = Measurements::default(), ();
    /// Seed of the initial weights, data order, dropout and augmentation. `[repeats]` sets it.
    seed/Seed: u64 = 0, Interval::closed(0.0, 9_007_199_254_740_992.0);
}

impl Key {
    /// The key of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.name() == name)
    }

    /// The key of that name, or a noted problem with the nearest one.
    pub fn find(name: &super::node::Name, diagnostics: &mut Diagnostics) -> Option<Self> {
        let key = Self::from_name(&name.text);
        if key.is_none() {
            diagnostics.error_with_help(
                name.span,
                format!("there is no key `{}`", name.text),
                "unknown key",
                super::read::key_help(&name.text),
            );
        }
        key
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl RunConfig {
    /// The keys that differ from their defaults, in canonical JSON, sorted by name. Equal
    /// configurations, however written, give equal maps; a key that is added later with a default
    /// changes none.
    pub fn canonical(&self) -> BTreeMap<&'static str, serde_json::Value> {
        Key::ALL
            .iter()
            .map(|key| self.setting(*key))
            .filter(|setting| *setting != setting.key().default_setting())
            .map(|setting| (setting.key().name(), setting.canonical()))
            .collect()
    }

    /// Reads a configuration back from [`canonical`](Self::canonical)'s JSON.
    ///
    /// # Errors
    /// An unknown key or a value out of its range, all of them at once.
    pub fn from_canonical(json: &serde_json::Value) -> Result<Self, SpecError> {
        let mut diagnostics = Diagnostics::new();
        let node = Node::from_json(json);
        let Raw::Table(fields) = &node.raw else {
            diagnostics.error(node.span, "a configuration is a table of keys", "");
            return diagnostics.finish(None);
        };
        let mut config = Self::default();
        for (name, value) in fields {
            let setting =
                Key::find(name, &mut diagnostics).and_then(|key| key.read(value, &mut diagnostics));
            if let Some(setting) = setting {
                config.set(&setting);
            }
        }
        diagnostics.finish(Some(config))
    }
}
