//! Whether a learning-rate schedule fits into its run.
//!
//! In: one configuration. Out: what would make its schedule something other than was meant: a
//! warm-up that never ends, a drop that never comes. No allocation where all fits.

use super::config::{Key, RunConfig};
use super::schedule::Schedule;
use super::validate::Misfit;

/// Everything about the schedule of `config` that does not fit.
pub fn misfits(config: &RunConfig) -> impl Iterator<Item = Misfit> {
    [long_warmup(config), two_warmups(config), milestones(config), plateau(config)]
        .into_iter()
        .flatten()
}

fn long_warmup(config: &RunConfig) -> Option<Misfit> {
    let (own, key) = match config.schedule {
        Schedule::WarmupCosine { warmup_epochs, .. } => (f64::from(warmup_epochs), Key::Schedule),
        _ => (config.warmup_epochs, Key::WarmupEpochs),
    };
    let epochs = config.epochs;
    (own >= f64::from(epochs)).then(|| {
        let message = format!("a warm-up of {own} epochs leaves nothing of {epochs} epochs to train");
        let help = if key == Key::Schedule {
            "take more `epochs`, or schedule = { kind = \"warmup_cosine\", warmup_epochs = ... } with fewer"
        } else {
            "take more `epochs`, or a smaller `warmup_epochs`"
        };
        Misfit::new(&[key, Key::Epochs], message, help)
    })
}

fn two_warmups(config: &RunConfig) -> Option<Misfit> {
    let rises =
        matches!(config.schedule, Schedule::WarmupCosine { .. } | Schedule::OneCycle { .. });
    (rises && config.warmup_epochs > 0.0).then(|| {
        let kind = config.schedule.kind();
        let message = format!(
            "`{kind}` warms up by itself, and warmup_epochs = {} would do it again",
            config.warmup_epochs
        );
        let help = if kind == "one_cycle" {
            "leave `warmup_epochs` out, or take a schedule without a rise"
        } else {
            "leave the key `warmup_epochs` out, or write schedule = \"cosine\" with it"
        };
        Misfit::new(&[Key::Schedule, Key::WarmupEpochs], message, help)
    })
}

fn milestones(config: &RunConfig) -> Option<Misfit> {
    let milestones = match &config.schedule {
        Schedule::MultiStep { milestones, .. } => milestones.as_slice(),
        Schedule::Step { every_epochs, .. } => std::slice::from_ref(every_epochs),
        _ => return None,
    };
    // A `step` longer than the run is a constant rate that somebody may sweep up to; a milestone
    // that never comes was put there to come.
    let listed = matches!(config.schedule, Schedule::MultiStep { .. });
    let (first, last) = (*milestones.first()?, *milestones.last()?);
    if let Some(pair) = milestones.windows(2).find(|pair| pair[0] >= pair[1]) {
        let message = format!("milestone {} does not come after {}", pair[1], pair[0]);
        return Some(Misfit::new(&[Key::Schedule], message, "write them in ascending order"));
    }
    let (warmup, epochs) = (config.warmup_epochs, config.epochs);
    if warmup > f64::from(first) {
        let message = format!(
            "the first drop, after epoch {first}, is within the warm-up of {warmup} epochs"
        );
        let help = if listed {
            "write schedule = { kind = \"multi_step\", milestones = [...] } with later ones, or a shorter `warmup_epochs`"
        } else {
            "take a longer `every_epochs` or a shorter `warmup_epochs`"
        };
        return Some(Misfit::new(&[Key::Schedule, Key::WarmupEpochs], message, help));
    }
    (listed && last >= epochs).then(|| {
        let message = format!("the milestone after epoch {last} never comes in {epochs} epochs");
        let help = format!(
            "write schedule = {{ kind = \"multi_step\", milestones = [...] }} with epochs below {epochs}, or train longer"
        );
        Misfit::new(&[Key::Schedule, Key::Epochs], message, help)
    })
}

fn plateau(config: &RunConfig) -> Option<Misfit> {
    let Schedule::Plateau { patience, min_lr, .. } = config.schedule else { return None };
    if min_lr >= config.scaled_lr() {
        let message =
            format!("min_lr = {min_lr} leaves lr = {} nowhere to fall", config.scaled_lr());
        return Some(Misfit::new(&[Key::Schedule, Key::Lr], message, "take a smaller min_lr"));
    }
    // The first epoch always improves; patience + 1 epochs later the rate drops, and one more has
    // to come for it.
    let needed = u64::from(patience) + 3;
    (needed > u64::from(config.epochs)).then(|| {
        let message =
            format!("a patience of {patience} epochs is never used up in {} epochs", config.epochs);
        let help = format!("take epochs = {needed} or more, or less patience");
        Misfit::new(&[Key::Schedule, Key::Epochs], message, help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::schedule::{Anneal, Watched};

    fn found(schedule: Schedule, warmup_epochs: f64) -> Vec<String> {
        let config = RunConfig { schedule, warmup_epochs, epochs: 12, ..RunConfig::default() };
        misfits(&config)
            .map(|misfit| format!("{} | {}", misfit.message, misfit.help.unwrap_or_default()))
            .collect()
    }

    fn multi_step(milestones: &[u32]) -> Schedule {
        Schedule::MultiStep { milestones: milestones.to_vec(), gamma: 0.1 }
    }

    fn plateau(patience: u32, min_lr: f64) -> Schedule {
        let (factor, threshold, cooldown, metric) = (0.1, 1e-4, 0, Watched::Loss);
        Schedule::Plateau { factor, patience, threshold, cooldown, min_lr, metric }
    }

    fn one_cycle() -> Schedule {
        let (pct_start, div_factor, final_div_factor) = (0.3, 25.0, 1e4);
        Schedule::OneCycle { pct_start, div_factor, final_div_factor, anneal: Anneal::Cosine }
    }

    #[test]
    fn schedules_that_do_not_fit_their_run_are_named_with_advice() {
        let warmup = Schedule::WarmupCosine { warmup_epochs: 2, final_factor: 0.0 };
        let cases = [
            found(Schedule::Constant, 12.0),
            found(warmup, 0.5),
            found(one_cycle(), 1.0),
            found(multi_step(&[3, 3]), 0.0),
            found(multi_step(&[4, 12]), 0.0),
            found(multi_step(&[4, 8]), 4.5),
            found(Schedule::Step { every_epochs: 2, gamma: 0.1 }, 3.0),
            found(plateau(10, 0.0), 0.0),
            found(plateau(2, 0.01), 0.0),
        ];
        assert!(cases.iter().all(|case| case.len() == 1), "{cases:?}");
        insta::assert_snapshot!(cases.concat().join("\n"), @r#"
        a warm-up of 12 epochs leaves nothing of 12 epochs to train | take more `epochs`, or a smaller `warmup_epochs`
        `warmup_cosine` warms up by itself, and warmup_epochs = 0.5 would do it again | leave the key `warmup_epochs` out, or write schedule = "cosine" with it
        `one_cycle` warms up by itself, and warmup_epochs = 1 would do it again | leave `warmup_epochs` out, or take a schedule without a rise
        milestone 3 does not come after 3 | write them in ascending order
        the milestone after epoch 12 never comes in 12 epochs | write schedule = { kind = "multi_step", milestones = [...] } with epochs below 12, or train longer
        the first drop, after epoch 4, is within the warm-up of 4.5 epochs | write schedule = { kind = "multi_step", milestones = [...] } with later ones, or a shorter `warmup_epochs`
        the first drop, after epoch 2, is within the warm-up of 3 epochs | take a longer `every_epochs` or a shorter `warmup_epochs`
        a patience of 10 epochs is never used up in 12 epochs | take epochs = 13 or more, or less patience
        min_lr = 0.01 leaves lr = 0.01 nowhere to fall | take a smaller min_lr
        "#);
    }

    #[test]
    fn schedules_that_just_fit_are_left_alone() {
        for (schedule, warmup_epochs) in [
            (Schedule::Constant, 11.9),
            (multi_step(&[4, 11]), 4.0),
            (Schedule::Step { every_epochs: 20, gamma: 0.1 }, 3.0),
            (plateau(9, 0.009), 1.5),
            (one_cycle(), 0.0),
        ] {
            assert_eq!(found(schedule, warmup_epochs), Vec::<String>::new());
        }
    }
}
