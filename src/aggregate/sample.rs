//! Small sweeps for the tests of this folder and of those that show its tables.

use crate::event::EpochRecord;
use crate::ids::RunId;
use crate::record::throughput::Exchange;
use crate::record::{RunResult, RunStatus, Site, Spread, Throughput};
use crate::spec::metric::{Goal, Metric, MetricName};

use super::row::{AxisValue, PlannedRun, RunRow, RunState};
use super::table::SweepTable;

/// Ranked by validation accuracy, target 0.9.
pub fn metric() -> Metric {
    Metric { name: MetricName::ValAccuracy, goal: Goal::Maximize, target: Some(0.9) }
}

/// A run whose one axis, `activation`, is its configuration's name.
pub fn planned(configuration: &str, seed: u64) -> PlannedRun {
    PlannedRun {
        run_id: RunId::of(format!("{configuration} {seed}").as_bytes()),
        configuration: configuration.to_owned(),
        axes: vec![AxisValue { label: configuration.to_owned(), number: None }],
        seed,
    }
}

/// A finished run with these validation accuracies, one an epoch of 10 s and 100 steps. The
/// validation loss is one minus the accuracy (without rounding noise), the training loss half.
pub fn result(val_accuracies: &[f64]) -> RunResult {
    let epochs = val_accuracies.iter().zip(1_u32..).map(|(accuracy, epoch)| {
        let val_loss = ((1.0 - accuracy) * 1e12).round() / 1e12;
        EpochRecord {
            epoch,
            step: u64::from(epoch) * 100,
            lr: 0.1,
            train_loss: val_loss / 2.0,
            train_accuracy: *accuracy,
            val_loss,
            val_accuracy: *accuracy,
            train_s: 9.0,
            eval_s: 1.0,
            step_compute_s: None,
            step_communication_s: None,
            step_wait_s: None,
            elapsed_s: f64::from(epoch) * 10.0,
        }
    });
    RunResult {
        epochs: epochs.collect(),
        parameters: Some(1_234_567),
        images_per_s: Some(1500.5),
        wall_s: Some(12.25),
        peak_memory_bytes: Some(1 << 30),
        site: Some(Site { host: "node7".to_owned(), device: "cpu".to_owned() }),
        ..RunResult::new(RunId::of(b"sample"), RunStatus::Finished)
    }
}

/// A run that failed before its first epoch.
pub fn failed(reason: &str) -> RunResult {
    RunResult { status: RunStatus::Failed, reason: Some(reason.to_owned()), ..result(&[]) }
}

/// The table of these runs: configuration, seed, last validation accuracy (`None`: failed).
pub fn table(runs: &[(&str, u64, Option<f64>)]) -> SweepTable {
    let metric = metric();
    let rows = runs.iter().map(|(configuration, seed, accuracy)| {
        let result = match accuracy {
            Some(accuracy) => RunResult {
                test_accuracy: Some(accuracy - 0.0625),
                ..result(&[accuracy / 2.0, *accuracy])
            },
            None => failed("exit status 1"),
        };
        RunRow::new(planned(configuration, *seed), RunState::Ended(&result), &metric)
    });
    let rows = rows.collect();
    SweepTable::from_rows(vec!["activation".into()], metric, rows)
}

/// What steps came to that took `step_s` each: a batch of so many images on so many devices.
pub fn throughput(device: &str, devices: u32, batch_size: u32, step_s: f64) -> Throughput {
    let spread = |share: f64| Spread {
        median: share * step_s,
        p10: 0.875 * share * step_s,
        p90: 1.25 * share * step_s,
    };
    let exchange = Exchange {
        bytes: 4 << 20,
        compute_s: spread(0.75),
        communication_s: spread(0.5),
        wait_s: spread(0.25),
    };
    Throughput {
        device: device.to_owned(),
        devices,
        cores: 2,
        threads: 1,
        batch_size,
        warm_up: 5,
        steps: 20,
        step_s: spread(1.0),
        data_s: spread(0.0625),
        forward_s: spread(0.3125),
        backward_s: spread(0.5),
        update_s: spread(0.0625),
        exchange: (devices > 1).then_some(exchange),
    }
}

/// A run of (device, devices, batch size, seed), the first three of which are its axes, with so many
/// images a second; pending without them.
pub fn timed(
    (device, devices, batch_size, seed, rate): (&str, u32, u32, u64, Option<f64>),
) -> RunRow {
    let number = |n: u32| AxisValue { label: n.to_string(), number: Some(f64::from(n)) };
    let configuration = format!("device={device} devices={devices} batch_size={batch_size}");
    let run = PlannedRun {
        run_id: RunId::of(format!("{configuration} {seed}").as_bytes()),
        configuration,
        axes: vec![
            AxisValue { label: device.to_owned(), number: None },
            number(devices),
            number(batch_size),
        ],
        seed,
    };
    let metric = Metric { name: MetricName::ImagesPerS, goal: Goal::Maximize, target: None };
    let Some(rate) = rate else {
        return RunRow::new(run, RunState::Pending { reason: None }, &metric);
    };
    let step_s = f64::from(batch_size) / rate;
    let result = RunResult {
        throughput: Some(throughput(device, devices, batch_size, step_s)),
        images_per_s: Some(rate),
        peak_memory_bytes: Some((100 << 20) + (u64::from(batch_size) << 20)),
        device_memory_bytes: (device != "cpu").then_some(1 << 20),
        ..RunResult::new(run.run_id, RunStatus::Finished)
    };
    RunRow::new(run, RunState::Ended(&result), &metric)
}

/// The table of runs as [`timed`] has them.
pub fn timed_table(runs: &[(&str, u32, u32, u64, Option<f64>)]) -> SweepTable {
    let axes = ["device", "devices", "batch_size"].map(str::to_owned).to_vec();
    let metric = Metric { name: MetricName::ImagesPerS, goal: Goal::Maximize, target: None };
    SweepTable::from_rows(axes, metric, runs.iter().map(|run| timed(*run)).collect())
}

/// Claims about a small sweep.
pub mod claims {
    use super::*;
    use crate::aggregate::claims::{ClaimResult, Stated, judge};
    use crate::spec::activation::Activation;
    use crate::spec::claim::{Claim, Relation};
    use crate::spec::condition::{Condition, Test};
    use crate::spec::{Key, RunConfig, Setting};

    /// The condition that the activation is this one.
    pub fn activation(activation: Activation) -> Condition {
        let value = Setting::Activation(activation);
        Condition { tests: vec![(Key::Activation, Test::Equals(value.into()))] }
    }

    /// A claim about the validation accuracies of two activations.
    pub fn claim(text: &str, relation: Relation, [of, to]: [Activation; 2]) -> Claim {
        Claim {
            text: text.to_owned(),
            metric: MetricName::ValAccuracy.into(),
            subject: activation(of),
            reference: activation(to).into(),
            relation,
            line: 1,
        }
    }

    /// Claims of every verdict, about three activations with four seeds.
    pub fn judged() -> Vec<ClaimResult> {
        use Activation::{Relu, Sigmoid, Tanh};
        let seeds = 0..4_u64;
        let accuracy = |activation: &str, seed: u64| match activation {
            "relu" => 0.90 + 0.01 * [0.0, 1.0, 0.5, 0.2][seed as usize],
            "tanh" => 0.89 + 0.01 * [0.3, 1.4, 1.9, 0.0][seed as usize],
            _ => 0.40 + 0.02 * [1.0, 0.0, 0.4, 0.8][seed as usize],
        };
        let names = ["relu", "tanh", "sigmoid"];
        let runs: Vec<_> = names
            .iter()
            .flat_map(|name| seeds.clone().map(move |seed| (*name, seed)))
            .map(|(name, seed)| (name, seed, Some(accuracy(name, seed))))
            .collect();
        let configs: Vec<RunConfig> = [Relu, Tanh, Sigmoid]
            .into_iter()
            .flat_map(|activation| vec![RunConfig { activation, ..RunConfig::default() }; 4])
            .collect();
        let claims = [
            claim("relu beats sigmoid", Relation::Larger, [Relu, Sigmoid]),
            claim("sigmoid beats tanh", Relation::Larger, [Sigmoid, Tanh]),
            claim("relu beats tanh", Relation::Larger, [Relu, Tanh]),
            claim("relu is twice as good as sigmoid", Relation::LargerBy(2.0), [Relu, Sigmoid]),
            claim("relu and tanh are the same", Relation::Within(0.05), [Relu, Tanh]),
            claim("tanh equals elu", Relation::Smaller, [Tanh, Activation::Elu { alpha: 1.0 }]),
        ];
        let stated: Vec<Stated> =
            claims.iter().map(|claim| Stated::of(claim, &[Key::Activation], &configs)).collect();
        judge(&stated, &table(&runs))
    }
}

/// A comparison of two small sweeps.
pub mod comparison {
    use super::*;
    use crate::aggregate::compare::{Comparison, Incomparable, RecordedRun, Side};
    use crate::spec::RunConfig;
    use crate::spec::activation::Activation;

    /// Runs of an activation and width, seeds from `first` on; `None` of a run that failed.
    pub fn runs(
        width: f64,
        activation: Activation,
        first: u64,
        accuracies: &[Option<f64>],
    ) -> Vec<RecordedRun> {
        let run = |(accuracy, seed): (&Option<f64>, u64)| {
            let config =
                RunConfig { width, activation: activation.clone(), seed, ..RunConfig::default() };
            let run = PlannedRun::of(RunId::of(b"x"), "x".into(), &config, &[]);
            let result = match accuracy {
                Some(accuracy) => result(&[*accuracy]),
                None => failed("exit status 1"),
            };
            let row = RunRow::new(run, RunState::Ended(&result), &metric());
            RecordedRun { config, data: "mnist".into(), engine: 3, row }
        };
        accuracies.iter().zip(first..).map(run).collect()
    }

    /// Two sweeps that differ in the width, with a row of every kind.
    pub fn of_every_kind() -> Comparison {
        use Activation::{Identity, Relu, Sigmoid, Silu, Tanh};
        let some = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
        let a = [
            runs(0.125, Relu, 0, &some(&[0.50, 0.52, 0.51])),
            runs(0.125, Tanh, 0, &some(&[0.75, 0.77, 0.74])),
            runs(0.125, Identity, 0, &some(&[0.625, 0.375])),
            runs(0.125, Silu, 0, &[None, None]),
            runs(0.125, Sigmoid, 0, &[Some(0.125)]),
        ];
        let mut odd = runs(0.25, Identity, 0, &some(&[0.5, 0.5]));
        odd.iter_mut().for_each(|run| run.engine = 2);
        let b = [
            runs(0.25, Relu, 0, &some(&[0.70, 0.72, 0.715])),
            runs(0.25, Tanh, 10, &some(&[0.75, 0.76])),
            odd,
            runs(0.25, Silu, 0, &some(&[0.5])),
            runs(0.25, Activation::LeakyRelu { negative_slope: 0.5 }, 0, &some(&[0.25, 0.25])),
        ];
        let side = |name: &str, runs: [Vec<RecordedRun>; 5]| Side {
            name: name.to_owned(),
            axes: vec![],
            runs: runs.into_iter().flatten().collect(),
        };
        let (a, b) = (side("narrow", a), side("=wide", b));
        Comparison::of(&a, &b, &metric(), metric().name, Incomparable::Refuse)
    }
}
