//! A configuration, checked and taken apart before anything is made.
//!
//! Everything that can be refused without touching the host is refused here. A section of the configuration that we do
//! not act on is an error, never dropped.

use crate::capabilities::bits;
use crate::error::Error;
use crate::options::{self, Options};
use oci_spec::runtime::{
    Linux, LinuxCapabilities, LinuxDevice, LinuxDeviceType, LinuxNamespaceType, PosixRlimit, Process, Spec,
};
use rustix::fs::FileType;
use rustix::process::Resource;
use std::path::PathBuf;
use sys::fork::Namespaces;

/// What the container's first process is to do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) namespaces: Namespaces,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) mounts: Vec<PlannedMount>,
    pub(crate) root_readonly: bool,
    pub(crate) root_propagation: u64,
    pub(crate) devices: Vec<Device>,
    pub(crate) masked: Vec<PathBuf>,
    pub(crate) readonly: Vec<PathBuf>,
    pub(crate) sysctl: Vec<(String, String)>,
    pub(crate) process: PlannedProcess,
}

/// One mount of the list.
#[derive(Debug)]
pub(crate) struct PlannedMount {
    pub(crate) target: PathBuf,
    pub(crate) fstype: String,
    pub(crate) source: PathBuf,
    pub(crate) options: Options,
}

/// One device node.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) path: PathBuf,
    pub(crate) kind: FileType,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The program and what it runs as.
#[derive(Debug)]
pub(crate) struct PlannedProcess {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) umask: Option<u32>,
    pub(crate) capabilities: CapabilityBits,
    pub(crate) no_new_privileges: bool,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) oom_score_adj: Option<i32>,
}

/// Kernel capability sets as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CapabilityBits {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
}

/// One resource limit.
#[derive(Debug)]
pub(crate) struct Rlimit {
    pub(crate) resource: Resource,
    pub(crate) name: String,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// Checks a configuration and takes it apart.
pub(crate) fn plan(spec: &Spec) -> Result<Plan, Error> {
    refuse_foreign_sections(spec)?;
    let linux = spec.linux().as_ref().ok_or_else(|| Error::Invalid("it has no `linux` section".into()))?;
    refuse_unsupported(linux)?;
    let process = spec.process().as_ref().ok_or_else(|| Error::Invalid("it has no `process` section".into()))?;
    Ok(Plan {
        namespaces: namespaces(linux)?,
        hostname: spec.hostname().clone(),
        domainname: spec.domainname().clone(),
        mounts: mounts(spec)?,
        root_readonly: spec.root().as_ref().is_some_and(|root| root.readonly() == Some(true)),
        root_propagation: root_propagation(linux)?,
        devices: linux.devices().iter().flatten().map(device).collect::<Result<_, _>>()?,
        masked: linux.masked_paths().iter().flatten().map(PathBuf::from).collect(),
        readonly: linux.readonly_paths().iter().flatten().map(PathBuf::from).collect(),
        sysctl: linux.sysctl().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        process: planned_process(process)?,
    })
}

fn refuse(present: bool, section: &str) -> Result<(), Error> {
    if present { Err(Error::Unsupported(format!("the configuration's section {section}"))) } else { Ok(()) }
}

fn refuse_foreign_sections(spec: &Spec) -> Result<(), Error> {
    refuse(spec.hooks().is_some(), "hooks")?;
    refuse(spec.solaris().is_some(), "solaris")?;
    refuse(spec.windows().is_some(), "windows")?;
    refuse(spec.vm().is_some(), "vm")
}

fn refuse_unsupported(linux: &Linux) -> Result<(), Error> {
    refuse(linux.uid_mappings().as_ref().is_some_and(|m| !m.is_empty()), "linux.uidMappings")?;
    refuse(linux.gid_mappings().as_ref().is_some_and(|m| !m.is_empty()), "linux.gidMappings")?;
    refuse(linux.mount_label().is_some(), "linux.mountLabel")?;
    refuse(linux.intel_rdt().is_some(), "linux.intelRdt")?;
    refuse(linux.memory_policy().is_some(), "linux.memoryPolicy")?;
    refuse(linux.personality().is_some(), "linux.personality")?;
    refuse(linux.time_offsets().is_some(), "linux.timeOffsets")?;
    refuse(linux.net_devices().is_some(), "linux.netDevices")?;
    refuse(linux.cgroups_path().is_some(), "linux.cgroupsPath")
}

fn namespaces(linux: &Linux) -> Result<Namespaces, Error> {
    let mut wanted = Namespaces::default();
    for namespace in linux.namespaces().iter().flatten() {
        let bit = match namespace.typ() {
            LinuxNamespaceType::Mount => Namespaces::MOUNT,
            LinuxNamespaceType::Cgroup => Namespaces::CGROUP,
            LinuxNamespaceType::Uts => Namespaces::UTS,
            LinuxNamespaceType::Ipc => Namespaces::IPC,
            LinuxNamespaceType::Pid => Namespaces::PID,
            LinuxNamespaceType::Network => Namespaces::NETWORK,
            LinuxNamespaceType::User => return Err(Error::Unsupported("a user namespace".into())),
            LinuxNamespaceType::Time => return Err(Error::Unsupported("a time namespace".into())),
        };
        if namespace.path().is_some() {
            return Err(Error::Unsupported(format!("joining an existing {:?} namespace", namespace.typ())));
        }
        if wanted.contains(bit) {
            return Err(Error::Invalid(format!("the {:?} namespace is listed twice", namespace.typ())));
        }
        wanted = wanted | bit;
    }
    // Without one of its own the mounts below would be the host's.
    if !wanted.contains(Namespaces::MOUNT) {
        return Err(Error::Unsupported("a container without a mount namespace of its own".into()));
    }
    Ok(wanted)
}

fn mounts(spec: &Spec) -> Result<Vec<PlannedMount>, Error> {
    let planned = spec.mounts().iter().flatten().map(|mount| {
        let mapped = mount.uid_mappings().is_some() || mount.gid_mappings().is_some();
        refuse(mapped, "mounts.uidMappings")?;
        let options = options::parse(mount.options().as_deref().unwrap_or_default())?;
        let fstype = match mount.typ().as_deref() {
            _ if options.bind => "bind".to_owned(),
            Some("bind") | Some("none") | None => "bind".to_owned(),
            Some(fstype) => fstype.to_owned(),
        };
        if fstype == "bind" && !options.data.is_empty() {
            let words = options.data.join(", ");
            return Err(Error::Invalid(format!("a bind mount has no option {words:?}")));
        }
        Ok(PlannedMount {
            target: mount.destination().clone(),
            fstype,
            source: mount.source().clone().unwrap_or_default(),
            options,
        })
    });
    planned.collect()
}

fn root_propagation(linux: &Linux) -> Result<u64, Error> {
    let Some(name) = linux.rootfs_propagation() else { return Ok(options::PRIVATE) };
    options::propagation_of(name.strip_prefix('r').unwrap_or(name))
        .ok_or_else(|| Error::Invalid(format!("{name:?} is no propagation for the root")))
}

fn device(device: &LinuxDevice) -> Result<Device, Error> {
    let path = device.path().clone();
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::P => FileType::Fifo,
        other => return Err(Error::Invalid(format!("{path:?} cannot be a device of type {other:?}"))),
    };
    let number = |n: i64| u32::try_from(n).map_err(|_| Error::Invalid(format!("{path:?} has the device number {n}")));
    Ok(Device {
        kind,
        major: number(device.major())?,
        minor: number(device.minor())?,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        path,
    })
}

fn planned_process(process: &Process) -> Result<PlannedProcess, Error> {
    refuse(process.apparmor_profile().is_some(), "process.apparmorProfile")?;
    refuse(process.selinux_label().is_some(), "process.selinuxLabel")?;
    refuse(process.scheduler().is_some(), "process.scheduler")?;
    refuse(process.io_priority().is_some(), "process.ioPriority")?;
    refuse(process.exec_cpu_affinity().is_some(), "process.execCPUAffinity")?;
    let args = process.args().clone().unwrap_or_default();
    if args.is_empty() {
        return Err(Error::Invalid("it names no program to run".into()));
    }
    if !process.cwd().is_absolute() {
        return Err(Error::Invalid(format!("the working directory {:?} is not absolute", process.cwd())));
    }
    for text in args.iter().chain(process.env().iter().flatten()) {
        if text.contains('\0') {
            return Err(Error::Invalid(format!("{text:?} contains a NUL byte")));
        }
    }
    Ok(PlannedProcess {
        args,
        env: process.env().clone().unwrap_or_default(),
        cwd: process.cwd().clone(),
        uid: process.user().uid(),
        gid: process.user().gid(),
        groups: process.user().additional_gids().clone().unwrap_or_default(),
        umask: process.user().umask(),
        capabilities: process.capabilities().as_ref().map(capability_bits).unwrap_or_default(),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        rlimits: process.rlimits().iter().flatten().map(rlimit).collect::<Result<_, _>>()?,
        oom_score_adj: process.oom_score_adj(),
    })
}

fn capability_bits(sets: &LinuxCapabilities) -> CapabilityBits {
    CapabilityBits {
        bounding: bits(sets.bounding().iter().flatten()),
        effective: bits(sets.effective().iter().flatten()),
        permitted: bits(sets.permitted().iter().flatten()),
        inheritable: bits(sets.inheritable().iter().flatten()),
        ambient: bits(sets.ambient().iter().flatten()),
    }
}

fn rlimit(limit: &PosixRlimit) -> Result<Rlimit, Error> {
    use oci_spec::runtime::PosixRlimitType as T;
    let (resource, name) = match limit.typ() {
        T::RlimitAs => (Resource::As, "as"),
        T::RlimitCore => (Resource::Core, "core"),
        T::RlimitCpu => (Resource::Cpu, "cpu"),
        T::RlimitData => (Resource::Data, "data"),
        T::RlimitFsize => (Resource::Fsize, "fsize"),
        T::RlimitLocks => (Resource::Locks, "locks"),
        T::RlimitMemlock => (Resource::Memlock, "memlock"),
        T::RlimitMsgqueue => (Resource::Msgqueue, "msgqueue"),
        T::RlimitNice => (Resource::Nice, "nice"),
        T::RlimitNofile => (Resource::Nofile, "nofile"),
        T::RlimitNproc => (Resource::Nproc, "nproc"),
        T::RlimitRss => (Resource::Rss, "rss"),
        T::RlimitRtprio => (Resource::Rtprio, "rtprio"),
        T::RlimitRttime => (Resource::Rttime, "rttime"),
        T::RlimitSigpending => (Resource::Sigpending, "sigpending"),
        T::RlimitStack => (Resource::Stack, "stack"),
    };
    let (soft, hard) = (limit.soft(), limit.hard());
    if soft > hard {
        return Err(Error::Invalid(format!("the limit {name} has a soft value {soft} above its hard value {hard}")));
    }
    Ok(Rlimit { resource, name: name.to_owned(), soft, hard })
}
