//! The control groups of a process that serves many: none of those that serve one.

use rustix::fs::{CWD, Mode, OFlags, openat};
use std::path::PathBuf;

/// Leaves the control groups of who made this process, where this host lets us: by them its maker is limited, stood still
/// and killed (a unit of systemd with all that it has started), and others depend on this process.
pub(crate) fn leave() {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for root in own.lines().filter_map(root_of) {
        let procs = root.join("cgroup.procs");
        // One at a time is moved there, and 0 is who writes. [cgroups(7)]
        if let Ok(file) = openat(CWD, &procs, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
            let _ = rustix::io::write(&file, b"0");
        }
    }
}

/// Where the hierarchy is mounted that a line of /proc/self/cgroup tells of, if this process is not at its root.
fn root_of(line: &str) -> Option<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    if path == "/" {
        return None;
    }
    const MOUNTS: &str = "/sys/fs/cgroup";
    let name = controllers.strip_prefix("name=").unwrap_or(controllers);
    let unified = PathBuf::from(MOUNTS).join("unified");
    Some(match name {
        "" if unified.is_dir() => unified,
        name => PathBuf::from(MOUNTS).join(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hierarchy_has_its_place() {
        for (line, expected) in [
            ("9:name=systemd:/system.slice/a.service", Some("/sys/fs/cgroup/systemd")),
            ("4:cpu,cpuacct:/a:b", Some("/sys/fs/cgroup/cpu,cpuacct")),
            ("3:pids:/", None),
            ("0::/", None),
            ("", None),
            ("7", None),
        ] {
            assert_eq!(root_of(line), expected.map(PathBuf::from), "{line}");
        }
        assert!(root_of("0::/a").is_some_and(|path| path.starts_with("/sys/fs/cgroup")));
    }
}
