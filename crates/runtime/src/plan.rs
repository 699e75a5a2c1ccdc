//! A configuration, checked and taken apart before anything is made.
//!
//! Everything that can be refused without touching the host is refused here. A section of the configuration that we do
//! not act on is an error, never dropped.

use crate::capabilities::bits;
use crate::devices;
use crate::error::Error;
use crate::hooks;
use crate::idmap::{self, IdMap};
use crate::labels::{self, Labels};
use crate::memory_policy::{self, MemoryPolicy};
use crate::namespaces::{self, PlannedNamespaces};
use crate::netdev::{self, NetDevice};
use crate::options::{self, Options};
use crate::personality::{self, Personality};
use crate::resctrl;
use crate::scheduling::{self, Affinity, Scheduling};
use crate::time_offsets::{self, Offset};
use oci_spec::runtime::{
    Hook, Linux, LinuxCapabilities, LinuxDevice, LinuxDeviceType, Mount, PosixRlimit, Process, Spec,
};
use rustix::fs::FileType;
use rustix::process::Resource;
use std::path::{Path, PathBuf};
use sys::fork::Namespaces;

/// What the container's first process is to do, and what is done for it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) namespaces: PlannedNamespaces,
    pub(crate) uid_map: Vec<IdMap>,
    pub(crate) gid_map: Vec<IdMap>,
    pub(crate) time_offsets: Vec<Offset>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) mounts: Vec<PlannedMount>,
    pub(crate) mount_label: Option<String>,
    pub(crate) root_readonly: bool,
    pub(crate) root_propagation: u64,
    /// Nodes of /dev. None where a /dev of the host is shown: what is in that one is not ours.
    pub(crate) devices: Option<Vec<Device>>,
    pub(crate) net_devices: Vec<NetDevice>,
    pub(crate) masked: Vec<PathBuf>,
    pub(crate) readonly: Vec<PathBuf>,
    pub(crate) sysctl: Vec<(String, String)>,
    pub(crate) personality: Option<Personality>,
    pub(crate) memory_policy: Option<MemoryPolicy>,
    pub(crate) resctrl: Option<resctrl::Plan>,
    pub(crate) hooks: PlannedHooks,
    pub(crate) process: PlannedProcess,
}

/// Programs to run at points of a container's life. [runtime-spec config.md "POSIX-platform Hooks"]
#[derive(Clone, Debug, Default)]
pub(crate) struct PlannedHooks {
    /// `prestart`, then `createRuntime`: in the caller's namespaces, when the root is built and not yet entered.
    pub(crate) create_runtime: Vec<Hook>,
    /// In the container's namespaces, before its root is entered.
    pub(crate) create_container: Vec<Hook>,
    /// In the container, before its program.
    pub(crate) start_container: Vec<Hook>,
}

/// One mount of the list.
#[derive(Debug)]
pub(crate) struct PlannedMount {
    pub(crate) target: PathBuf,
    pub(crate) fstype: String,
    pub(crate) source: PathBuf,
    pub(crate) options: Options,
    /// How owners are shifted, if they are.
    pub(crate) id_maps: Option<(Vec<IdMap>, Vec<IdMap>)>,
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
    pub(crate) scheduling: Option<Scheduling>,
    pub(crate) affinity: Affinity,
    pub(crate) labels: Labels,
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

/// Checks a configuration and takes it apart. Relative sources of mounts are below `bundle`.
pub(crate) fn plan(spec: &Spec, bundle: &Path) -> Result<Plan, Error> {
    refuse_foreign_sections(spec)?;
    let linux = spec.linux().as_ref().ok_or_else(|| Error::Invalid("it has no `linux` section".into()))?;
    let process = spec.process().as_ref().ok_or_else(|| Error::Invalid("it has no `process` section".into()))?;
    let namespaces = namespaces::plan(linux)?;
    let (uid_map, gid_map) = id_maps(linux, &namespaces)?;
    let mut plan = Plan {
        hostname: spec.hostname().clone().filter(|name| !name.is_empty()),
        domainname: spec.domainname().clone().filter(|name| !name.is_empty()),
        mounts: mounts(spec.mounts().as_deref().unwrap_or_default(), bundle, &uid_map, &gid_map)?,
        mount_label: labels::plan_mount_label(linux)?,
        root_readonly: spec.root().as_ref().is_some_and(|root| root.readonly() == Some(true)),
        root_propagation: root_propagation(linux)?,
        devices: None,
        net_devices: netdev::plan(linux)?,
        masked: linux.masked_paths().iter().flatten().map(PathBuf::from).collect(),
        readonly: linux.readonly_paths().iter().flatten().map(PathBuf::from).collect(),
        sysctl: linux.sysctl().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        time_offsets: time_offsets::plan(linux, namespaces.new.contains(Namespaces::TIME))?,
        personality: personality::plan(linux)?,
        memory_policy: memory_policy::plan(linux)?,
        resctrl: shares(linux)?,
        hooks: hooks(spec)?,
        process: planned_process(process)?,
        namespaces,
        uid_map,
        gid_map,
    };
    if !plan.shows_hosts_dev() {
        let asked = linux.devices().iter().flatten().map(device).collect::<Result<Vec<_>, _>>()?;
        plan.devices = Some(devices::with_defaults(asked));
    }
    plan.check()?;
    Ok(plan)
}

impl Plan {
    /// True when the container's /dev is a directory of the host: nothing is made in there.
    fn shows_hosts_dev(&self) -> bool {
        self.mounts.iter().any(|mount| mount.fstype == "bind" && mount.target == Path::new("/dev"))
    }

    /// True when this process is not root of the host but of a user namespace.
    pub(crate) fn has_user_namespace(&self) -> bool {
        self.namespaces.has_own(Namespaces::USER)
    }

    /// True when mounts can be made that nobody else sees.
    pub(crate) fn has_new_mounts(&self) -> bool {
        self.namespaces.new.contains(Namespaces::MOUNT)
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(label) = &self.mount_label {
            labels::check_mount_label(label)?;
        }
        if let Some(name) = self.hostname.iter().chain(&self.domainname).find(|name| name.contains('\0')) {
            return Err(Error::Invalid(format!("{name:?} contains a NUL byte")));
        }
        let own = |kind| self.namespaces.has_own(kind);
        let needs = |given: bool, what: &str, kind, name: &str| {
            if given && !own(kind) {
                return Err(Error::Invalid(format!("{what} needs a {name} namespace of the container's own")));
            }
            Ok(())
        };
        needs(self.hostname.is_some(), "hostname", Namespaces::UTS, "uts")?;
        needs(self.domainname.is_some(), "domainname", Namespaces::UTS, "uts")?;
        needs(!self.net_devices.is_empty(), "linux.netDevices", Namespaces::NETWORK, "network")?;
        if self.has_new_mounts() {
            return Ok(());
        }
        // In the mount namespace of others, what is mounted would be theirs too, and stay.
        let mounting = [
            (!self.mounts.is_empty(), "mounts"),
            (!self.masked.is_empty(), "linux.maskedPaths"),
            (!self.readonly.is_empty(), "linux.readonlyPaths"),
            (self.root_readonly, "root.readonly"),
        ];
        match mounting.iter().find(|(given, _)| *given) {
            None => Ok(()),
            Some((_, what)) => Err(Error::Invalid(format!("{what} needs a new mount namespace"))),
        }
    }
}

fn refuse(present: bool, section: &str) -> Result<(), Error> {
    if present { Err(Error::Unsupported(format!("the configuration's section {section}"))) } else { Ok(()) }
}

fn refuse_foreign_sections(spec: &Spec) -> Result<(), Error> {
    // The spec has a major version of 1 in all that it calls compatible. [runtime-spec config.md "Specification version"]
    let major = spec.version().split('.').next().unwrap_or_default();
    if major != "1" {
        return Err(Error::Unsupported(format!("version {:?} of the runtime specification", spec.version())));
    }
    refuse(spec.solaris().is_some(), "solaris")?;
    refuse(spec.windows().is_some(), "windows")?;
    refuse(spec.vm().is_some(), "vm")
}

fn id_maps(linux: &Linux, namespaces: &PlannedNamespaces) -> Result<(Vec<IdMap>, Vec<IdMap>), Error> {
    let uid = idmap::parse(linux.uid_mappings().as_deref().unwrap_or_default())?;
    let gid = idmap::parse(linux.gid_mappings().as_deref().unwrap_or_default())?;
    let is_new = namespaces.new.contains(Namespaces::USER);
    if is_new && (uid.is_empty() || gid.is_empty()) {
        return Err(Error::Invalid("a new user namespace needs linux.uidMappings and linux.gidMappings".into()));
    }
    // Podman repeats the mappings of the namespace that it has the container join; they are its owner's to make.
    if !(namespaces.has_own(Namespaces::USER) || uid.is_empty() && gid.is_empty()) {
        return Err(Error::Invalid("linux.uidMappings and linux.gidMappings need a user namespace".into()));
    }
    Ok((uid, gid))
}

/// All namespaces that a container of this configuration does not share with its caller.
pub(crate) fn namespaces(spec: &Spec) -> Result<Namespaces, Error> {
    let linux = spec.linux().as_ref().ok_or_else(|| Error::Invalid("it has no `linux` section".into()))?;
    Ok(namespaces::plan(linux)?.own())
}

/// True when the container's processes are in the pid namespace of others.
pub(crate) fn joins_pids(spec: &Spec) -> Result<bool, Error> {
    let linux = spec.linux().as_ref().ok_or_else(|| Error::Invalid("it has no `linux` section".into()))?;
    Ok(namespaces::plan(linux)?.joins(Namespaces::PID))
}

/// Mounts for a container that runs.
pub(crate) fn more_mounts(list: &[Mount], bundle: &Path) -> Result<Vec<PlannedMount>, Error> {
    let planned = mounts(list, bundle, &[], &[])?;
    match planned.iter().find(|mount| mount.id_maps.is_some()) {
        Some(_) => Err(Error::Unsupported("shifting the owners of a mount in a running container".into())),
        None => Ok(planned),
    }
}

fn mounts(list: &[Mount], bundle: &Path, uid_map: &[IdMap], gid_map: &[IdMap]) -> Result<Vec<PlannedMount>, Error> {
    let planned = list.iter().map(|mount| {
        let options = options::parse(mount.options().as_deref().unwrap_or_default())?;
        let fstype = match mount.typ().as_deref() {
            _ if options.bind => "bind".to_owned(),
            Some("bind" | "none" | "") | None => "bind".to_owned(),
            Some(fstype) => fstype.to_owned(),
        };
        let target = mount.destination().clone();
        if fstype == "bind" && !options.data.is_empty() {
            let words = options.data.join(", ");
            return Err(Error::Invalid(format!("a bind mount has no option {words:?}")));
        }
        if options.copy_up && fstype != "tmpfs" {
            return Err(Error::Invalid(format!("tmpcopyup is for a tmpfs, and {target:?} is of type {fstype}")));
        }
        let mut source = mount.source().clone().unwrap_or_default();
        if fstype == "bind" && !options.remount {
            if source.as_os_str().is_empty() {
                return Err(Error::Invalid(format!("the bind mount on {target:?} has no source")));
            }
            source = bundle.join(source);
        }
        let uid = idmap::parse(mount.uid_mappings().as_deref().unwrap_or_default())?;
        let gid = idmap::parse(mount.gid_mappings().as_deref().unwrap_or_default())?;
        let id_maps = match (options.idmap.is_some(), uid.is_empty(), gid.is_empty()) {
            (_, false, false) => Some((uid, gid)),
            (true, true, true) if !uid_map.is_empty() => Some((uid_map.to_vec(), gid_map.to_vec())),
            (false, true, true) => None,
            _ => {
                return Err(Error::Invalid(format!(
                    "the mount on {target:?} needs both uidMappings and gidMappings to shift its owners"
                )));
            }
        };
        Ok(PlannedMount { target, fstype, source, options, id_maps })
    });
    planned.collect()
}

/// What is asked for of Intel RDT.
pub(crate) fn shares(linux: &Linux) -> Result<Option<resctrl::Plan>, Error> {
    linux.intel_rdt().as_ref().map(resctrl::plan).transpose()
}

#[allow(deprecated)] // prestart is deprecated in the specification and still what callers send.
fn hooks(spec: &Spec) -> Result<PlannedHooks, Error> {
    let Some(hooks) = spec.hooks() else { return Ok(PlannedHooks::default()) };
    hooks::check(hooks)?;
    let list = |hooks: &Option<Vec<Hook>>| hooks.clone().unwrap_or_default();
    Ok(PlannedHooks {
        create_runtime: [list(hooks.prestart()), list(hooks.create_runtime())].concat(),
        create_container: list(hooks.create_container()),
        start_container: list(hooks.start_container()),
    })
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

/// A process's own part of the configuration, checked: the first one's, or one that is to join.
pub(crate) fn planned_process(process: &Process) -> Result<PlannedProcess, Error> {
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
    let labels = labels::plan(process)?;
    labels::check_host(&labels)?;
    let affinity = scheduling::plan_affinity(process)?;
    scheduling::check_host(&affinity)?;
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
        rlimits: rlimits(process)?,
        oom_score_adj: process.oom_score_adj(),
        scheduling: scheduling::plan(process)?,
        affinity,
        labels,
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

/// Each type at most once. [runtime-spec config.md "POSIX process"]
fn rlimits(process: &Process) -> Result<Vec<Rlimit>, Error> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for limit in process.rlimits().iter().flatten().map(rlimit) {
        let limit = limit?;
        if limits.iter().any(|known| known.resource == limit.resource) {
            return Err(Error::Invalid(format!("the limit {} is listed twice", limit.name)));
        }
        limits.push(limit);
    }
    Ok(limits)
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
