//! What a person may ask of `run`, parsed but not yet acted on.

use crate::health::HealthFlags;
use crate::log::LogOptions;
use crate::more_limits::MoreLimits;
use crate::namespaces::NamespaceMode;
use crate::networks;
use crate::parse::device_rule::DeviceRule;
use crate::parse::network::Asked;
use crate::parse::publish::Publish;
use crate::parse::{self, ParseError};
use crate::pods::PodPlace;
use crate::restart::RestartPolicy;
use crate::userns::{AskedRange, UserMode};
use oci_spec::runtime::{Capability, LinuxResources, PosixRlimitType};
use registry::Platform;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// Everything that the flags of `run` say. A container that stays has it in its record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunOptions {
    /// ROOT as typed.
    pub root: String,
    /// `--pull`.
    pub pull: PullPolicy,
    /// `--platform`.
    pub platform: Option<Platform>,
    /// COMMAND and its arguments; empty for the root's shell.
    pub command: Vec<String>,
    /// `--name`.
    pub name: Option<String>,
    /// `--hostname`.
    pub hostname: Option<String>,
    /// `-i`: standard input is connected.
    pub interactive: bool,
    /// `-t`: a terminal.
    pub tty: bool,
    /// `--init`.
    pub init: bool,
    /// `--read-only`.
    pub read_only: bool,
    /// `--ephemeral`: a directory root is used copy-on-write.
    pub ephemeral: bool,
    /// `--privileged`.
    pub privileged: bool,
    /// `--entrypoint`; empty for none, also where the image has one.
    pub entrypoint: Option<String>,
    /// `-e`, in order: `NAME=VALUE`.
    pub env: Vec<String>,
    /// The variables that the image sets: any of the person's wins over them.
    pub env_of_image: Vec<String>,
    /// `--unsetenv`: of the image's variables and our own the container gets not these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unset_env: Vec<String>,
    /// `--unsetenv-all`: of these it gets none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unset_env_all: bool,
    /// `--env-file`, in order. A variable of `-e` wins over these, wherever it stands.
    pub env_of_files: Vec<String>,
    /// `-w`.
    pub workdir: Option<PathBuf>,
    /// `-u`.
    pub user: Option<String>,
    /// `--group-add`, as typed.
    pub group_add: Vec<String>,
    /// `-v`, `--mount type=bind` and `type=volume`.
    pub volumes: Vec<Volume>,
    /// `-v DIR`: volumes without a name, which go with the container.
    pub anonymous_volumes: Vec<PathBuf>,
    /// `--volumes-from`, as typed. What they show is among the volumes of a container that was made.
    pub volumes_from: Vec<String>,
    /// `--tmpfs` and `--mount type=tmpfs`.
    pub tmpfs: Vec<Tmpfs>,
    /// `--device`.
    pub devices: Vec<DeviceMap>,
    /// `--cap-add`, in order of appearance; `None` is ALL.
    pub cap_add: Vec<Option<Capability>>,
    /// `--cap-drop`.
    pub cap_drop: Vec<Option<Capability>>,
    /// `--security-opt no-new-privileges`.
    pub no_new_privileges: bool,
    /// `--security-opt seccomp=`.
    pub seccomp: SeccompChoice,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--oom-score-adj`.
    pub oom_score_adj: Option<i32>,
    /// `--sysctl`.
    pub sysctls: Vec<(String, String)>,
    /// `--shm-size` in bytes.
    pub shm_size: Option<u64>,
    /// `--network`.
    pub network: NetworkMode,
    /// `--ipc`.
    pub ipc: NamespaceMode,
    /// `--pid`.
    pub pid: NamespaceMode,
    /// `--uts`.
    pub uts: NamespaceMode,
    /// `--cgroupns`.
    pub cgroupns: NamespaceMode,
    /// `--userns`.
    pub userns: UserMode,
    /// `--uidmap`.
    pub uid_map: Vec<AskedRange>,
    /// `--gidmap`.
    pub gid_map: Vec<AskedRange>,
    /// `--pod`.
    pub pod: Option<PodPlace>,
    /// `--publish`.
    pub publish: Vec<Publish>,
    /// `--publish-all`.
    pub publish_all: bool,
    /// `--expose`, a port each: `80/tcp`.
    pub expose: Vec<String>,
    /// `--add-host NAME:IP`; `None` is `host-gateway`.
    pub add_hosts: Vec<(String, Option<IpAddr>)>,
    /// `--dns`.
    pub dns: Vec<IpAddr>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--dns-option`.
    pub dns_options: Vec<String>,
    /// `--cgroup-parent`: the group that its own is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,
    /// `--domainname`.
    pub domainname: Option<String>,
    /// `--no-hosts`.
    pub no_hosts: bool,
    /// `--annotation`.
    pub annotations: Vec<(String, String)>,
    /// `--umask`.
    pub umask: Option<u32>,
    /// `--timeout`: it is killed when it has run for so many seconds.
    pub timeout: Option<u32>,
    /// `--tz`: a file below the host's /usr/share/zoneinfo, or `local`.
    pub tz: Option<String>,
    /// `--device-cgroup-rule`.
    pub device_rules: Vec<DeviceRule>,
    /// `--label`.
    pub labels: Vec<(String, String)>,
    /// The limits.
    pub limits: Limits,
    /// Those that are seldom asked for.
    pub more_limits: MoreLimits,
    /// `--rm`: the container goes when it ends.
    pub auto_remove: bool,
    /// `--log-driver` and `--log-opt`.
    pub log: LogOptions,
    /// `--restart`.
    pub restart: RestartPolicy,
    /// `--health-*` and `--no-healthcheck`.
    pub health: HealthFlags,
    /// `--stop-signal`, as typed; else the image's, else SIGTERM.
    pub stop_signal: Option<String>,
    /// `--stop-timeout` in seconds; below zero is for ever.
    pub stop_timeout: Option<i64>,
}

/// `--memory` and its kin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// `--memory` in bytes.
    pub memory: Option<u64>,
    /// `--memory-swap` in bytes, memory and swap together; `None` inside is unlimited.
    #[serde(with = "crate::limit", skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<Option<u64>>,
    /// `--cpus` in billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// `--cpu-shares`.
    pub cpu_shares: Option<u64>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: Option<String>,
    /// `--pids-limit`; `None` inside is unlimited.
    #[serde(with = "crate::limit", skip_serializing_if = "Option::is_none")]
    pub pids: Option<Option<u64>>,
}

/// A directory or file of the host shown in the container, or a named volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Path on the host; of a named volume it is found out when the container is made.
    pub source: PathBuf,
    /// The volume's name, if it has one.
    pub name: Option<String>,
    /// The part of the volume that is shown; all of it if there is none.
    pub subpath: Option<PathBuf>,
    /// An empty volume stays empty, whatever the image has in its place.
    pub no_copy: bool,
    /// Path in the container.
    pub target: PathBuf,
    /// Cannot be written through.
    pub read_only: bool,
    /// Propagation such as `rslave`.
    pub propagation: Option<String>,
    /// Without what is mounted below the source.
    pub non_recursive: bool,
    /// Its files become those of the container's user.
    pub chown: bool,
    /// Its files' owners are mapped as those of the container's are.
    pub idmap: bool,
    /// Its files get a label for SELinux.
    pub relabel: Option<Relabel>,
    /// The labels of the volume, if it is made with the container.
    pub labels: Vec<(String, String)>,
    /// Nobody named it: it was made with the container, and `rm --volumes` removes it with that.
    pub is_anonymous: bool,
}

/// Who may use what is labelled for SELinux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relabel {
    /// `z`: every container.
    Shared,
    /// `Z`: this one.
    Private,
}

/// A file system in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Path in the container.
    pub target: PathBuf,
    /// Mount options, beyond Docker's `noexec,nosuid,nodev`.
    pub options: Vec<String>,
}

/// A device of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMap {
    /// Path on the host: a node, or a directory of nodes.
    pub source: PathBuf,
    /// Path in the container.
    pub target: PathBuf,
    /// Of `rwm`.
    pub access: String,
}

/// A resource limit of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Which.
    pub kind: PosixRlimitType,
    /// Soft value; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard value.
    pub hard: u64,
}

/// `--network`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// An address on the default bridge.
    #[default]
    Bridge,
    /// Networks by their names, in order; the default one may be among them. The first one that is not internal is
    /// the way out.
    Named(Vec<Endpoint>),
    /// Only loopback.
    None,
    /// The host's own network.
    Host,
    /// Another container's: by its id, once the container is made.
    Container(String),
    /// A network namespace by its path on the host.
    Namespace(PathBuf),
}

/// A container's place in a network that has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// The network's name.
    pub network: String,
    /// `--ip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// `--ip6`: the address of IPv4 that it belongs to is the container's, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    /// `--mac-address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<[u8; 6]>,
    /// `--network-alias`: names that it has there beside its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

impl Endpoint {
    /// `--ip`.
    pub fn set_address(&mut self, text: &str) -> Result<(), ParseError> {
        self.address = Some(parse::network::ipv4(text)?);
        Ok(())
    }

    /// `--ip6`.
    pub fn set_address6(&mut self, text: &str) -> Result<(), ParseError> {
        let wrong = |_| ParseError::new(text, "it is no address of IPv6");
        self.address6 = Some(text.parse().map_err(wrong)?);
        Ok(())
    }

    /// `--mac-address`.
    pub fn set_mac(&mut self, text: &str) -> Result<(), ParseError> {
        self.mac = Some(parse::network::mac(text)?);
        Ok(())
    }

    /// `--network-alias`.
    pub fn add_alias(&mut self, text: &str) -> Result<(), ParseError> {
        self.aliases.push(parse::network::alias(text)?);
        Ok(())
    }

    /// What others say as well; they win.
    fn take(&mut self, others: &Endpoint) {
        self.address = others.address.or(self.address);
        self.address6 = others.address6.or(self.address6);
        self.mac = others.mac.or(self.mac);
        self.aliases.extend(others.aliases.iter().cloned());
    }

    /// What was chosen in it, as it may have been typed.
    fn chosen(&self) -> String {
        let address = self.address.map(|address| address.to_string());
        let mac = self.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
        let address6 = self.address6.map(|address| address.to_string());
        address.or(address6).or(mac).or(self.aliases.first().cloned()).unwrap_or_default()
    }
}

/// `--pull`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    /// An image that the store has is not asked for.
    #[default]
    Missing,
    /// The registry is asked in any case.
    Always,
    /// No registry is asked.
    Never,
}

impl PullPolicy {
    /// The policy by its name, Docker's or Podman's.
    pub fn from_name(name: &str) -> Result<PullPolicy, ParseError> {
        match name {
            "missing" | "ifnotpresent" | "IfNotPresent" => Ok(PullPolicy::Missing),
            "always" | "newer" | "Always" | "true" => Ok(PullPolicy::Always),
            "never" | "Never" | "false" => Ok(PullPolicy::Never),
            _ => Err(ParseError::new(name, "it is one of missing, always and never")),
        }
    }
}

/// `--security-opt seccomp=`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompChoice {
    /// Docker's profile for the capabilities that the container has.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// A profile in Docker's format.
    File(PathBuf),
}

impl NetworkMode {
    /// The names of the networks.
    pub fn names(&self) -> Vec<String> {
        match self {
            NetworkMode::Bridge => vec![networks::DEFAULT.to_owned()],
            NetworkMode::Named(endpoints) => endpoints.iter().map(|endpoint| endpoint.network.clone()).collect(),
            NetworkMode::None => vec!["none".to_owned()],
            NetworkMode::Host => vec!["host".to_owned()],
            // In the network of others it has no place of its own.
            NetworkMode::Container(_) | NetworkMode::Namespace(_) => Vec::new(),
        }
    }

    /// The other container, if it is one's.
    pub(crate) fn other(&self) -> Option<&str> {
        match self {
            NetworkMode::Container(other) => Some(other),
            _ => None,
        }
    }

    /// One more `--network`. The default one is in the list like any other, if it is named.
    fn add(&mut self, asked: Asked) -> Result<(), String> {
        match (&mut *self, asked) {
            (now, Asked::Alone(mode)) if *now == NetworkMode::Bridge || *now == mode => *now = mode,
            (NetworkMode::Bridge, Asked::In(endpoint)) => *self = NetworkMode::Named(vec![endpoint]),
            (NetworkMode::Named(known), Asked::In(endpoint)) => {
                if known.iter().any(|other| other.network == endpoint.network) {
                    return Err(format!("the network {:?} is named twice", endpoint.network));
                }
                known.push(endpoint);
            }
            (_, Asked::Alone(_)) => return Err("with it there is no other network".to_owned()),
            (now, Asked::In(_)) => return Err(format!("with {now} there is no other network")),
        }
        Ok(())
    }
}

/// As `inspect` and `ps` show it.
impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkMode::Bridge => f.write_str("bridge"),
            NetworkMode::Named(networks) => f.write_str(networks.first().map_or("none", |first| &first.network)),
            NetworkMode::None => f.write_str("none"),
            NetworkMode::Host => f.write_str("host"),
            NetworkMode::Container(other) => write!(f, "container:{other}"),
            NetworkMode::Namespace(path) => write!(f, "ns:{}", path.display()),
        }
    }
}

impl RunOptions {
    /// `-v SOURCE:TARGET[:OPTIONS]`.
    pub fn add_volume(&mut self, text: &str) -> Result<(), ParseError> {
        match parse::volume(text)? {
            parse::Mount::Anonymous(target) => self.anonymous_volumes.push(target),
            parse::Mount::Bind(volume) => self.volumes.push(volume),
            parse::Mount::Tmpfs(tmpfs) => self.tmpfs.push(tmpfs),
        }
        Ok(())
    }

    /// `--mount KEY=VALUE,...`.
    pub fn add_mount(&mut self, text: &str) -> Result<(), ParseError> {
        match parse::mount(text)? {
            parse::Mount::Anonymous(target) => self.anonymous_volumes.push(target),
            parse::Mount::Bind(volume) => self.volumes.push(volume),
            parse::Mount::Tmpfs(tmpfs) => self.tmpfs.push(tmpfs),
        }
        Ok(())
    }

    /// `--volumes-from CONTAINER[:ro|rw]`.
    pub fn add_volumes_from(&mut self, text: &str) -> Result<(), ParseError> {
        parse::volumes_from(text)?;
        self.volumes_from.push(text.to_owned());
        Ok(())
    }

    /// `--tmpfs TARGET[:OPTIONS]`.
    pub fn add_tmpfs(&mut self, text: &str) -> Result<(), ParseError> {
        self.tmpfs.push(parse::tmpfs(text)?);
        Ok(())
    }

    /// `-e NAME=VALUE`, or `-e NAME` for the tool's own value, if it has one.
    pub fn add_env(&mut self, text: &str) -> Result<(), ParseError> {
        self.env.extend(parse::env(text)?);
        Ok(())
    }

    /// `--unsetenv NAME`.
    pub fn add_unset_env(&mut self, text: &str) -> Result<(), ParseError> {
        if text.is_empty() || text.contains(['=', '\0']) {
            return Err(ParseError::new(text, "write the name of a variable"));
        }
        self.unset_env.push(text.to_owned());
        Ok(())
    }

    /// Whether the container gets a variable that nobody asked for by `-e`: one of an image, or one of ours.
    pub(crate) fn keeps_env(&self, variable: &str) -> bool {
        let name = variable.split('=').next().unwrap_or_default();
        !self.unset_env_all && !self.unset_env.iter().any(|unset| unset == name)
    }

    /// `--cgroup-parent GROUP`.
    pub fn set_cgroup_parent(&mut self, text: &str) -> Result<(), ParseError> {
        cgroup::Location::inside(text, "group").map_err(|error| ParseError::new(text, error.to_string()))?;
        self.cgroup_parent = Some(text.to_owned());
        Ok(())
    }

    /// `--env-file FILE`.
    pub fn add_env_file(&mut self, path: &str) -> Result<(), ParseError> {
        self.env_of_files.extend(parse::env_file(path)?);
        Ok(())
    }

    /// `--label-file FILE`: `NAME=VALUE` or `NAME`, one a line.
    pub fn add_label_file(&mut self, path: &str) -> Result<(), ParseError> {
        self.labels.extend(parse::label_file(path)?);
        Ok(())
    }

    /// `--oom-score-adj`. [proc_pid_oom_score_adj(5)]
    pub fn set_oom_score_adj(&mut self, text: &str) -> Result<(), ParseError> {
        let score = text.parse().ok().filter(|score| (-1000..=1000).contains(score));
        self.oom_score_adj = Some(score.ok_or_else(|| ParseError::new(text, "it is no number from -1000 to 1000"))?);
        Ok(())
    }

    /// `--umask`.
    pub fn set_umask(&mut self, text: &str) -> Result<(), ParseError> {
        let mask = u32::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777);
        self.umask = Some(mask.ok_or_else(|| ParseError::new(text, "it is no octal number up to 0777"))?);
        Ok(())
    }

    /// `--tz`.
    pub fn set_tz(&mut self, text: &str) -> Result<(), ParseError> {
        let is_name = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !text.split('/').all(is_name) {
            return Err(ParseError::new(text, "write a zone as Europe/Rome, or local"));
        }
        self.tz = Some(text.to_owned());
        Ok(())
    }

    /// `--device-cgroup-rule 'TYPE MAJOR:MINOR ACCESS'`.
    pub fn add_device_rule(&mut self, text: &str) -> Result<(), ParseError> {
        self.device_rules.push(DeviceRule::parse(text)?);
        Ok(())
    }

    /// What stands as one word in a file of lines.
    pub fn word(text: &str) -> Result<String, ParseError> {
        if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(ParseError::new(text, "it is no single word"));
        }
        Ok(text.to_owned())
    }

    /// `--security-opt`.
    pub fn add_security_option(&mut self, text: &str) -> Result<(), ParseError> {
        match text.split_once(['=', ':']) {
            None if text == "no-new-privileges" => self.no_new_privileges = true,
            Some(("no-new-privileges", value)) => self.no_new_privileges = parse::boolean(value)?,
            Some(("seccomp", "unconfined")) => self.seccomp = SeccompChoice::Unconfined,
            Some(("seccomp", "" | "builtin" | "default")) => self.seccomp = SeccompChoice::Default,
            Some(("seccomp", path)) => self.seccomp = SeccompChoice::File(path.into()),
            _ => {
                let known = "this release knows no-new-privileges, seccomp=FILE and seccomp=unconfined";
                return Err(ParseError::new(text, known));
            }
        }
        Ok(())
    }

    /// `--device SOURCE[:TARGET][:rwm]`.
    pub fn add_device(&mut self, text: &str) -> Result<(), ParseError> {
        self.devices.push(parse::device(text)?);
        Ok(())
    }

    /// `--ulimit NAME=SOFT[:HARD]`.
    pub fn add_ulimit(&mut self, text: &str) -> Result<(), ParseError> {
        self.ulimits.push(parse::ulimit(text)?);
        Ok(())
    }

    /// `--network`, which may stand several times.
    pub fn add_network(&mut self, text: &str) -> Result<(), ParseError> {
        let asked = parse::network::network(text)?;
        self.network.add(asked).map_err(|why| ParseError::new(text, why))
    }

    /// Once all flags are read: what `--ip`, `--mac-address` and `--network-alias` say goes to the network that is meant.
    pub fn settle_network(&mut self, flags: &Endpoint) -> Result<(), ParseError> {
        let is_chosen =
            |endpoint: &Endpoint| *endpoint != Endpoint { network: endpoint.network.clone(), ..Endpoint::default() };
        let own = |why: &str| Err(ParseError::new(flags.chosen(), why));
        let on_own = "only in a network that was made can that be chosen: `--network NAME`, see `network create`";
        match &mut self.network {
            NetworkMode::Named(endpoints) => {
                if let [endpoint] = endpoints.as_mut_slice() {
                    endpoint.take(flags);
                } else if flags.address.is_some() || flags.mac.is_some() {
                    return own(
                        "with several networks write it as `--network name=NETWORK,ip=ADDRESS,mac-address=ADDRESS`",
                    );
                } else {
                    // The default one has no names.
                    let own = endpoints.iter_mut().filter(|endpoint| endpoint.network != networks::DEFAULT);
                    own.for_each(|endpoint| endpoint.take(flags));
                }
                if let Some(default) = endpoints.iter().find(|one| one.network == networks::DEFAULT && is_chosen(one)) {
                    return Err(ParseError::new(default.chosen(), on_own));
                }
                if matches!(endpoints.as_slice(), [only] if only.network == networks::DEFAULT) {
                    self.network = NetworkMode::Bridge;
                }
                Ok(())
            }
            _ if is_chosen(flags) => own(on_own),
            _ => Ok(()),
        }
    }

    /// `--publish [[IP:][HOSTPORT[-END]]:]PORT[-END][/PROTOCOL]`.
    pub fn add_publish(&mut self, text: &str) -> Result<(), ParseError> {
        self.publish.push(Publish::parse(text)?);
        Ok(())
    }

    /// `--expose PORT[-END][/PROTOCOL]`.
    pub fn add_exposed(&mut self, text: &str) -> Result<(), ParseError> {
        let (ports, protocol) = parse::publish::exposed(text)?;
        self.expose.extend(ports.map(|port| format!("{port}/{protocol}")));
        Ok(())
    }

    /// What of this is not done, though it is no mistake, for the person to read.
    pub fn warnings(&self) -> Vec<String> {
        match (self.publishes(), &self.network) {
            (true, NetworkMode::None) => {
                vec!["no port is published: with --network none nobody can reach the container".to_owned()]
            }
            (true, NetworkMode::Host) => vec![
                "no port is published: with --network host the container listens at the host's own ports".to_owned(),
            ],
            _ => Vec::new(),
        }
    }

    /// Whether it is the infra container of a pod, which has no program.
    pub(crate) fn is_infra(&self) -> bool {
        self.pod.as_ref().is_some_and(|place| place.is_infra)
    }

    /// Whether the person has something mounted at this path of the container.
    pub(crate) fn mounts_at(&self, path: &Path) -> bool {
        self.volumes.iter().any(|volume| volume.target == path) || self.tmpfs.iter().any(|tmpfs| tmpfs.target == path)
    }

    /// Whether ports of it shall be published.
    pub(crate) fn publishes(&self) -> bool {
        !self.publish.is_empty() || self.publish_all
    }

    /// A path of the host that is no UTF-8: a record cannot hold it.
    pub(crate) fn unspeakable_path(&self) -> Option<&Path> {
        let profile = match &self.seccomp {
            SeccompChoice::File(path) => Some(path),
            SeccompChoice::Default | SeccompChoice::Unconfined => None,
        };
        let sources = self.volumes.iter().map(|volume| &volume.source);
        let devices = self.devices.iter().map(|device| &device.source);
        sources.chain(devices).chain(profile).map(PathBuf::as_path).find(|path| path.to_str().is_none())
    }

    /// `--platform`.
    pub fn platform(text: &str) -> Result<Platform, ParseError> {
        Platform::parse(text).map_err(|_| ParseError::new(text, "write OS/ARCH[/VARIANT], as linux/arm64"))
    }

    /// `--add-host NAME:IP`.
    pub fn add_host(&mut self, text: &str) -> Result<(), ParseError> {
        self.add_hosts.push(parse::host(text)?);
        Ok(())
    }

    /// `--cap-add` or `--cap-drop`: a name with or without `CAP_`, in any case, or `ALL`.
    pub fn capability(text: &str) -> Result<Option<Capability>, ParseError> {
        parse::capability(text)
    }

    /// `--shm-size` or another size.
    pub fn size(text: &str) -> Result<u64, ParseError> {
        parse::size(text)
    }

    /// `--dns`.
    pub fn ip(text: &str) -> Result<IpAddr, ParseError> {
        text.parse().map_err(|_| ParseError::new(text, "it is no IP address"))
    }

    /// `--sysctl NAME=VALUE` and `--label NAME[=VALUE]`.
    pub fn pair(text: &str) -> (String, String) {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    }

    /// `--name`.
    pub fn container_name(text: &str) -> Result<String, ParseError> {
        parse::name(text)
    }
}

impl Limits {
    /// `--memory`; 0 is as if it were not said.
    pub fn set_memory(&mut self, text: &str) -> Result<(), ParseError> {
        self.memory = Some(parse::size(text)?).filter(|size| *size > 0);
        Ok(())
    }

    /// `--memory-swap`; -1 is unlimited.
    pub fn set_memory_swap(&mut self, text: &str) -> Result<(), ParseError> {
        self.memory_swap = match text {
            "-1" => Some(None),
            "0" => None,
            size => Some(Some(parse::size(size)?)),
        };
        Ok(())
    }

    /// `--cpus`.
    pub fn set_cpus(&mut self, text: &str) -> Result<(), ParseError> {
        self.nano_cpus = if text == "0" { None } else { Some(parse::cpus(text)?) };
        Ok(())
    }

    /// `--cpu-shares`.
    pub fn set_cpu_shares(&mut self, text: &str) -> Result<(), ParseError> {
        let shares = text.parse().ok().filter(|shares| (2..=262_144).contains(shares));
        self.cpu_shares = Some(shares.ok_or_else(|| ParseError::new(text, "it is no number from 2 to 262144"))?);
        Ok(())
    }

    /// `--cpuset-cpus`.
    pub fn set_cpuset_cpus(&mut self, text: &str) -> Result<(), ParseError> {
        self.cpuset_cpus = Some(text.to_owned());
        Ok(())
    }

    /// `--pids-limit`; 0 and less is unlimited.
    pub fn set_pids(&mut self, text: &str) -> Result<(), ParseError> {
        let limit: i64 = text.parse().map_err(|_| ParseError::new(text, "it is no number"))?;
        self.pids = Some(u64::try_from(limit).ok().filter(|limit| *limit > 0));
        Ok(())
    }

    /// These, and where others are set, those.
    pub(crate) fn with(&self, others: &Limits) -> Limits {
        let others = others.clone();
        Limits {
            memory: others.memory.or(self.memory),
            memory_swap: others.memory_swap.or(self.memory_swap),
            nano_cpus: others.nano_cpus.or(self.nano_cpus),
            cpu_shares: others.cpu_shares.or(self.cpu_shares),
            cpuset_cpus: others.cpuset_cpus.or_else(|| self.cpuset_cpus.clone()),
            pids: others.pids.or(self.pids),
        }
    }

    /// Of `whole` what is set here. Memory and swap go together: the second counts both.
    pub(crate) fn only_changed(&self, whole: &Limits) -> Limits {
        let has_memory = self.memory.is_some() || self.memory_swap.is_some();
        Limits {
            memory: whole.memory.filter(|_| has_memory),
            memory_swap: whole.memory_swap.filter(|_| has_memory),
            nano_cpus: whole.nano_cpus.filter(|_| self.nano_cpus.is_some()),
            cpu_shares: whole.cpu_shares.filter(|_| self.cpu_shares.is_some()),
            cpuset_cpus: whole.cpuset_cpus.clone().filter(|_| self.cpuset_cpus.is_some()),
            pids: whole.pids.filter(|_| self.pids.is_some()),
        }
    }

    /// The limits in the configuration's terms.
    pub(crate) fn resources(&self, has_swap_limit: bool) -> LinuxResources {
        use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxPids};
        let mut resources = LinuxResources::default();
        resources.set_devices(None);
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        // Unlimited swap beside unlimited memory is what there is without any limit.
        if self.memory.is_some() {
            let mut memory = LinuxMemory::default();
            memory.set_limit(self.memory.map(signed));
            // As Docker: without --memory-swap there may be as much swap again as memory, where swap is accounted.
            let default = self.memory.filter(|_| has_swap_limit).map(|m| signed(m.saturating_mul(2)));
            memory.set_swap(match self.memory_swap {
                Some(Some(total)) => Some(signed(total)),
                Some(None) => Some(-1),
                None => default,
            });
            resources.set_memory(Some(memory));
        }
        if self.nano_cpus.is_some() || self.cpu_shares.is_some() || self.cpuset_cpus.is_some() {
            let mut cpu = LinuxCpu::default();
            if let Some(nano) = self.nano_cpus {
                cpu.set_period(Some(CPU_PERIOD_US));
                cpu.set_quota(Some(signed(nano / (1_000_000_000 / CPU_PERIOD_US))));
            }
            cpu.set_shares(self.cpu_shares);
            cpu.set_cpus(self.cpuset_cpus.clone());
            resources.set_cpu(Some(cpu));
        }
        if let Some(pids) = self.pids {
            let mut limit = LinuxPids::default();
            limit.set_limit(pids.map_or(-1, signed));
            resources.set_pids(Some(limit));
        }
        resources
    }
}

/// Docker's period for `--cpus`, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// `--network` with each of the words, then `--ip` and so on.
    fn settled(words: &[&str], flags: &Endpoint) -> Result<String, ParseError> {
        let mut options = RunOptions::default();
        for word in words {
            options.add_network(word)?;
        }
        options.settle_network(flags)?;
        let shown = |one: &Endpoint| format!("{}({}{})", one.network, one.chosen(), one.aliases.len());
        Ok(match options.network {
            NetworkMode::Named(endpoints) => endpoints.iter().map(shown).collect::<Vec<_>>().join(" "),
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn networks_stand_together_where_they_can() {
        let none = Endpoint::default();
        let alias = Endpoint { aliases: vec!["db".into()], ..Endpoint::default() };
        let address = Endpoint { address: "10.9.0.5".parse().ok(), ..Endpoint::default() };
        for (words, flags, expected) in [
            (&[][..], &none, Some("Bridge")),
            (&["bridge"], &none, Some("Bridge")),
            (&["none", "none"], &none, Some("None")),
            (&["host"], &none, Some("Host")),
            (&["net"], &none, Some("net(0)")),
            (&["net"], &address, Some("net(10.9.0.50)")),
            (&["net", "other"], &none, Some("net(0) other(0)")),
            (&["bridge", "net"], &none, Some("bridge(0) net(0)")),
            (&["bridge", "net"], &alias, Some("bridge(0) net(db1)")),
            (&["net", "net"], &none, None),
            (&["none", "net"], &none, None),
            (&["net", "host"], &none, None),
            (&["none", "host"], &none, None),
            (&["bridge", "none"], &none, None),
            (&[], &alias, None),
            (&["bridge"], &address, None),
            (&["none"], &alias, None),
            (&["host"], &address, None),
            (&["net", "other"], &address, None),
            (&["bridge:ip=10.9.0.5"], &none, None),
        ] {
            assert_eq!(settled(words, flags).ok().as_deref(), expected, "{words:?} {flags:?}");
        }
    }
}
