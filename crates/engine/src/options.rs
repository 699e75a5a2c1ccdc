//! What a person may ask of `run`, parsed but not yet acted on.

use crate::parse::{self, ParseError};
use oci_spec::runtime::{Capability, LinuxResources, PosixRlimitType};
use registry::Platform;
use std::net::IpAddr;
use std::path::PathBuf;

/// Everything that the flags of `run` say.
#[derive(Clone, Debug, Default)]
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
    /// `--env-file`, in order. A variable of `-e` wins over these, wherever it stands.
    pub env_of_files: Vec<String>,
    /// `-w`.
    pub workdir: Option<PathBuf>,
    /// `-u`.
    pub user: Option<String>,
    /// `-v`, `--mount type=bind` and `type=volume`.
    pub volumes: Vec<Volume>,
    /// `-v DIR`: volumes without a name, which go with the container.
    pub anonymous_volumes: Vec<PathBuf>,
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
    /// `--sysctl`.
    pub sysctls: Vec<(String, String)>,
    /// `--shm-size` in bytes.
    pub shm_size: Option<u64>,
    /// `--network`.
    pub network: NetworkMode,
    /// `--add-host NAME:IP`; `None` is `host-gateway`.
    pub add_hosts: Vec<(String, Option<IpAddr>)>,
    /// `--dns`.
    pub dns: Vec<IpAddr>,
    /// `--label`.
    pub labels: Vec<(String, String)>,
    /// The limits.
    pub limits: Limits,
}

/// `--memory` and its kin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// `--memory` in bytes.
    pub memory: Option<u64>,
    /// `--memory-swap` in bytes, memory and swap together; `None` inside is unlimited.
    pub memory_swap: Option<Option<u64>>,
    /// `--cpus` in billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// `--cpu-shares`.
    pub cpu_shares: Option<u64>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: Option<String>,
    /// `--pids-limit`; `None` inside is unlimited.
    pub pids: Option<Option<u64>>,
}

/// A directory or file of the host shown in the container, or a named volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
}

/// A file system in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    /// Path in the container.
    pub target: PathBuf,
    /// Mount options, beyond Docker's `noexec,nosuid,nodev`.
    pub options: Vec<String>,
}

/// A device of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceMap {
    /// Path on the host: a node, or a directory of nodes.
    pub source: PathBuf,
    /// Path in the container.
    pub target: PathBuf,
    /// Of `rwm`.
    pub access: String,
}

/// A resource limit of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// Which.
    pub kind: PosixRlimitType,
    /// Soft value; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard value.
    pub hard: u64,
}

/// `--network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// An address on the bridge.
    #[default]
    Bridge,
    /// Only loopback.
    None,
    /// The host's own network.
    Host,
}

/// `--pull`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// The mode by its name.
    pub fn from_name(name: &str) -> Result<NetworkMode, ParseError> {
        match name {
            "bridge" | "default" => Ok(NetworkMode::Bridge),
            "none" => Ok(NetworkMode::None),
            "host" => Ok(NetworkMode::Host),
            _ => Err(ParseError::new(name, "this release has the networks bridge, none and host")),
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

    /// `--env-file FILE`.
    pub fn add_env_file(&mut self, path: &str) -> Result<(), ParseError> {
        let text = std::fs::read_to_string(path).map_err(|e| ParseError::new(path, format!("cannot read it: {e}")))?;
        for line in text.lines().map(|line| line.trim_start()).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            self.env_of_files.extend(parse::env(line)?);
        }
        Ok(())
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

    /// `--cpus`.
    pub fn cpus(text: &str) -> Result<u64, ParseError> {
        parse::cpus(text)
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
