//! Help for a key that does not exist: other libraries' names for ours, keys in the wrong table,
//! slips of the finger.

use super::settings;
use crate::spec::config::Key;
use crate::spec::diagnostics::{nearest, suggest};

/// What people write, and what to write here.
const ALIASES: &[(&[&str], &str)] = &[
    (&["learning_rate", "learningrate", "eta", "base_lr", "init_lr"], "did you mean `lr`?"),
    (&["batchsize", "batch", "bs", "batch_sz", "minibatch"], "did you mean `batch_size`?"),
    (&["wd", "decay", "l2", "weightdecay"], "did you mean `weight_decay`?"),
    (&["num_epochs", "n_epochs", "max_epochs", "nepochs", "epoch"], "did you mean `epochs`?"),
    (&["act", "nonlinearity", "activations", "act_fn"], "did you mean `activation`?"),
    (&["aug", "augment", "augmentations", "data_augmentation"], "did you mean `augmentation`?"),
    (&["bn", "batchnorm", "batch_normalization", "use_bn"], "did you mean `batch_norm`?"),
    (
        &["gpus", "gpu", "num_gpus", "n_gpus", "device", "world_size"],
        "did you mean `devices`, how many train one run?",
    ),
    (&["sync_bn", "syncbn", "sync_batchnorm"], "did you mean `sync_batch_norm`?"),
    (
        &["dtype", "amp", "mixed_precision", "autocast", "tf32", "allow_tf32", "bf16", "fp16"],
        "did you mean `precision`, which is \"f32\", \"tf32\" or \"bf16\"?",
    ),
    (&["lr_scale", "scale_lr", "lr_scaling_rule"], "did you mean `lr_scaling`?"),
    (&["lr_schedule", "scheduler", "lr_scheduler", "lr_decay"], "did you mean `schedule`?"),
    (&["opt", "optim", "optimiser"], "did you mean `optimizer`?"),
    (&["arch", "architecture", "network", "net"], "did you mean `model`?"),
    (&["data", "data_set", "datasets"], "did you mean `dataset`?"),
    (&["dropout_rate", "drop", "p_dropout", "drop_rate"], "did you mean `dropout`?"),
    (
        &["val_split", "validation_split", "val_fraction", "valid_size"],
        "did you mean `validation_fraction`?",
    ),
    (&["initialization", "initializer", "weight_init"], "did you mean `init`?"),
    (
        &["momentum", "nesterov"],
        "a parameter of the optimizer: optimizer = { kind = \"sgd\", momentum = 0.9 }",
    ),
    (
        &["beta1", "beta2", "betas", "eps"],
        "a parameter of the optimizer: optimizer = { kind = \"adam\", beta1 = 0.9 }",
    ),
    (
        &["gamma", "step_size", "milestones", "every_epochs"],
        "a parameter of the schedule: schedule = { kind = \"step\", every_epochs = 10, gamma = 0.1 }",
    ),
    (&["warmup", "warm_up", "num_warmup_epochs"], "did you mean `warmup_epochs`?"),
    (
        &["clip", "grad_clip", "clip_grad", "clip_grad_norm", "max_norm", "max_grad_norm"],
        "did you mean `clip_norm`?",
    ),
    (&["smoothing", "label_smooth", "ls"], "did you mean `label_smoothing`?"),
    (
        &["hidden", "hidden_sizes", "layers"],
        "a parameter of the model: model = { kind = \"mlp\", hidden = [512, 256] }",
    ),
    (
        &["seeds", "random_seed", "num_seeds", "repeat", "n_seeds"],
        "replicates are no key: write `seeds = 3` in [repeats]",
    ),
    (&["max_retries"], "write `retries = { count = 2 }` in [run]"),
    (&["values", "value"], "the keys themselves stand here: lr = [0.1, 0.01]"),
];

/// `help` for the unknown key `name`.
pub fn key_help(name: &str) -> String {
    if let Some(help) = alias(name).or_else(|| elsewhere(name)) {
        return help;
    }
    suggest(name, Key::NAMES)
}

/// `help` for an unknown name at the top of the file, where sections stand.
pub fn top_level_help(name: &str) -> String {
    if let Some(key) = Key::from_name(name) {
        return format!("`{key}` belongs in [base], or with a list of values in [grid]");
    }
    let later = settings::sections_with(name);
    if !later.is_empty() {
        return belongs(name, &later);
    }
    match alias(name) {
        // What stands in a section of its own: the name may be that of the section, misspelt.
        Some(help) if help.contains(" in [") => match nearest(name, &settings::top_level_names()) {
            Some(section) => format!("did you mean `{section}`?"),
            None => help,
        },
        Some(help) => format!("{help} (in [base] or [grid])"),
        None => suggest(name, &settings::top_level_names()),
    }
}

/// What is known of the key by another name that people use.
pub fn key_alias(name: &str) -> Option<String> {
    alias(name)
}

/// `help` for an override of something below a name that is neither a key nor a section.
pub fn override_help_below(first: &str, rest: &str) -> String {
    let sections =
        settings::top_level_names().into_iter().filter(|name| settings::is_section(name));
    let legal: Vec<&str> = Key::NAMES.iter().copied().chain(sections.clone()).collect();
    match nearest(first, &legal) {
        Some(word) => format!("did you mean `{word}.{rest}`?"),
        None => alias(first).unwrap_or_else(|| {
            let sections: Vec<&str> = sections.collect();
            format!(
                "below it stand settings of a section ({}), as in `run.timeout=1h`, or a parameter of a key's \
                 values, as in `optimizer.momentum=0.9`",
                sections.join(", ")
            )
        }),
    }
}

/// `help` for an override of something unknown.
pub fn override_help(name: &str) -> String {
    if let Some(help) = alias(name) {
        return help;
    }
    let sections = settings::sections_with(name);
    match sections.first() {
        Some(section) => format!("write `{section}.{name}=...`"),
        None => suggest(name, Key::NAMES),
    }
}

fn alias(name: &str) -> Option<String> {
    let lower = name.to_lowercase().replace('-', "_");
    let known = ALIASES.iter().find(|(names, _)| names.contains(&lower.as_str()));
    let exact = (lower != name).then(|| Key::from_name(&lower)).flatten();
    exact.map(|key| format!("did you mean `{key}`?")).or(known.map(|(_, help)| (*help).to_owned()))
}

fn elsewhere(name: &str) -> Option<String> {
    if matches!(name, "schema" | "name" | "description") {
        return Some(format!("`{name}` belongs at the top of the file, above the first [section]"));
    }
    let sections = settings::sections_with(name);
    (!sections.is_empty()).then(|| belongs(name, &sections))
}

fn belongs(name: &str, sections: &[&str]) -> String {
    let sections: Vec<String> = sections.iter().map(|section| format!("[{section}]")).collect();
    format!("`{name}` belongs in {}", sections.join(" or "))
}
