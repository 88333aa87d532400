//! `gridlane bench augment`: how many images a second one core or a GPU augments.

use std::io::Write;

use super::subject::{Subject, refused};
use crate::cli::args::BenchAugmentArgs;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitCode;
use crate::spec::RunConfig;
use crate::spec::value::Value;
use crate::train::bench::augment::{AugmentTimes, time_augmentation};
use crate::train::device::Device;
use crate::train::error::TrainError;

/// Times the augmentation of a configuration and prints the figures.
///
/// # Errors
/// A bad configuration, or a device that cannot be used.
pub fn augment(args: &BenchAugmentArgs) -> Result<ExitCode, CliError> {
    let subject = Subject::of(&args.settings)?;
    if let Some(threads) = subject.threads {
        return Err(refused(
            format!("`bench augment` times one thread, found run.threads = {threads}"),
            "leave `run.threads` out: every thread augments images of its own",
        ));
    }
    let device = subject.device(args.device)?;
    let config = subject.config;
    let device = Device::open(device).map_err(TrainError::from)?;
    let times = time_augmentation(&config, &device, args.images as usize, args.rounds as usize)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json(&config, &times, &device))?;
    } else {
        write!(out, "{}", text(&config, &times, &device))?;
    }
    Ok(ExitCode::Ok)
}

fn json(config: &RunConfig, times: &AugmentTimes, device: &Device) -> serde_json::Value {
    serde_json::json!({
        "engine": concat!("gridlane ", env!("CARGO_PKG_VERSION")),
        "config": config.canonical(),
        "device": device.to_string(),
        "images": times.images,
        "rounds": times.cpu_s.len(),
        "input_shape": config.dataset.image_shape(),
        "output_shape": times.output,
        "images_per_s": times.images_per_s(),
        "images_per_cpu_s": times.images_per_cpu_s(),
    })
}

fn text(config: &RunConfig, times: &AugmentTimes, device: &Device) -> String {
    let place = match device {
        Device::Cpu => "one thread of the cpu".to_owned(),
        Device::Accelerator(accelerator) => accelerator.name().to_owned(),
    };
    let shape = |[channels, height, width]: [usize; 3]| format!("{channels} x {height} x {width}");
    format!(
        "augmentation  {}\n\
         images        {} to {}\n\
         images/s      {:.0} on {place} (median of {} rounds of {})\n\
         of CPU time   {:.0}\n",
        config.augmentation.label(),
        shape(config.dataset.image_shape()),
        shape(times.output),
        times.images_per_s(),
        times.cpu_s.len(),
        times.images,
        times.images_per_cpu_s(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_say_what_was_timed() {
        let settings = ["dataset=cifar10", "augmentation=[random_crop,horizontal_flip]"];
        let config = Subject::of(&settings.map(str::to_owned)).unwrap().config;
        let times = AugmentTimes {
            images: 1000,
            cpu_s: vec![0.5, 1.0, 1.0],
            wall_s: vec![1.0, 2.0, 4.0],
            output: [3, 32, 32],
        };
        insta::assert_snapshot!(text(&config, &times, &Device::Cpu), @r"
        augmentation  [random_crop,horizontal_flip]
        images        3 x 32 x 32 to 3 x 32 x 32
        images/s      500 on one thread of the cpu (median of 3 rounds of 1000)
        of CPU time   1000
        ");
        let json = json(&config, &times, &Device::Cpu);
        assert_eq!(
            (&json["images_per_s"], &json["images_per_cpu_s"]),
            (&500.0.into(), &1000.0.into())
        );
    }
}
