//! Which runs go where: the machine, and what each run asks of it.

use super::args::FileArgs;
use super::error::CliError;
use crate::dispatch::DispatchError;
use crate::dispatch::inventory::{HAS_GPU_KERNELS, Inventory};
use crate::dispatch::occupancy::{Host, Kind};
use crate::plan::lanes::Hardware;
use crate::plan::{Plan, Requirement, Requirements};
use crate::spec::device::Device;
use crate::spec::{Key, SweepSpec};
use crate::units::show_bytes;

/// The machine, and what of it each run takes.
pub struct Placing {
    /// What there is.
    pub inventory: Inventory,
    /// The same as placement sees it.
    pub host: Host,
    /// What each configuration takes.
    pub requirements: Requirements,
    skips: Skips,
    threads: u32,
}

impl Placing {
    /// Looks at the machine, or at its description, and whether every run of the plan can train on it.
    ///
    /// # Errors
    /// A device that is asked for and not there, with the configuration that asks. Where the sweep
    /// varies the device and others are there, such runs are left out of the plan instead.
    pub fn new(args: &FileArgs, spec: &SweepSpec, plan: &mut Plan) -> Result<Self, CliError> {
        let inventory = match &args.inventory {
            Some(file) => Inventory::from_file(file).map_err(DispatchError::from)?,
            None => Inventory::of_this_machine(),
        };
        Self::on(inventory, args, spec, plan)
    }

    /// The same on a machine that is known.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn on(
        mut inventory: Inventory,
        args: &FileArgs,
        spec: &SweepSpec,
        plan: &mut Plan,
    ) -> Result<Self, CliError> {
        if let Some(choice) = &args.devices {
            inventory.restrict(choice)?;
        }
        let host = inventory.host(args.jobs, spec.run.threads);
        let requirements = Requirements::of(&plan.points)?;
        let skips = Skips::of(&inventory, &requirements, plan);
        plan.skip(&|configuration, _| skips.reason(requirements.get(configuration)));
        let executed = requirements.distinct().filter(|(_, r)| skips.reason(r).is_none());
        for (configuration, requirement) in executed {
            check(&inventory, requirement, &|| plan.points.name(configuration))?;
        }
        Ok(Self { inventory, host, requirements, skips, threads: spec.run.threads })
    }

    /// On what a run trains.
    pub fn kind(&self, requirement: &Requirement) -> Kind {
        match requirement.device {
            Device::Cpu => Kind::Core,
            Device::Cuda => Kind::Gpu,
            Device::Auto if self.inventory.has_gpus() => Kind::Gpu,
            Device::Auto => Kind::Core,
        }
    }

    /// What groups of lanes find on devices of a kind.
    pub fn hardware(&self, kind: Kind) -> Hardware {
        let slots = || self.host.slots.iter().filter(|slot| slot.kind == kind);
        let gpu_memory = match kind {
            Kind::Gpu => slots().map(|slot| slot.memory).min(),
            Kind::Core => None,
        };
        Hardware { gpu_memory, slots: slots().count() }
    }

    /// Refuses to execute what can only be planned.
    ///
    /// # Errors
    /// When runs would be sent to GPUs that are not there.
    pub fn refuse_what_cannot_start(&self) -> Result<(), CliError> {
        let gpu = |requirement: &Requirement| {
            self.kind(requirement) == Kind::Gpu && self.skips.reason(requirement).is_none()
        };
        let on_gpu = self.requirements.distinct().any(|(_, requirement)| gpu(requirement));
        if !on_gpu || !self.inventory.is_described || HAS_GPU_KERNELS {
            return Ok(());
        }
        Err(CliError::NoDevice {
            message: "this program has no kernels for the GPUs of the inventory".to_owned(),
            help: "build it with `--features cuda`; `gridlane plan` says how it would go, and `--devices none` \
                   trains on cores"
                .to_owned(),
        })
    }

    /// Runs that can go on at once, each on a device of its own.
    pub fn at_once(&self) -> usize {
        let executed = || self.requirements.distinct().map(|(_, requirement)| requirement);
        let executed = || executed().filter(|requirement| self.skips.reason(requirement).is_none());
        if executed().all(|requirement| requirement.exclusive) {
            return 1;
        }
        let gpu = |requirement: &Requirement| self.kind(requirement) == Kind::Gpu;
        let (kind, each) = match executed().all(gpu) {
            true => (Kind::Gpu, 1),
            false => (Kind::Core, self.threads as usize),
        };
        let of_kind = self.host.slots.iter().filter(|slot| slot.kind == kind);
        let seats: usize = of_kind.map(|slot| slot.seats as usize).sum();
        (seats / each.max(1)).clamp(1, self.host.jobs.max(1))
    }

    /// What a person should know before anything starts.
    pub fn notices(&self, plan: &Plan) -> Vec<String> {
        let mut notices = self.inventory.notices.clone();
        let auto = |(_, requirement): (usize, &Requirement)| requirement.device == Device::Auto;
        if !self.inventory.gpus.is_empty()
            && !self.inventory.has_gpus()
            && self.requirements.distinct().any(auto)
        {
            notices.push(format!(
                "{}: not used, this program has no kernels for GPUs (build it with --features cuda)",
                self.inventory.slots_in_words(Kind::Gpu)
            ));
        }
        let on_gpu = |(_, requirement): (usize, &Requirement)| self.kind(requirement) == Kind::Gpu;
        if self.requirements.distinct().any(on_gpu) {
            notices.extend(self.inventory.company_in_words());
        }
        let there = self.host.memory;
        let too_large = self
            .requirements
            .distinct()
            .filter(|(_, requirement)| self.kind(requirement) == Kind::Core)
            .map(|(configuration, requirement)| (requirement.memory, configuration))
            .filter(|(memory, _)| *memory > there)
            .max_by_key(|(memory, configuration)| (*memory, std::cmp::Reverse(*configuration)));
        if let Some((memory, configuration)) = too_large {
            notices.push(format!(
                "{} is expected to need {}, and {} of memory are free: it may fail, or make the machine \
                 swap",
                plan.points.name(configuration),
                show_bytes(memory),
                show_bytes(there)
            ));
        }
        let cores = self.inventory.cores.len();
        let shares = |(_, requirement): &(usize, &Requirement)| {
            let needed = u64::from(requirement.devices) * u64::from(self.threads);
            self.kind(requirement) == Kind::Core && requirement.devices > 1 && needed > cores as u64
        };
        if let Some((configuration, requirement)) = self.requirements.distinct().find(shares) {
            notices.push(format!(
                "{}: devices = {} on {cores} cores: the ranks share all of them, which shows that it \
                 works but not how it scales",
                plan.points.name(configuration),
                requirement.devices
            ));
        }
        notices
    }
}

/// Which runs this machine cannot execute though others of the sweep it can: those that ask for a GPU
/// where the sweep varies the device.
struct Skips {
    why: Option<&'static str>,
}

impl Skips {
    fn of(inventory: &Inventory, requirements: &Requirements, plan: &Plan) -> Self {
        let varies = plan.axes.iter().any(|axis| axis.key == Key::Device);
        let other = |(_, requirement): (usize, &Requirement)| requirement.device != Device::Cuda;
        let why = match (inventory.gpus.is_empty(), inventory.has_gpus()) {
            (true, _) => Some("no CUDA device"),
            (false, false) => Some("built without CUDA"),
            (false, true) => None,
        };
        Self { why: why.filter(|_| varies && requirements.distinct().any(other)) }
    }

    /// Why runs that take this are left out, if they are.
    fn reason(&self, requirement: &Requirement) -> Option<String> {
        self.why.filter(|_| requirement.device == Device::Cuda).map(str::to_owned)
    }
}

/// Can the machine train it?
fn check(
    inventory: &Inventory,
    requirement: &Requirement,
    name: &dyn Fn() -> String,
) -> Result<(), CliError> {
    let gpus = inventory.gpus.len();
    let needed = requirement.devices;
    let refused = |message: String, help: String| Err(CliError::NoDevice { message, help });
    if requirement.precision.needs_gpu()
        && requirement.device == Device::Auto
        && !inventory.has_gpus()
    {
        let precision = requirement.precision.kind();
        let (lack, advice) = match gpus {
            0 => (format!("a GPU, and {}", inventory.lack), "take precision = \"f32\" here"),
            _ => (
                "a program with kernels for GPUs".to_owned(),
                "build it with `cargo build --release --features cuda`, or take precision = \"f32\"",
            ),
        };
        let message = format!("{}: precision = \"{precision}\" needs {lack}", name());
        return refused(message, format!("{advice}; cores compute in f32"));
    }
    match requirement.device {
        Device::Cpu => Ok(()),
        Device::Cuda if gpus == 0 => refused(
            format!("{}: device = \"cuda\" needs a GPU, and {}", name(), inventory.lack),
            format!("{}; without a GPU take device = \"cpu\" or \"auto\"", inventory.lack.advice()),
        ),
        Device::Cuda if !inventory.has_gpus() => refused(
            format!("{}: device = \"cuda\" needs a program with kernels for GPUs", name()),
            "build it with `cargo build --release --features cuda`".to_owned(),
        ),
        Device::Cuda | Device::Auto if inventory.has_gpus() && needed as usize > gpus => refused(
            format!("{}: devices = {needed} needs {needed} GPUs, found {gpus}", name()),
            format!("take devices = {gpus} at most, or device = \"cpu\""),
        ),
        Device::Cuda | Device::Auto => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::inventory::described;
    use crate::spec::precision::Precision;

    fn refusal(machine: &str, device: Device, devices: u32) -> Option<String> {
        refusal_in(machine, (device, devices), Precision::F32)
    }

    fn refusal_in(
        machine: &str,
        (device, devices): (Device, u32),
        precision: Precision,
    ) -> Option<String> {
        let requirement = Requirement {
            device,
            devices,
            precision,
            memory: 0,
            gpu_memory: 0,
            checkpoint: 0,
            multiply_adds: 1.0,
            convolutional: false,
            epochs: 1,
            exclusive: false,
        };
        let error = check(&described(machine), &requirement, &|| "lr=0.1".to_owned()).err()?;
        let CliError::NoDevice { message, help } = error else { panic!("{error}") };
        Some(format!("{message} | {help}"))
    }

    #[test]
    fn devices_that_are_not_there_are_refused_with_the_configuration_that_needs_them() {
        let bare = "cores = 2\nmemory_gib = 8";
        let two = "cores = 2\nmemory_gib = 8\n[[gpu]]\nname = \"X\"\nmemory_gib = 16\ncount = 2";
        for (machine, device, devices) in [
            (bare, Device::Auto, 4),
            (bare, Device::Cpu, 4),
            (two, Device::Cpu, 4),
            (two, Device::Auto, 2),
            (two, Device::Cuda, 1),
        ] {
            assert_eq!(refusal(machine, device.clone(), devices), None, "{device:?} x {devices}");
        }
        let refusals: Vec<String> =
            [(bare, Device::Cuda, 1), (two, Device::Cuda, 3), (two, Device::Auto, 4)]
                .into_iter()
                .map(|(machine, device, devices)| refusal(machine, device, devices).unwrap())
                .collect();
        insta::assert_snapshot!(refusals.join("\n"), @r#"
        lr=0.1: device = "cuda" needs a GPU, and this machine has none | GPUs are found through libnvidia-ml.so.1, which NVIDIA's driver brings; without a GPU take device = "cpu" or "auto"
        lr=0.1: devices = 3 needs 3 GPUs, found 2 | take devices = 2 at most, or device = "cpu"
        lr=0.1: devices = 4 needs 4 GPUs, found 2 | take devices = 2 at most, or device = "cpu"
        "#);
    }

    #[test]
    fn a_precision_of_gpus_is_refused_where_a_run_would_go_to_the_cores() {
        let bare = "cores = 2\nmemory_gib = 8";
        let one = "cores = 2\nmemory_gib = 8\n[[gpu]]\nname = \"X\"\nmemory_gib = 16";
        let auto = || (Device::Auto, 1);
        assert_eq!(refusal_in(one, auto(), Precision::Bf16), None);
        assert_eq!(refusal_in(bare, auto(), Precision::F32), None);
        let refused = refusal_in(bare, auto(), Precision::Bf16).unwrap();
        insta::assert_snapshot!(refused, @r#"lr=0.1: precision = "bf16" needs a GPU, and this machine has none | take precision = "f32" here; cores compute in f32"#);
    }
}
