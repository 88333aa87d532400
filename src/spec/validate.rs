//! What keys of one configuration must agree on: each value is legal by itself, together they may
//! not be.
//!
//! In: one expanded configuration. Out: everything in it that does not fit. Called for every point
//! of a sweep, up to a million times, so that a misfit in the last one shows before the first one
//! starts; a configuration that fits costs no allocation.

use super::architecture::{smallest_side, walk};
use super::augmentation_fit;
use super::config::{Key, RunConfig};
use super::dataset_fit;
use super::early_stopping;
use super::evaluation;
use super::layers::{Entry, LayerWord, Probability};
use super::mode;
use super::model::Model;
use super::optimizer::Optimizer;
use super::precision;
use super::schedule_fit;

/// Something about a configuration that keeps it from being trained.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Misfit {
    /// The keys that do not go together.
    pub keys: Vec<Key>,
    /// What is wrong: lowercase, no full stop.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Misfit {
    pub(super) fn new(keys: &[Key], message: String, help: impl Into<String>) -> Self {
        Self { keys: keys.to_vec(), message, help: Some(help.into()) }
    }
}

/// Why no value of `key` changes anything in `config`; `None` where one may. A single value of such a key
/// is no mistake (a base is for many configurations); an axis of it trains everything several times.
pub fn idle(config: &RunConfig, key: Key) -> Option<Misfit> {
    let (other, why, help) = match key {
        Key::ValidationFraction if config.dataset.has_validation() => (
            Key::Dataset,
            "the data set has validation images of its own",
            "a data set that has none",
        ),
        Key::WeightDecayOn if config.weight_decay == 0.0 => {
            (Key::WeightDecay, "weight_decay = 0", "a `weight_decay`")
        }
        Key::LrScaling if config.devices == 1 => (Key::Devices, "devices = 1", "several `devices`"),
        _ => return None,
    };
    let message = format!("an axis of {key} changes nothing: {why}");
    Some(Misfit::new(&[key, other], message, format!("take {help}, or one value of `{key}`")))
}

/// Everything in `config` that does not fit together; empty, without an allocation, when all does.
pub fn misfits(config: &RunConfig) -> Vec<Misfit> {
    let mut found = Vec::new();
    if let Some(misfit) = dataset_fit::misfit(config) {
        found.push(misfit);
        return found;
    }
    found.extend(synchronised(config));
    found.extend(shares(config));
    found.extend(schedule_fit::misfits(config));
    found.extend(network(config));
    found.extend(places(config));
    found.extend(nesterov(config));
    found.extend(early_stopping::misfit(config));
    found.extend(evaluation::misfit(config));
    found.extend(augmentation_fit::misfit(config));
    found.extend(mode::misfit(config));
    found.extend(precision::misfit(config));
    let (train, validation) = split(config);
    if let Some(misfit) = empty_part(config, train, validation) {
        found.push(misfit);
        return found;
    }
    found.extend(single_sample(config, train));
    found.extend(steps(config, train));
    found
}

/// Training and validation images. What is set aside, and what is trained on of the rest, is rounded to
/// whole images.
fn split(config: &RunConfig) -> (u64, u64) {
    let parts = config.parts();
    let validation = if config.dataset.has_validation() { 1 } else { parts.validation };
    (parts.train as u64, validation as u64)
}

/// An axis of `sync_batch_norm` over a network without batch norm would train everything twice.
fn synchronised(config: &RunConfig) -> Option<Misfit> {
    (config.sync_batch_norm && !normalises(config)).then(|| {
        let message = "sync_batch_norm = true changes nothing: the network normalises no batch";
        let help = "take batch_norm = true, or leave out `sync_batch_norm`";
        Misfit::new(&[Key::SyncBatchNorm, Key::BatchNorm], message.to_owned(), help)
    })
}

fn shares(config: &RunConfig) -> Option<Misfit> {
    let (batch, devices) = (config.batch_size, config.devices);
    (!batch.is_multiple_of(devices)).then(|| {
        let message = format!("batch_size = {batch} cannot be shared equally by {devices} devices");
        let multiple = batch.div_ceil(devices) * devices;
        Misfit::new(
            &[Key::BatchSize, Key::Devices],
            message,
            format!("take batch_size = {multiple}"),
        )
    })
}

/// Does every layer fit what arrives at it?
fn network(config: &RunConfig) -> Option<Misfit> {
    let [channels, height, width] = config.input_shape();
    let classes = config.dataset.classes();
    let unfit = walk(config, [channels, height, width], classes, &mut |_| {}).err()?;
    let Some(help) = unfit.help else {
        // Of a network of one's own the layer is as easily changed as the images.
        let or = match &config.model {
            Model::Layers { .. } => "a smaller kernel, or smaller strides before it",
            _ => "another model",
        };
        let help = match smallest_side(config, channels, classes) {
            Some(side) => format!("take images of at least {side} x {side} px, or {or}"),
            None => format!("take {or}"),
        };
        return Some(Misfit::new(&[Key::Model, Key::Dataset], unfit.message, help));
    };
    Some(Misfit::new(&[Key::Model], unfit.message, help))
}

/// A declared network that has no place for what a key says would train every value of the key
/// alike, and the leaderboard would call that a result.
fn places(config: &RunConfig) -> Option<Misfit> {
    let Model::Layers { layers } = &config.model else { return None };
    let has = |place: fn(&Entry) -> bool| layers.iter().any(place);
    let (key, place) = if config.batch_norm.is_on()
        && !has(|entry| matches!(entry, Entry::Layer(LayerWord::Norm)))
    {
        (Key::BatchNorm, "norm")
    } else if config.dropout > 0.0
        && !has(|entry| matches!(entry, Entry::Layer(LayerWord::Dropout { p: Probability::Key })))
    {
        (Key::Dropout, "dropout")
    } else if config.activation != RunConfig::default().activation
        && !has(|entry| matches!(entry, Entry::Layer(LayerWord::Activation)))
    {
        (Key::Activation, "activation")
    } else {
        return None;
    };
    let message = format!(
        "{key} = {} changes nothing: the layers of the model have no \"{place}\"",
        config.setting(key).label()
    );
    let help = format!("put \"{place}\" where it is meant, or leave out `{key}`");
    Some(Misfit::new(&[Key::Model, key], message, help))
}

fn nesterov(config: &RunConfig) -> Option<Misfit> {
    let Optimizer::Sgd { momentum, nesterov: true } = config.optimizer else { return None };
    (momentum == 0.0).then(|| {
        let message = "nesterov without momentum is plain SGD".to_owned();
        let help = "write optimizer = { kind = \"sgd\", momentum = 0.9, nesterov = true }";
        Misfit::new(&[Key::Optimizer], message, help)
    })
}

fn empty_part(config: &RunConfig, train: u64, validation: u64) -> Option<Misfit> {
    let rest = config.dataset.parts(config.validation_fraction).train;
    if train == 0 && rest > 0 {
        let message = format!(
            "train_fraction = {} of {rest} images leaves no training image",
            config.train_fraction
        );
        let help = "take a fraction that leaves some, such as 0.2".to_owned();
        return Some(Misfit::new(&[Key::TrainFraction, Key::Dataset], message, help));
    }
    (train == 0 || validation == 0).then(|| {
        let part = if train == 0 { "training" } else { "validation" };
        let message = format!(
            "validation_fraction = {} of {} images leaves no {part} image",
            config.validation_fraction,
            config.dataset.training_images()
        );
        let help = "take a fraction that leaves images in both parts, such as 0.1";
        Misfit::new(&[Key::ValidationFraction, Key::Dataset], message, help)
    })
}

/// Batch normalisation of one sample makes every unit 0, whatever it was: the variance is 0.
fn single_sample(config: &RunConfig, train: u64) -> Option<Misfit> {
    // Ranks that normalise each their own part of a batch must have two images of it, or none.
    let ranks = if config.sync_batch_norm { 1 } else { u64::from(config.devices) };
    let one_of = |images: u64| (1..2 * ranks).contains(&images);
    let lone = |batch: u64| one_of(batch.min(train)) || (batch < train && one_of(train % batch));
    let batch = u64::from(config.batch_size);
    if !normalises(config) || !lone(batch) {
        return None;
    }
    let message = if ranks > 1 {
        format!(
            "with batch_norm on {ranks} devices, {train} training images in batches of {batch} \
             leave a device a single image to normalise"
        )
    } else if batch == 1 {
        "batch_norm cannot normalise batches of one image".to_owned()
    } else if train == 1 {
        "batch_norm cannot normalise a single training image".to_owned()
    } else {
        format!(
            "with batch_norm, {train} training images in batches of {batch} leave a last batch of one image"
        )
    };
    let better = (1..=16).flat_map(|by| [batch + by * ranks, batch.saturating_sub(by * ranks)]);
    let better = better.into_iter().find(|batch| *batch > 1 && !lone(*batch));
    let off = if ranks > 1 { "sync_batch_norm = true" } else { "batch_norm = false" };
    let help = match better {
        Some(better) => format!("take batch_size = {better}, or {off}"),
        None => format!("take more training images, or {off}"),
    };
    let keys = [Key::BatchNorm, Key::BatchSize, Key::Devices];
    Some(Misfit::new(if ranks > 1 { &keys } else { &keys[..2] }, message, help))
}

/// Does the network normalise batches?
fn normalises(config: &RunConfig) -> bool {
    match &config.model {
        Model::Layers { layers } => layers.iter().any(|entry| entry.normalises(config)),
        _ => config.batch_norm.is_on(),
    }
}

/// Steps are counted in 32 bits, which random streams and records rely on.
fn steps(config: &RunConfig, train: u64) -> Option<Misfit> {
    let steps = train.div_ceil(u64::from(config.batch_size)) * u64::from(config.epochs);
    (steps > u64::from(u32::MAX)).then(|| {
        let message = format!("{steps} optimizer steps are more than {}", u32::MAX);
        Misfit::new(&[Key::Epochs, Key::BatchSize], message, "take fewer epochs or larger batches")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::batch_norm::BatchNorm;
    use crate::spec::dataset::Dataset;
    use crate::spec::schedule::Schedule;

    fn synthetic(train: u32, side: u32) -> Dataset {
        Dataset::Synthetic { train, val: 8, test: 8, shape: vec![3, side, side], classes: 10 }
    }

    /// The default configuration with a change, and what does not fit in it.
    fn found(change: impl Fn(&mut RunConfig)) -> Vec<String> {
        let mut config = RunConfig::default();
        change(&mut config);
        let found = misfits(&config);
        assert!(found.iter().all(|misfit| !misfit.keys.is_empty() && misfit.help.is_some()));
        found
            .into_iter()
            .map(|misfit| format!("{} | {}", misfit.message, misfit.help.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn of_a_network_of_ones_own_the_layer_may_change_as_well_as_the_images() {
        let fields = serde_json::json!({ "layers": [
            { "kind": "conv2d", "channels": 8, "kernel": 7 }, "flatten", "logits",
        ] });
        let node = crate::spec::node::Node::from_json(&fields);
        let read =
            Key::Model.read(&node, &mut crate::spec::diagnostics::Diagnostics::new()).unwrap();
        let found = found(|c| {
            c.set(&read);
            c.dataset = synthetic(64, 6);
        });
        assert_eq!(
            found,
            [
                "conv1 (7 x 7, stride 1) needs at least 7 x 7 pixels, found images of 3 x 6 x 6 | take \
              images of at least 7 x 7 px, or a smaller kernel, or smaller strides before it"
            ]
        );
    }

    #[test]
    fn every_misfit_is_found_with_advice() {
        let warmup = |warmup_epochs| Schedule::WarmupCosine { warmup_epochs, final_factor: 0.0 };
        let cases: Vec<Vec<String>> = vec![
            found(|c| (c.batch_size, c.devices) = (100, 3)),
            found(|c| c.sync_batch_norm = true),
            found(|c| (c.batch_norm, c.devices, c.batch_size) = (BatchNorm::ON, 4, 4)),
            found(|c| (c.epochs, c.schedule) = (5, warmup(5))),
            found(|c| (c.model, c.dataset) = (Model::Alexnet32, synthetic(64, 6))),
            found(|c| c.optimizer = Optimizer::Sgd { momentum: 0.0, nesterov: true }),
            found(|c| c.validation_fraction = 1e-5),
            found(|c| c.train_fraction = 1e-5),
            found(|c| (c.batch_norm, c.batch_size) = (BatchNorm::ON, 1)),
            found(|c| (c.batch_norm, c.batch_size) = (BatchNorm::ON, 8999)),
            found(|c| (c.batch_norm, c.dataset) = (BatchNorm::ON, synthetic(1, 28))),
            found(|c| (c.epochs, c.batch_size) = (1_000_000, 1)),
        ];
        assert!(cases.iter().all(|case| case.len() == 1), "{cases:?}");
        insta::assert_snapshot!(cases.concat().join("\n"), @r#"
        batch_size = 100 cannot be shared equally by 3 devices | take batch_size = 102
        sync_batch_norm = true changes nothing: the network normalises no batch | take batch_norm = true, or leave out `sync_batch_norm`
        with batch_norm on 4 devices, 9000 training images in batches of 4 leave a device a single image to normalise | take batch_size = 8, or sync_batch_norm = true
        a warm-up of 5 epochs leaves nothing of 5 epochs to train | take more `epochs`, or schedule = { kind = "warmup_cosine", warmup_epochs = ... } with fewer
        pool2 (2 x 2, stride 2) needs at least 2 x 2 pixels, found 192 x 1 x 1 from relu2 | take images of at least 7 x 7 px, or another model
        nesterov without momentum is plain SGD | write optimizer = { kind = "sgd", momentum = 0.9, nesterov = true }
        validation_fraction = 0.00001 of 10000 images leaves no validation image | take a fraction that leaves images in both parts, such as 0.1
        train_fraction = 0.00001 of 9000 images leaves no training image | take a fraction that leaves some, such as 0.2
        batch_norm cannot normalise batches of one image | take batch_size = 2, or batch_norm = false
        with batch_norm, 9000 training images in batches of 8999 leave a last batch of one image | take batch_size = 9000, or batch_norm = false
        batch_norm cannot normalise a single training image | take more training images, or batch_norm = false
        9000000000 optimizer steps are more than 4294967295 | take fewer epochs or larger batches
        "#);
    }

    #[test]
    fn keys_that_change_nothing_are_told_from_those_that_may() {
        let plain = RunConfig::default;
        let cases = [
            (RunConfig { dataset: synthetic(64, 28), ..plain() }, Key::ValidationFraction),
            (plain(), Key::WeightDecayOn),
            (plain(), Key::LrScaling),
        ];
        let told = cases.map(|(config, key)| {
            let misfit = idle(&config, key).unwrap();
            assert_eq!(misfits(&config), [], "a single value of it is no mistake");
            format!("{} | {}", misfit.message, misfit.help.unwrap())
        });
        insta::assert_snapshot!(told.join("\n"), @r"
        an axis of validation_fraction changes nothing: the data set has validation images of its own | take a data set that has none, or one value of `validation_fraction`
        an axis of weight_decay_on changes nothing: weight_decay = 0 | take a `weight_decay`, or one value of `weight_decay_on`
        an axis of lr_scaling changes nothing: devices = 1 | take several `devices`, or one value of `lr_scaling`
        ");
        for (config, key) in [
            (plain(), Key::ValidationFraction),
            (RunConfig { weight_decay: 0.1, ..plain() }, Key::WeightDecayOn),
            (RunConfig { devices: 2, ..plain() }, Key::LrScaling),
            (plain(), Key::Lr),
        ] {
            assert_eq!(idle(&config, key), None);
        }
    }

    #[test]
    fn what_fits_is_left_alone_and_costs_no_memory() {
        let warmup = Schedule::WarmupCosine { warmup_epochs: 4, final_factor: 0.0 };
        let good: [&dyn Fn(&mut RunConfig); 9] = [
            &|_| {},
            &|c| (c.epochs, c.schedule) = (5, warmup.clone()),
            &|c| (c.model, c.dataset) = (Model::Alexnet32, synthetic(64, 7)),
            &|c| c.optimizer = Optimizer::Sgd { momentum: 0.9, nesterov: true },
            &|c| (c.batch_norm, c.batch_size) = (BatchNorm::ON, 128),
            &|c| (c.batch_norm, c.devices) = (BatchNorm::ON, 4),
            &|c| {
                (c.batch_norm, c.devices, c.batch_size) = (BatchNorm::ON, 4, 4);
                c.sync_batch_norm = true;
            },
            &|c| (c.batch_norm, c.batch_size) = (BatchNorm::ON, 100_000),
            &|c| (c.validation_fraction, c.dataset) = (1e-9, synthetic(64, 28)),
        ];
        for change in good {
            let mut config = RunConfig::default();
            change(&mut config);
            let found = misfits(&config);
            assert_eq!((found.len(), found.capacity()), (0, 0), "{found:?}");
        }
    }
}
