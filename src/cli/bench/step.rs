//! `gridlane bench step`: what a training step of a configuration takes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;

use super::subject::Subject;
use crate::cli::args::BenchStepArgs;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::display::profile_table::profile_table;
use crate::spec::RunConfig;
use crate::spec::architecture::Architecture;
use crate::spec::mode::Course;
use crate::train::bench::profile::gemm_peak_flops;
use crate::train::bench::step::{Setting, StepTimes, time_steps};
use crate::train::device::Device;
use crate::train::error::TrainError;
use crate::units::{counted, show_bytes, show_count};
use crate::worker::{peak_memory_bytes, use_small_pages};

/// Times training steps and prints the figures.
///
/// # Errors
/// A bad configuration, or one that cannot be trained.
pub fn step(args: &BenchStepArgs) -> Result<ExitCode, CliError> {
    let subject = Subject::of(&args.settings)?;
    let device = subject.device(args.device)?;
    let threads = subject.threads(args.threads)? as usize;
    let config = subject.config;
    use_small_pages();
    let steps = args.steps;
    let course = Course { steps, warm_up: args.warm_up.unwrap_or((steps / 5).max(3)) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| CliError::Bench {
        message: format!("cannot start {threads} threads: {error}"),
        help: "take fewer `--threads`".to_owned(),
    })?;
    let device = Device::open(device).map_err(TrainError::from)?;
    let setting = Setting { device: &device, course, profiles: args.profile };
    let times = pool.install(|| time_steps(&config, &setting))?;
    let arithmetic = args.profile.then(|| Arithmetic::of(&config)).flatten();
    let figures = Figures { config: &config, times: &times, device: &device, threads, arithmetic };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", figures.json())?;
    } else {
        write!(out, "{}", figures.text())?;
    }
    Ok(ExitCode::Ok)
}

/// What was measured, with what it was measured on.
struct Figures<'a> {
    config: &'a RunConfig,
    times: &'a StepTimes,
    device: &'a Device,
    threads: usize,
    arithmetic: Option<Arithmetic>,
}

/// What a step would cost by the definition of its layers, and what one core can do.
struct Arithmetic {
    /// Floating-point operations of a step; Winograd's convolutions and borders do with fewer.
    step_flops: f64,
    /// A second, in a large matrix product.
    peak_flops: f64,
}

impl Arithmetic {
    fn of(config: &RunConfig) -> Option<Self> {
        let architecture = Architecture::of(config).ok()?;
        let sample = 2 * architecture.training_multiply_adds();
        let step_flops = sample as f64 * f64::from(config.batch_size);
        Some(Self { step_flops, peak_flops: gemm_peak_flops() })
    }
}

impl Figures<'_> {
    fn images_per_s(&self) -> f64 {
        f64::from(self.config.batch_size) / self.times.median_s()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "engine": concat!("gridlane ", env!("CARGO_PKG_VERSION")),
            "config": self.config.canonical(),
            "batch_size": self.config.batch_size,
            "device": self.device.to_string(),
            "threads": self.threads,
            "steps": self.times.seconds.len(),
            "step_ms_median": self.times.median_s() * 1e3,
            "step_ms_min": self.times.least_s() * 1e3,
            "images_per_s": self.images_per_s(),
            "parameters": self.times.parameters,
            "peak_memory_bytes": peak_memory_bytes(),
            "graph_replays": match self.device {
                Device::Cpu => None,
                Device::Accelerator(accelerator) => Some(accelerator.replays()),
            },
            "profile": self.times.profile.as_ref().map(|profile| serde_json::json!({
                "phases_s": profile.phases.iter().cloned().collect::<BTreeMap<_, _>>(),
                "layers_s": profile.layers,
                "step_flops": self.arithmetic.as_ref().map(|a| a.step_flops),
                "core_peak_flops": self.arithmetic.as_ref().map(|a| a.peak_flops),
            })),
        })
    }

    /// The parts of a step as a table.
    fn profile(&self) -> Option<String> {
        let profile = self.times.profile.as_ref()?;
        let mut text = format!("\n{}", profile_table(&profile.phases, &profile.layers));
        if let Some(Arithmetic { step_flops, peak_flops }) = self.arithmetic {
            let reached = step_flops / self.times.median_s();
            let _ = writeln!(
                text,
                "\narithmetic  {:.1} GFLOP/s by the layers' definitions, {:.2} times what one core \
                 does in a large matrix product ({:.1})",
                reached / 1e9,
                reached / peak_flops,
                peak_flops / 1e9,
            );
        }
        Some(text)
    }

    fn text(&self) -> String {
        let memory = peak_memory_bytes().map_or("unknown".to_owned(), show_bytes);
        format!(
            "step      {:.3} ms (median of {}), {:.3} ms (least)\n\
             images/s  {:.0} (batches of {})\n\
             device    {}, {}\n\
             memory    {memory} at the peak of the process\n\
             network   {} parameters\n",
            self.times.median_s() * 1e3,
            self.times.seconds.len(),
            self.times.least_s() * 1e3,
            self.images_per_s(),
            self.config.batch_size,
            self.device,
            counted(self.threads, "thread"),
            show_count(self.times.parameters.into()),
        ) + &self.profile().unwrap_or_default()
    }
}
