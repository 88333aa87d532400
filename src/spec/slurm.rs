//! `[slurm]`: what each job asks a cluster for. None of it is identity.

/// What a sweep file asks a Slurm cluster for; what it does not say is left to the command line and to the
/// cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlurmSection {
    /// `partition`.
    pub partition: Option<String>,
    /// `account`.
    pub account: Option<String>,
    /// `qos`.
    pub qos: Option<String>,
    /// `time`: the time limit of a job, as Slurm writes it.
    pub time: Option<String>,
    /// `gpus` of a job.
    pub gpus: Option<u32>,
    /// `cpus`: cores of a job.
    pub cpus: Option<u32>,
    /// `mem`: memory of a job, as Slurm writes it.
    pub mem: Option<String>,
    /// `pilots`: jobs at a time.
    pub pilots: Option<u32>,
    /// `sbatch`: further options of `sbatch`, word for word.
    pub sbatch: Vec<String>,
}

/// Most jobs at a time: Slurm's own limit on an array, unless a site has another.
pub const MOST_PILOTS: u32 = 1000;
