//! How a container was asked to run, beside what its image's configuration says, in the terms of `ps` and `inspect`.

use crate::more_limits::MoreLimits;
use crate::namespaces::NamespaceMode;
use crate::options::RunOptions;
use crate::parse::publish::Publish;
use crate::restart::RestartPolicy;
use crate::userns;

/// The wishes of the person who runs it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Given {
    pub(crate) hostname: Option<String>,
    pub(crate) tty: bool,
    pub(crate) interactive: bool,
    pub(crate) init: bool,
    pub(crate) auto_remove: bool,
    pub(crate) restart: RestartPolicy,
    pub(crate) read_only: bool,
    pub(crate) privileged: bool,
    /// `bridge`, `none`, `host`, the first network's name, `container:ID` or `ns:PATH`.
    pub(crate) network: String,
    /// All of their names.
    pub(crate) networks: Vec<String>,
    /// `private`, `host`, `container:ID` and so on; of the next two nothing in place of the first, as Docker has it.
    pub(crate) ipc: String,
    pub(crate) pid: String,
    pub(crate) uts: String,
    pub(crate) cgroupns: String,
    pub(crate) userns: String,
    pub(crate) publish: Vec<Publish>,
    pub(crate) publish_all: bool,
    pub(crate) mounts: Vec<GivenMount>,
    /// The containers whose volumes it has, too.
    pub(crate) volumes_from: Vec<String>,
    /// Where volumes without a name are, beside those that the image wants.
    pub(crate) anonymous: Vec<String>,
    pub(crate) memory: Option<u64>,
    /// -1 is no limit, here and below.
    pub(crate) memory_swap: Option<i64>,
    pub(crate) nano_cpus: Option<u64>,
    pub(crate) cpu_shares: Option<u64>,
    pub(crate) cpuset_cpus: Option<String>,
    pub(crate) pids_limit: Option<i64>,
    pub(crate) more: MoreLimits,
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) domainname: Option<String>,
    pub(crate) cgroup_parent: Option<String>,
}

/// A path of the host, a named volume, or a file system in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GivenMount {
    /// The path on the host; none of the other two.
    pub(crate) source: Option<String>,
    /// The volume's name.
    pub(crate) volume: Option<String>,
    pub(crate) target: String,
    pub(crate) read_only: bool,
    pub(crate) propagation: String,
}

impl GivenMount {
    pub(crate) fn is_in_memory(&self) -> bool {
        self.source.is_none() && self.volume.is_none()
    }
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
            auto_remove: options.auto_remove,
            restart: options.restart,
            read_only: options.read_only,
            privileged: options.privileged,
            network: options.network.to_string(),
            networks: options.network.names(),
            ipc: options.ipc.to_string(),
            pid: shown(&options.pid),
            uts: shown(&options.uts),
            cgroupns: options.cgroupns.to_string(),
            userns: userns::shown(options),
            publish: options.publish.clone(),
            publish_all: options.publish_all,
            mounts: volumes.chain(tmpfs).collect(),
            volumes_from: options.volumes_from.clone(),
            anonymous: options.anonymous_volumes.iter().map(|dir| dir.to_string_lossy().into_owned()).collect(),
            memory: options.limits.memory,
            memory_swap: limit(options.limits.memory_swap),
            nano_cpus: options.limits.nano_cpus,
            cpu_shares: options.limits.cpu_shares,
            cpuset_cpus: options.limits.cpuset_cpus.clone(),
            pids_limit: limit(options.limits.pids),
            more: options.more_limits.clone(),
            annotations: options.annotations.clone(),
            domainname: options.domainname.clone(),
            cgroup_parent: options.cgroup_parent.clone(),
        }
    }
}

fn shown(mode: &NamespaceMode) -> String {
    if *mode == NamespaceMode::Private { String::new() } else { mode.to_string() }
}
