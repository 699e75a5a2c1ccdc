//! The control groups of a process that serves many: none of those that serve one.

use crate::file;
use crate::host::{self, OF_THIS_PROCESS};

/// Leaves the control groups of who made this process, where this host lets us: by them its maker is limited, stood still
/// and killed (a unit of systemd with all that it has started), and others depend on this process.
pub fn leave() {
    let own = file::read(OF_THIS_PROCESS).unwrap_or_default();
    for mount in own.lines().filter_map(controllers_below_root).filter_map(host::mount_named) {
        // One at a time is moved there, and 0 is who writes. [cgroups(7)]
        let _ = file::write(&format!("{mount}/cgroup.procs"), "0");
    }
}

/// The controllers of the hierarchy that a line of /proc/self/cgroup tells of, if this process is not at its root.
fn controllers_below_root(line: &str) -> Option<&str> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    (path != "/" && !controllers.contains('/')).then_some(controllers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_has_a_group() {
        for (line, expected) in [
            ("9:name=systemd:/system.slice/a.service", Some("name=systemd")),
            ("4:cpu,cpuacct:/a:b", Some("cpu,cpuacct")),
            ("0::/a", Some("")),
            ("3:pids:/", None),
            ("0::/", None),
            ("5:../../tmp:/a", None),
            ("", None),
            ("7", None),
        ] {
            assert_eq!(controllers_below_root(line), expected, "{line}");
        }
    }
}
