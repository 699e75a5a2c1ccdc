//! The machine the figures were taken on, in the words of its kernel; without its name.

use rustix::system::uname;
use std::fs;
use std::path::Path;

/// What a reader must know to compare figures.
#[derive(Debug)]
pub(crate) struct Machine {
    cpu: String,
    cpus: usize,
    is_virtual: bool,
    memory_gib: u64,
    kernel: String,
    cgroups: &'static str,
    /// How many processes wanted a CPU in the last minute, before the bench began.
    load: f64,
}

impl Machine {
    /// Looks at this machine.
    pub(crate) fn here() -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory_kib: u64 =
            field(&meminfo, "MemTotal").and_then(|size| size.split(' ').next()?.parse().ok()).unwrap_or(0);
        Machine {
            cpu: field(&cpuinfo, "model name").unwrap_or("unknown CPU").to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            is_virtual: field(&cpuinfo, "flags").is_some_and(|flags| flags.split(' ').any(|f| f == "hypervisor")),
            memory_gib: memory_kib.div_ceil(1 << 20),
            kernel: version(&uname().release().to_string_lossy()).to_owned(),
            cgroups: cgroups(Path::new("/sys/fs/cgroup")),
            load: fs::read_to_string("/proc/loadavg").map_or(0.0, |text| load(&text)),
        }
    }

    /// Whether something else keeps this machine so busy that figures taken now mean little.
    pub(crate) fn is_busy(&self) -> bool {
        self.load > 0.25 * self.cpus as f64
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Machine { cpu, cpus, is_virtual, memory_gib, kernel, cgroups, load } = self;
        let kind = if *is_virtual { "a virtual machine" } else { "a machine" };
        write!(f, "{kind} with {cpus} CPUs ({cpu}), {memory_gib} GiB, Linux {kernel}, cgroup {cgroups}")?;
        write!(f, "; its load was {load:.1} before")
    }
}

/// The value of `name` in a file of `name : value` lines.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The first figure of /proc/loadavg.
fn load(text: &str) -> f64 {
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// The numbers of a kernel release, without the builder's suffix.
fn version(release: &str) -> &str {
    release.split('-').next().unwrap_or(release)
}

fn cgroups(mount: &Path) -> &'static str {
    if mount.join("cgroup.controllers").exists() {
        "v2"
    } else if mount.join("unified/cgroup.controllers").exists() {
        "v1 with v2 beside it (hybrid)"
    } else {
        "v1"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_their_padding() {
        let text = "processor\t: 0\nmodel name\t: A CPU @ 3 GHz\nMemTotal:       24676748 kB\n";
        for (name, value) in [("model name", Some("A CPU @ 3 GHz")), ("MemTotal", Some("24676748 kB")), ("model", None)]
        {
            assert_eq!(field(text, name), value, "{name}");
        }
    }

    #[test]
    fn the_load_is_that_of_the_last_minute() {
        assert_eq!(load("2.55 2.33 1.34 3/128 4783\n"), 2.55);
        assert_eq!(load(""), 0.0);
    }

    #[test]
    fn a_release_loses_its_builders_name() {
        for (release, expected) in [("6.1.0-13-amd64", "6.1.0"), ("6.18.4", "6.18.4")] {
            assert_eq!(version(release), expected);
        }
    }
}
