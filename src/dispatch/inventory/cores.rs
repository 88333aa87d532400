//! Cores: those that this process may run on, and how many of them it may keep busy.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity};

use super::control_groups::{self, Version};

/// The numbers of the cores that this process may keep busy. With a quota the first ones stand for as
/// many: every process of the container counts them alike.
pub(super) fn usable() -> Vec<u32> {
    let mut cores = by_affinity();
    cores.truncate(limit(cores.len()));
    cores
}

/// The numbers of the cores that this process may run on.
fn by_affinity() -> Vec<u32> {
    let set = sched_getaffinity(None);
    let numbers = |set: CpuSet| {
        let numbers = (0..CpuSet::MAX_CPU).filter(|number| set.is_set(*number));
        numbers.filter_map(|number| u32::try_from(number).ok()).collect::<Vec<u32>>()
    };
    let found = set.map(numbers).unwrap_or_default();
    if found.is_empty() { vec![0] } else { found }
}

/// How many cores this process may keep busy: a container's quota can be less than its cores.
fn limit(cores: usize) -> usize {
    let read = |path: String| fs::read_to_string(path).ok();
    quota(&control_groups::own(), &read).map_or(cores, |quota| (quota as usize).clamp(1, cores))
}

/// The smallest quota of this process's control groups and of those above them, in cores.
fn quota(groups: &str, read: &dyn Fn(String) -> Option<String>) -> Option<f64> {
    let of_group = |(version, folder): (Version, String)| match version {
        Version::Two => of_version_2(&read(format!("{folder}/cpu.max"))?),
        Version::One => {
            let number = |name: &str| {
                let text = read(format!("{folder}/{name}"))?;
                text.trim().parse::<f64>().ok().filter(|number| *number > 0.0)
            };
            Some(number("cpu.cfs_quota_us")? / number("cpu.cfs_period_us")?)
        }
    };
    control_groups::folders(groups, "cpu").into_iter().filter_map(of_group).reduce(f64::min)
}

/// `200000 100000` is two cores, `max 100000` no limit.
fn of_version_2(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_are_read_and_the_smallest_quota_counts() {
        let version_2 = |path: String| match path.as_str() {
            "/sys/fs/cgroup/a/cpu.max" => Some("150000 100000\n".to_owned()),
            "/sys/fs/cgroup/a/b/cpu.max" => Some("max 100000\n".to_owned()),
            _ => None,
        };
        assert_eq!(quota("0::/a/b\n", &version_2), Some(1.5));
        let version_1 = |path: String| match path.as_str() {
            "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us" => Some("400000\n".to_owned()),
            "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us" => Some("100000\n".to_owned()),
            "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us" => Some("-1\n".to_owned()),
            _ => None,
        };
        assert_eq!(quota("4:memory:/x\n2:cpu,cpuacct:/a\n0::/\n", &version_1), Some(4.0));
        assert_eq!(quota("", &version_1), None);
    }
}
