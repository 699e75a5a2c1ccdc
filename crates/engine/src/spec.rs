//! Flags become an OCI configuration. Docker's defaults stand here, once, as data.

use crate::confines::{Confines, Wanted, environment};
use crate::containers::{SHM, Shared};
use crate::error::Error;
use crate::hostview;
use crate::namespaces::NamespaceMode;
use crate::options::{NetworkMode, RunOptions, Tmpfs, Volume};
use crate::ownership;
use crate::rootless;
use crate::user::Identity;
use crate::userns::{self, Maps};
use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespace, LinuxNamespaceType, LinuxResources, Mount,
    Process, Root, Spec,
};
use rustix::fs::FileType;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Mounts of every container: path, type, options. `-v` or `--tmpfs` at the same path replaces one.
const MOUNTS: &[(&str, &str, &[&str])] = &[
    (PROC, "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    (TERMINALS, "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    (SYS, "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]),
    (QUEUES, "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777"]),
];

/// What shows or changes the host's kernel. [moby/oci/defaults.go]
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const SYS: &str = "/sys";
const PROC: &str = "/proc";
const QUEUES: &str = "/dev/mqueue";
const TERMINALS: &str = "/dev/pts";
const SHM_SIZE: u64 = 64 << 20;

/// What the configuration is made of, beside the flags.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) options: &'a RunOptions,
    pub(crate) confines: &'a Confines,
    pub(crate) hostname: &'a str,
    pub(crate) identity: &'a Identity,
    pub(crate) command: Vec<String>,
    pub(crate) is_host_view: bool,
    pub(crate) shared: &'a Shared,
    /// The ids of its user namespace, if it has one of its own.
    pub(crate) maps: Option<&'a Maps>,
    pub(crate) has_swap_limit: bool,
}

/// The whole configuration.
pub(crate) fn spec(parts: Parts<'_>) -> Result<Spec, Error> {
    let options = parts.options;
    let (nodes, rules) = devices(options)?;
    let mut spec = Spec::default();
    let mut root = Root::default();
    root.set_readonly(Some(options.read_only));
    spec.set_root(Some(root));
    // In the uts namespace of others there is no name to set.
    spec.set_hostname(options.uts.is_own().then(|| parts.hostname.to_owned()));
    spec.set_mounts(Some(mounts(&parts)?));
    spec.set_process(Some(process(&parts)));
    spec.set_domainname(options.domainname.clone());
    let annotations: HashMap<String, String> = options.annotations.iter().cloned().collect();
    spec.set_annotations((!annotations.is_empty()).then_some(annotations));
    spec.set_linux(Some(linux(&parts, nodes, rules)?));
    Ok(spec)
}

fn process(parts: &Parts<'_>) -> Process {
    let Parts { options, identity, .. } = parts;
    let wanted = options.env_of_image.iter().chain(&options.env_of_files).chain(&options.env);
    let mut process = parts.confines.process(Wanted {
        identity,
        words: parts.command.clone(),
        env: environment(|variable| options.keeps_env(variable), parts.hostname, options.tty, &identity.home, wanted),
        cwd: options.workdir.as_deref().unwrap_or(Path::new("/")),
        tty: options.tty,
        privileged: options.privileged,
    });
    process.set_oom_score_adj(options.oom_score_adj);
    process
}

fn linux(parts: &Parts<'_>, nodes: Vec<LinuxDevice>, rules: Vec<LinuxDeviceCgroup>) -> Result<Linux, Error> {
    let options = parts.options;
    let mut linux = Linux::default();
    linux.set_namespaces(Some(namespaces(options, parts.shared, parts.maps.is_some())));
    // One of another container's is mapped.
    if let Some(maps) = parts.maps.filter(|_| parts.shared.path(LinuxNamespaceType::User).is_none()) {
        let [uid, gid] = maps.mappings();
        linux.set_uid_mappings(Some(uid));
        linux.set_gid_mappings(Some(gid));
    }
    linux.set_devices(Some(nodes));
    let mut resources: LinuxResources = options.limits.resources(parts.has_swap_limit);
    resources.set_devices(Some(rules));
    options.more_limits.add_to(&mut resources)?;
    linux.set_resources(Some(resources));
    let paths = |list: &[&str]| list.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
    let mut masked = if options.privileged { Vec::new() } else { paths(MASKED) };
    if parts.is_host_view {
        masked.extend(hostview::hidden().iter().map(|path| path.to_string_lossy().into_owned()));
        // What the person put somewhere on purpose is not hidden again.
        masked.retain(|path| !is_taken(options, Path::new(path)));
    }
    linux.set_masked_paths(Some(masked));
    linux.set_readonly_paths(Some(if options.privileged { Vec::new() } else { paths(READONLY) }));
    let sysctls: HashMap<String, String> = options.sysctls.iter().cloned().collect();
    linux.set_sysctl((!sysctls.is_empty()).then_some(sysctls));
    linux.set_seccomp(None);
    linux.set_cgroups_path(None);
    Ok(linux)
}

fn is_taken(options: &RunOptions, path: &Path) -> bool {
    let targets = options.volumes.iter().map(|v| &v.target).chain(options.tmpfs.iter().map(|t| &t.target));
    targets.into_iter().any(|target| target.starts_with(path))
}

/// All but those of the host; those of others by their paths.
fn namespaces(options: &RunOptions, shared: &Shared, has_users: bool) -> Vec<LinuxNamespace> {
    use LinuxNamespaceType as T;
    let kinds = [
        (T::Pid, options.pid != NamespaceMode::Host),
        (T::Mount, true),
        (T::Uts, options.uts != NamespaceMode::Host),
        (T::Ipc, options.ipc != NamespaceMode::Host),
        (T::Cgroup, options.cgroupns != NamespaceMode::Host),
        (T::Network, options.network != NetworkMode::Host),
        (T::User, has_users),
    ];
    let namespace = |kind| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        namespace.set_path(shared.path(kind));
        namespace
    };
    kinds.into_iter().filter(|(_, is_listed)| *is_listed).map(|(kind, _)| namespace(kind)).collect()
}

fn mounts(parts: &Parts<'_>) -> Result<Vec<Mount>, Error> {
    let options = parts.options;
    let mut asked: Vec<Mount> = options.volumes.iter().map(|one| volume(one, parts.maps)).collect();
    asked.extend(options.tmpfs.iter().map(tmpfs));
    if parts.is_host_view {
        let emptied = hostview::EMPTIED.iter().map(|(path, mode)| {
            let options = vec!["nosuid".into(), "nodev".into(), "exec".into(), format!("mode={mode}")];
            mount(path.as_ref(), "tmpfs", "tmpfs".as_ref(), options)
        });
        let free: Vec<Mount> = emptied.filter(|m| !asked.iter().any(|a| a.destination() == m.destination())).collect();
        asked.extend(free);
    }
    refuse_doubles(&asked)?;
    let own = MOUNTS.iter().filter_map(|(path, fstype, words)| {
        let mut words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        if *path == SHM {
            return shared_memory(options, words);
        }
        if options.privileged {
            words.retain(|word| word != "ro");
        }
        let has_network_of_others = match parts.maps {
            Some(_) => userns::is_network_of_others(options),
            None => rootless::is_rootless() && options.network == NetworkMode::Host,
        };
        let is_inside = parts.maps.is_some() || rootless::is_rootless();
        if *path == SYS && has_network_of_others || is_inside && is_of_host(options, path) {
            return Path::new(path).exists().then(|| hosts_own(options, path));
        }
        let has_terminals_group = parts.maps.map_or(!rootless::is_single_id(), |maps| maps.outside(0, 5).is_some());
        if *path == TERMINALS && !has_terminals_group {
            // The group of terminals is nobody here.
            words.retain(|word| !word.starts_with("gid="));
        }
        Some(mount(path.as_ref(), fstype, fstype.as_ref(), words))
    });
    let own = own.filter(|m| !asked.iter().any(|a| a.destination() == m.destination()));
    let mut all: Vec<Mount> = own.chain(asked.iter().cloned()).collect();
    // A mount on /a/b comes after one on /a, or would be covered by it.
    all.sort_by_key(|mount| mount.destination().components().count());
    Ok(all)
}

/// Whether it shows processes or queues of a namespace that the container has from the host: only who is root over that
/// may mount a new one. (So it is with /sys, which shows links.)
fn is_of_host(options: &RunOptions, path: &str) -> bool {
    match path {
        PROC => options.pid == NamespaceMode::Host,
        QUEUES => options.ipc == NamespaceMode::Host,
        _ => false,
    }
}

/// The host's own, as it is mounted there.
fn hosts_own(options: &RunOptions, path: &str) -> Mount {
    let readonly = if path == SYS && !options.privileged { Some("rro") } else { None };
    let words = ["rbind", "rprivate", "rnosuid", "rnodev", "rnoexec"].into_iter().chain(readonly);
    mount(path.as_ref(), "bind", path.as_ref(), words.map(str::to_owned).collect())
}

/// What is at /dev/shm: it belongs to the ipc namespace. Another container's comes over the others.
fn shared_memory(options: &RunOptions, mut words: Vec<String>) -> Option<Mount> {
    match options.ipc {
        NamespaceMode::Private | NamespaceMode::Shareable => {
            words.push(format!("size={}", options.shm_size.unwrap_or(SHM_SIZE)));
            Some(mount(SHM.as_ref(), "tmpfs", "tmpfs".as_ref(), words))
        }
        NamespaceMode::Host => {
            let words = ["bind", "rprivate", "nosuid", "nodev", "noexec"].map(str::to_owned).into();
            Some(mount(SHM.as_ref(), "bind", SHM.as_ref(), words))
        }
        NamespaceMode::Bare | NamespaceMode::Container(_) => None,
    }
}

fn refuse_doubles(mounts: &[Mount]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    match mounts.iter().find(|mount| !seen.insert(mount.destination())) {
        None => Ok(()),
        Some(twice) => Err(Error::Conflict(format!("{} is mounted on twice", twice.destination().display()))),
    }
}

fn mount(target: &Path, fstype: &str, source: &Path, words: Vec<String>) -> Mount {
    let mut mount = Mount::default();
    mount.set_destination(target.to_owned());
    mount.set_typ(Some(fstype.to_owned()));
    mount.set_source(Some(source.to_owned()));
    mount.set_options(Some(words));
    mount
}

fn volume(volume: &Volume, maps: Option<&Maps>) -> Mount {
    let bind = if volume.non_recursive { "bind" } else { "rbind" };
    let mut words = vec![bind.to_owned(), volume.propagation.clone().unwrap_or_else(|| "rprivate".into())];
    if volume.read_only {
        // A volume that is read-only is so all the way down: Docker does the same since 25.
        words.push(if volume.non_recursive { "ro".into() } else { "rro".into() });
    }
    let maps = maps.filter(|maps| ownership::is_mapped(volume, maps));
    words.extend(maps.map(|_| "idmap".to_owned()));
    let mut mount = mount(&volume.target, "bind", &volume.source, words);
    if let Some([uid, gid]) = maps.map(Maps::mappings_of_mounts) {
        mount.set_uid_mappings(Some(uid));
        mount.set_gid_mappings(Some(gid));
    }
    mount
}

fn tmpfs(tmpfs: &Tmpfs) -> Mount {
    let mut words: Vec<String> = ["nosuid", "nodev", "noexec"].map(str::to_owned).into();
    // What the person says about a word replaces the default, as `exec` does `noexec`.
    words.retain(|word| !tmpfs.options.iter().any(|asked| word.strip_prefix("no") == Some(asked)));
    words.extend(tmpfs.options.iter().cloned());
    mount(&tmpfs.target, "tmpfs", "tmpfs".as_ref(), words)
}

/// What is asked for beside the few devices that the runtime gives every container.
fn devices(options: &RunOptions) -> Result<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>), Error> {
    let mut nodes: Vec<LinuxDevice> = Vec::new();
    let mut rules: Vec<LinuxDeviceCgroup> = Vec::new();
    if options.privileged {
        nodes.extend(host_devices(Path::new("/dev"), Path::new("/dev"))?);
        rules.push(rule(LinuxDeviceType::A, None, None, "rwm"));
    }
    for wanted in &options.devices {
        let found = host_devices(&wanted.source, &wanted.target)?;
        if found.is_empty() {
            let value = wanted.source.display().to_string();
            return Err(Error::BadValue { flag: "--device", value, reason: "it is no device".into() });
        }
        rules.extend(found.iter().map(|d| rule(d.typ(), Some(d.major()), Some(d.minor()), &wanted.access)));
        nodes.extend(found);
    }
    rules.extend(options.device_rules.iter().map(|wanted| {
        let kind = match wanted.kind {
            'b' => LinuxDeviceType::B,
            'c' => LinuxDeviceType::C,
            _ => LinuxDeviceType::A,
        };
        rule(kind, wanted.major, wanted.minor, &wanted.access)
    }));
    Ok((nodes, rules))
}

fn rule(kind: LinuxDeviceType, major: Option<i64>, minor: Option<i64>, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true);
    rule.set_typ(Some(kind));
    rule.set_major(major);
    rule.set_minor(minor);
    rule.set_access(Some(access.to_owned()));
    rule
}

fn node(path: &Path, kind: LinuxDeviceType, major: i64, minor: i64, mode: u32) -> LinuxDevice {
    let mut device = LinuxDevice::default();
    device.set_path(path.to_owned());
    device.set_typ(kind);
    device.set_major(major);
    device.set_minor(minor);
    device.set_file_mode(Some(mode));
    device.set_uid(Some(0));
    device.set_gid(Some(0));
    device
}

/// The nodes at a path of the host: one, or all in a directory. Terminals and shared memory are the container's own.
fn host_devices(source: &Path, target: &Path) -> Result<Vec<LinuxDevice>, Error> {
    const OWN: &[&str] = &["pts", "shm", "mqueue", "console", "fd", "ptmx"];
    let stat = rustix::fs::stat(source).map_err(Error::file("look at the device", source))?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => LinuxDeviceType::C,
        FileType::BlockDevice => LinuxDeviceType::B,
        FileType::Directory => {
            let mut found = Vec::new();
            for name in crate::state::file_names(source) {
                let path: PathBuf = source.join(&name);
                let is_link =
                    rustix::fs::lstat(&path).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Symlink);
                if !is_link && !OWN.iter().any(|own| name == *own) {
                    found.extend(host_devices(&path, &target.join(&name)).unwrap_or_default());
                }
            }
            return Ok(found);
        }
        _ => return Ok(Vec::new()),
    };
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let mut device = node(target, kind, i64::from(major), i64::from(minor), stat.st_mode & 0o777);
    device.set_uid(Some(stat.st_uid));
    device.set_gid(Some(stat.st_gid));
    Ok(vec![device])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tmpfs_is_noexec_unless_told_otherwise() {
        let words = |options: &[&str]| {
            let options = options.iter().map(|o| (*o).to_owned()).collect();
            tmpfs(&Tmpfs { target: "/x".into(), options }).options().clone().unwrap()
        };
        assert_eq!(words(&[]), ["nosuid", "nodev", "noexec"]);
        assert_eq!(words(&["exec", "size=1m"]), ["nosuid", "nodev", "exec", "size=1m"]);
    }
}
