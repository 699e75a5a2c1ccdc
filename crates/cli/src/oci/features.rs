//! `features` and `--version`: what is implemented, and what this host has of it. [runtime-spec features.md]

use super::global::Global;
use super::words::Words;
use super::{Failure, show, usage};
use serde_json::{Value, json};

/// `features`
pub(crate) fn features(_: &Global, words: &Words) -> Result<i32, Failure> {
    if let Some(word) = words.operands().first() {
        return Err(usage(format!("it takes nothing, and {word:?} is given")));
    }
    show::print(&format!("{:#}\n", value()));
    Ok(0)
}

fn value() -> Value {
    let capabilities: Vec<Value> = runtime::capabilities::ALL.iter().map(|c| json!(c)).collect();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": runtime::SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": runtime::mount_options(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": {
                "v1": true,
                "v2": true,
                "systemd": true,
                "systemdUser": true,
                "rdma": true,
            },
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ",
                    "SCMP_CMP_NE",
                ],
                "archs": runtime::seccomp_architectures(),
                "knownFlags": FILTER_FLAGS,
                "supportedFlags": FILTER_FLAGS,
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "memoryPolicy": {
                "modes": [
                    "MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED",
                    "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE",
                ],
                "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "annotations": {
            "io.mycontainer.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.runc.checkpoint.enabled": "true",
        },
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."],
    })
}

const FILTER_FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// What `--version` prints: callers look for `spec:`, Podman for the features.
pub(crate) fn version() -> String {
    format!(
        "{} version {}\nspec: {}\n+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF +CRIU +IDMAP\n",
        super::NAME,
        env!("CARGO_PKG_VERSION"),
        runtime::SPEC_VERSION
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_specifications_shape() {
        let features: oci_spec::runtime::Features = serde_json::from_value(value()).unwrap();
        assert_eq!(features.oci_version_max(), runtime::SPEC_VERSION);
    }
}
