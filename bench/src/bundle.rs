//! An OCI bundle as Docker would make it for `--network none`, for the runtimes that take bundles.

use crate::profile;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Writes `bundle/config.json` for a program in `root`; without a control group's name for containers that are to have
/// one each.
pub(crate) fn write(bundle: &Path, root: &Path, program: &str, cgroup: Option<&str>) -> Result<()> {
    fs::create_dir(bundle).context("cannot make the bundle")?;
    let mut config = config(root, program)?;
    if let Some(cgroup) = cgroup {
        config["linux"]["cgroupsPath"] = cgroup.into();
    }
    let config = serde_json::to_vec_pretty(&config)?;
    fs::write(bundle.join("config.json"), config).context("cannot write the bundle's config.json")
}

fn config(root: &Path, program: &str) -> Result<Value> {
    let capabilities = profile::CAPABILITIES;
    let namespaces = ["pid", "mount", "uts", "ipc", "network", "cgroup"].map(|kind| json!({ "type": kind }));
    let seccomp = profile::section()?;
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "args": [program],
            "cwd": "/",
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"],
            "user": { "uid": 0, "gid": 0 },
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
        },
        "root": { "path": root },
        "hostname": "bench",
        "mounts": mounts(),
        "linux": {
            "namespaces": namespaces,
            "resources": { "devices": device_rules() },
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                "/sys/devices/virtual/powercap",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": seccomp,
        },
    }))
}

fn mounts() -> Value {
    let mounts = [
        ("/proc", "proc", "proc", "nosuid,noexec,nodev"),
        ("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        ("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
        ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,ro"),
        ("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
        ("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
    ];
    let as_json = |(destination, kind, source, options): (&str, &str, &str, &str)| {
        let options: Vec<&str> = options.split(',').collect();
        json!({ "destination": destination, "type": kind, "source": source, "options": options })
    };
    mounts.into_iter().map(as_json).collect()
}

fn device_rules() -> Value {
    let mut rules = vec![
        json!({ "allow": false, "access": "rwm" }),
        json!({ "allow": true, "type": "c", "access": "m" }),
        json!({ "allow": true, "type": "b", "access": "m" }),
    ];
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)] {
        rules.push(json!({ "allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm" }));
    }
    rules.push(json!({ "allow": true, "type": "c", "major": 136, "access": "rwm" }));
    Value::Array(rules)
}
