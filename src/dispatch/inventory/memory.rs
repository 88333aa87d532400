//! Memory of the host that programs can still have.

use std::fs;

use super::control_groups::{self, Version};

/// Bytes that programs can have before the system must swap or kill; as good as no limit where the
/// system does not tell.
pub(super) fn available() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let read = |path: String| fs::read_to_string(path).ok();
    let host = of_meminfo(&meminfo).unwrap_or(u64::MAX);
    host.min(left_in_groups(&control_groups::own(), &read).unwrap_or(u64::MAX))
}

fn of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// What this process's control groups and those above them may still take: the limit of each less
/// what it has, without the pages that only cache files.
fn left_in_groups(groups: &str, read: &dyn Fn(String) -> Option<String>) -> Option<u64> {
    let left = |(version, folder): (Version, String)| {
        let (limit, usage, cache) = match version {
            Version::Two => ("memory.max", "memory.current", "inactive_file "),
            Version::One => {
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
            }
        };
        let number = |name: &str| read(format!("{folder}/{name}"))?.trim().parse::<u64>().ok();
        let (limit, usage) = (number(limit)?, number(usage)?);
        let stat = read(format!("{folder}/memory.stat")).unwrap_or_default();
        let cached = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok());
        Some(limit.saturating_sub(usage.saturating_sub(cached.unwrap_or(0))))
    };
    control_groups::folders(groups, "memory").into_iter().filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_calls_available_counts() {
        let text = "MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:   23000 kB\n";
        assert_eq!(of_meminfo(text), Some(23_000 << 10));
        assert_eq!(of_meminfo("MemTotal: 9 kB"), None);
    }

    #[test]
    fn a_control_group_leaves_its_limit_less_what_is_not_cache() {
        let version_2 = |path: String| match path.as_str() {
            "/sys/fs/cgroup/a/memory.max" => Some("1000\n".to_owned()),
            "/sys/fs/cgroup/a/memory.current" => Some("700\n".to_owned()),
            "/sys/fs/cgroup/a/memory.stat" => Some("anon 1\ninactive_file 200\n".to_owned()),
            _ => None,
        };
        assert_eq!(left_in_groups("0::/a\n", &version_2), Some(500));
        // As a cluster has it: the job is limited, and the task in it is not by itself.
        assert_eq!(left_in_groups("0::/a/task\n", &version_2), Some(500));
        let version_1 = |path: String| match path.as_str() {
            "/sys/fs/cgroup/memory/memory.limit_in_bytes" => Some("900\n".to_owned()),
            "/sys/fs/cgroup/memory/memory.usage_in_bytes" => Some("100\n".to_owned()),
            _ => None,
        };
        assert_eq!(left_in_groups("4:memory:/\n1:cpu:/\n0::/\n", &version_1), Some(800));
        // A container that sees its group as the root, by the path that the host has for it.
        assert_eq!(left_in_groups("4:memory:/docker/1f\n", &version_1), Some(800));
        assert_eq!(left_in_groups("0::/\n", &|_| Some("max\n".to_owned())), None);
    }
}
