//! How a container was asked to run, beside what its image's configuration says: kept in its record for `ps` and
//! `inspect`. What was not asked for is not written.

use crate::options::{NetworkMode, RunOptions};
use serde::{Deserialize, Serialize};

/// The wishes of the person who runs it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Given {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) hostname: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) tty: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) interactive: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) init: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) read_only: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) privileged: bool,
    /// `bridge`, `none` or `host`.
    pub(crate) network: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) mounts: Vec<GivenMount>,
    /// Where volumes without a name are, beside those that the image wants.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) anonymous: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) memory: Option<u64>,
    /// -1 is no limit, here and below.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) memory_swap: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) nano_cpus: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) cpu_shares: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) cpuset_cpus: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) pids_limit: Option<i64>,
}

/// A path of the host, a named volume, or a file system in memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct GivenMount {
    /// The path on the host; none of the other two.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) source: Option<String>,
    /// The volume's name.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) volume: Option<String>,
    pub(crate) target: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) read_only: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) propagation: String,
}

impl GivenMount {
    pub(crate) fn is_in_memory(&self) -> bool {
        self.source.is_none() && self.volume.is_none()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Given {
    pub(crate) fn of(options: &RunOptions) -> Given {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let limit = |limit: Option<Option<u64>>| limit.map(|limit| limit.map_or(-1, signed));
        let volumes = options.volumes.iter().map(|volume| GivenMount {
            source: volume.name.is_none().then(|| volume.source.to_string_lossy().into_owned()),
            volume: volume.name.clone(),
            target: volume.target.to_string_lossy().into_owned(),
            read_only: volume.read_only,
            propagation: volume.propagation.clone().unwrap_or_default(),
        });
        let tmpfs = options.tmpfs.iter().map(|tmpfs| GivenMount {
            target: tmpfs.target.to_string_lossy().into_owned(),
            read_only: tmpfs.options.iter().any(|option| option == "ro"),
            ..GivenMount::default()
        });
        Given {
            hostname: options.hostname.clone(),
            tty: options.tty,
            interactive: options.interactive,
            init: options.init,
            read_only: options.read_only,
            privileged: options.privileged,
            network: match options.network {
                NetworkMode::Bridge => "bridge",
                NetworkMode::None => "none",
                NetworkMode::Host => "host",
            }
            .to_owned(),
            mounts: volumes.chain(tmpfs).collect(),
            anonymous: options.anonymous_volumes.iter().map(|dir| dir.to_string_lossy().into_owned()).collect(),
            memory: options.limits.memory,
            memory_swap: limit(options.limits.memory_swap),
            nano_cpus: options.limits.nano_cpus,
            cpu_shares: options.limits.cpu_shares,
            cpuset_cpus: options.limits.cpuset_cpus.clone(),
            pids_limit: limit(options.limits.pids),
        }
    }
}
