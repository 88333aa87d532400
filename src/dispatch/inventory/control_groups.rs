//! Control groups: what a container, a cluster or the system leaves this process of its machine.

use std::fs;

/// What stands for the groups where `/proc/self/cgroup` is missing: a container's own are the roots of
/// what it sees.
const ROOTS: &str = "0::/\n1:cpu:/\n2:memory:/\n";

/// The two ways in which Linux shows groups, with files of other names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// This process's groups, as the system lists them.
pub(super) fn own() -> String {
    fs::read_to_string("/proc/self/cgroup").unwrap_or_else(|_| ROOTS.to_owned())
}

/// The folders with this process's limits of `controller`: of its groups, and of all above them, since
/// each of them limits what it holds as a whole.
pub(super) fn folders(groups: &str, controller: &str) -> Vec<(Version, String)> {
    let mut folders = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (version, mount) = if controllers.is_empty() {
            (Version::Two, "/sys/fs/cgroup".to_owned())
        } else if controllers.split(',').any(|other| other == controller) {
            (Version::One, format!("/sys/fs/cgroup/{controllers}"))
        } else {
            continue;
        };
        let of_group = |path: String| (version, format!("{mount}{path}"));
        folders.extend(and_above(path).into_iter().map(of_group));
    }
    folders
}

/// `/a/b` is the root, `/a` and `/a/b`. A container may see its own group as the root though the path
/// is the host's: what is missing limits nothing.
fn and_above(path: &str) -> Vec<String> {
    let mut folders = vec![String::new()];
    for part in path.split('/').filter(|part| !part.is_empty() && *part != "..") {
        folders.push(format!("{}/{part}", folders[folders.len() - 1]));
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_stand_in_the_groups_of_a_process_and_in_all_above_them() {
        let found = folders("4:memory:/x\n2:cpu,cpuacct:/a/b\n1:name=systemd:/\n0::/c\n", "cpu");
        let [one, two] = [Version::One, Version::Two];
        let expected = [
            (one, "/sys/fs/cgroup/cpu,cpuacct"),
            (one, "/sys/fs/cgroup/cpu,cpuacct/a"),
            (one, "/sys/fs/cgroup/cpu,cpuacct/a/b"),
            (two, "/sys/fs/cgroup"),
            (two, "/sys/fs/cgroup/c"),
        ];
        assert_eq!(found, expected.map(|(version, folder)| (version, folder.to_owned())));
        assert_eq!(folders("", "cpu"), []);
        let roots = folders(ROOTS, "memory");
        let expected = [(two, "/sys/fs/cgroup"), (one, "/sys/fs/cgroup/memory")];
        assert_eq!(roots, expected.map(|(version, folder)| (version, folder.to_owned())));
    }
}
