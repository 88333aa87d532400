//! What is timed: one configuration, on one device, with so many threads.

use crate::cli::error::CliError;
use crate::spec::device::{Device, DeviceId};
use crate::spec::validate::misfits;
use crate::spec::{RunConfig, SweepSpec};

/// The sweep file that the settings are laid over.
const EMPTY: &[u8] = b"schema = 1\nname = \"bench\"\n";

/// What is timed.
#[derive(Debug, PartialEq)]
pub(super) struct Subject {
    /// The one configuration that the settings describe.
    pub config: RunConfig,
    /// `run.threads`, where it is not what holds without a word.
    pub threads: Option<u32>,
}

impl Subject {
    /// Reads the settings.
    ///
    /// # Errors
    /// Settings that are none, several configurations, one that cannot be trained or is not of one device.
    pub fn of(settings: &[String]) -> Result<Self, CliError> {
        let (spec, _) = SweepSpec::parse_bytes("the command line", EMPTY, settings)?;
        if let Some(axis) = spec.grid.first() {
            return Err(refused(
                format!("`bench` times one configuration, found several values of `{}`", axis.key),
                "give every key one value, and call it once for each",
            ));
        }
        if let Some(misfit) = misfits(&spec.base).into_iter().next() {
            let help = misfit.help.unwrap_or_default();
            return Err(CliError::Bench { message: misfit.message, help });
        }
        if spec.base.devices > 1 {
            return Err(refused(
                format!("`bench` times one device, found devices = {}", spec.base.devices),
                "leave `devices` out; a sweep with mode = \"throughput\" times runs on several",
            ));
        }
        let threads = spec.run.threads;
        let by_itself = crate::spec::run_policy::RunPolicy::default().threads;
        Ok(Self { config: spec.base, threads: (threads != by_itself).then_some(threads) })
    }

    /// Where it computes. The configuration's word holds where the option says nothing; both are to say the same.
    ///
    /// # Errors
    /// Where they do not.
    pub fn device(&self, said: Option<DeviceId>) -> Result<DeviceId, CliError> {
        match (&self.config.device, said) {
            (Device::Cpu, Some(DeviceId::Cuda(_))) | (Device::Cuda, Some(DeviceId::Cpu)) => {
                let said = said.map(|device| device.to_string()).unwrap_or_default();
                let other = self.config.device.kind();
                Err(refused(
                    format!(
                        "--device {said} and device = \"{other}\" are two devices, and `bench` times one"
                    ),
                    "leave one of them out",
                ))
            }
            (_, Some(said)) => Ok(said),
            (Device::Cuda, None) => Ok(DeviceId::Cuda(0)),
            (Device::Cpu | Device::Auto, None) => Ok(DeviceId::Cpu),
        }
    }

    /// With how many threads it computes, likewise.
    ///
    /// # Errors
    /// Where `--threads` says another number than `run.threads`.
    pub fn threads(&self, said: Option<u32>) -> Result<u32, CliError> {
        match (self.threads, said) {
            (Some(threads), Some(said)) if threads != said => Err(refused(
                format!("--threads {said} and run.threads = {threads} are two numbers of threads"),
                "leave one of them out",
            )),
            (threads, said) => Ok(said.or(threads).unwrap_or(1)),
        }
    }
}

/// A refusal with advice.
pub(super) fn refused(message: String, help: &str) -> CliError {
    CliError::Bench { message, help: help.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(settings: &[&str]) -> Result<Subject, CliError> {
        let settings: Vec<String> = settings.iter().map(|&text| text.to_owned()).collect();
        Subject::of(&settings)
    }

    #[test]
    fn only_one_configuration_that_fits_is_timed() {
        let refused = |settings: &[&str]| subject(settings).unwrap_err().to_string();
        assert_eq!(
            refused(&["lr=0.1,0.2"]),
            "`bench` times one configuration, found several values of `lr`"
        );
        let small = "dataset={kind=synthetic,shape=[1,4,4]}";
        assert!(refused(&["model=alexnet32", small]).contains("needs at least 2 x 2 pixels"));
        assert_eq!(refused(&["devices=2"]), "`bench` times one device, found devices = 2");
        let config = RunConfig { lr: 0.5, ..RunConfig::default() };
        assert_eq!(subject(&["lr=0.5"]).unwrap(), Subject { config, threads: None });
    }

    #[test]
    fn the_configuration_says_where_and_with_how_many_threads_unless_the_options_do() {
        let gpu = |number| Some(DeviceId::Cuda(number));
        let device = |settings: &[&str], said| {
            let device = subject(settings).unwrap().device(said);
            device.map(|device| device.to_string()).unwrap_or_else(|error| error.to_string())
        };
        assert_eq!(device(&[], None), "cpu");
        assert_eq!(device(&[], gpu(1)), "cuda:1");
        assert_eq!(device(&["device=cuda"], None), "cuda:0");
        assert_eq!(device(&["device=cuda"], gpu(1)), "cuda:1");
        assert_eq!(
            device(&["device=cuda"], Some(DeviceId::Cpu)),
            "--device cpu and device = \"cuda\" are two devices, and `bench` times one"
        );
        assert_eq!(
            device(&["device=cpu"], gpu(0)),
            "--device cuda:0 and device = \"cpu\" are two devices, and `bench` times one"
        );
        let threads = |settings: &[&str], said| {
            subject(settings).unwrap().threads(said).map_err(|error| error.to_string())
        };
        assert_eq!(threads(&[], None), Ok(1));
        assert_eq!(threads(&["run.threads=2"], None), Ok(2));
        assert_eq!(threads(&["run.threads=2"], Some(2)), Ok(2));
        assert_eq!(threads(&[], Some(3)), Ok(3));
        let two = "--threads 3 and run.threads = 2 are two numbers of threads";
        assert_eq!(threads(&["run.threads=2"], Some(3)), Err(two.to_owned()));
    }
}
