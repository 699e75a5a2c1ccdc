//! `spec`: a configuration to begin with.

use super::global::Global;
use super::words::{Flag, Words, switch, value};
use super::{Failure, usage};
use serde_json::{Value, json};
use std::io::Write;

pub(crate) const FLAGS: &[Flag] = &[
    value("bundle", Some('b'), "DIR", "Write it there (default: the current directory)"),
    switch("rootless", None, "For a user that is not root"),
];

/// `spec`
pub(crate) fn spec(_: &Global, words: &Words) -> Result<i32, Failure> {
    let dir = words.path("bundle").unwrap_or_else(|| ".".into());
    let path = dir.join("config.json");
    let text = format!("{:#}\n", config(words.has("rootless")));
    let write = || std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?.write_all(text.as_bytes());
    write().map_err(|e| usage(format!("cannot write {}: {e}", path.display())))?;
    Ok(0)
}

/// As runc's, from whom everybody has copied: few capabilities, a shell on a terminal, a read-only root.
fn config(rootless: bool) -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mount = |destination: &str, kind: &str, source: &str, options: &str| {
        let options: Vec<&str> = options.split(',').collect();
        json!({ "destination": destination, "type": kind, "source": source, "options": options })
    };
    let sys = if rootless {
        // A new sysfs takes a network namespace of one's own.
        mount("/sys", "none", "/sys", "rbind,nosuid,noexec,nodev,ro")
    } else {
        mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro")
    };
    // Without root a terminal's group cannot be set.
    let pts = if rootless { "" } else { ",gid=5" };
    let pts = format!("nosuid,noexec,newinstance,ptmxmode=0666,mode=0620{pts}");
    let mut kinds = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    kinds.insert(if rootless { 0 } else { 1 }, if rootless { "user" } else { "network" });
    let namespaces: Vec<Value> = kinds.iter().map(|kind| json!({ "type": kind })).collect();
    let mut linux = json!({
        "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
        "namespaces": namespaces,
        "maskedPaths": [
            "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
            "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if rootless {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        linux["uidMappings"] = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
        linux["gidMappings"] = json!([{ "containerID": 0, "hostID": gid, "size": 1 }]);
        linux.as_object_mut().map(|linux| linux.remove("resources"));
    }
    json!({
        "ociVersion": runtime::SPEC_VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "mycontainer",
        "mounts": [
            mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
            mount("/dev/pts", "devpts", "devpts", &pts),
            mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
            mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
            sys,
            mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
        ],
        "linux": linux,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_configurations() {
        for rootless in [false, true] {
            let spec: oci_spec::runtime::Spec = serde_json::from_value(config(rootless)).unwrap();
            assert_eq!(spec.mounts().as_ref().unwrap().len(), 7);
        }
    }
}
