//! Labels of the Linux security modules: `process.apparmorProfile`, `process.selinuxLabel` and `linux.mountLabel`.
//!
//! Both process labels are written by the process itself, shortly before its exec, at which they take effect; the
//! kernel accepts them from nobody else. They are written through a procfs that was verified to be one, for a write
//! that goes to a faked /proc would leave the program without its confinement and nobody would know (CVE-2019-16884).
//! The write comes before the system call filter and, when no_new_privs is set, may be refused by the kernel if the
//! new profile allows more than the old.
//!
//! A host without the module is an error, told before anything is made: a profile that was asked for and is not there
//! must not be forgotten. Profiles and policies are loaded by the host's administrator; nothing is left by us.
//!
//! A mount's label is an option of its file system. [config.md, config-linux.md, apparmor(7), runc]

use crate::error::Error;
use crate::procfs::Procfs;
use oci_spec::runtime::{Linux, Process};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::path::Path;
use step::step;

/// What the program is to be labelled with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    apparmor: Option<String>,
    selinux: Option<String>,
}

/// File system type of selinuxfs. [linux/magic.h]
const SELINUX_MAGIC: rustix::fs::FsWord = 0xf97c_ff8c_u32 as _;

/// Takes the two labels; an empty one is none.
pub(crate) fn plan(process: &Process) -> Result<Labels, Error> {
    let label = |label: &Option<String>, what: &str| match label.as_deref() {
        None | Some("") => Ok(None),
        Some(label) => check_text(label, what).map(|()| Some(label.to_owned())),
    };
    Ok(Labels {
        apparmor: label(process.apparmor_profile(), "process.apparmorProfile")?,
        selinux: label(process.selinux_label(), "process.selinuxLabel")?,
    })
}

/// A label is one line: what follows another would be another command to the kernel.
fn check_text(label: &str, what: &str) -> Result<(), Error> {
    if label.contains(|c: char| c.is_control() || c == '"') {
        return Err(Error::Invalid(format!("{what} is {label:?}, and cannot contain control characters or quotes")));
    }
    Ok(())
}

/// Refuses labels for which this host has no security module. To be asked while /sys is the host's.
pub(crate) fn check_host(labels: &Labels) -> Result<(), Error> {
    check_at(labels, Path::new("/sys"))
}

fn check_at(labels: &Labels, sys: &Path) -> Result<(), Error> {
    if let Some(profile) = &labels.apparmor {
        let enabled = sys.join("module/apparmor/parameters/enabled");
        if !std::fs::read_to_string(&enabled).is_ok_and(|text| text.starts_with('Y')) {
            return Err(Error::Host {
                what: format!("confine it by the AppArmor profile {profile:?}"),
                lacks: format!("has no AppArmor, or it is not enabled ({} is not Y)", enabled.display()),
            });
        }
    }
    match &labels.selinux {
        Some(label) => need_selinux(&format!("label it {label:?} for SELinux"), sys),
        None => Ok(()),
    }
}

fn need_selinux(what: &str, sys: &Path) -> Result<(), Error> {
    let dir = sys.join("fs/selinux");
    if rustix::fs::statfs(&dir).is_ok_and(|stat| stat.f_type == SELINUX_MAGIC) {
        return Ok(());
    }
    Err(Error::Host {
        what: what.to_owned(),
        lacks: format!("has no SELinux, or it is not enabled (no selinuxfs at {})", dir.display()),
    })
}

/// Sets what the calling process will be labelled with at its next exec.
pub(crate) fn apply(labels: &Labels, proc: &Procfs) -> Result<(), Error> {
    if let Some(profile) = &labels.apparmor {
        let what = || format!("confine it by the AppArmor profile {profile:?}");
        // The module's own file is there since Linux 5.1; the other is that of whichever module came first.
        let files = ["attr/apparmor/exec", "attr/exec"];
        step("apparmor", "asked for by process.apparmorProfile", what, || {
            write(proc, &files, &format!("exec {profile}"))
        })
        .map_err(|source| refused(what(), source, "knows no profile of that name"))?;
    }
    if let Some(label) = &labels.selinux {
        let what = || format!("label it {label:?} for SELinux");
        step("selinux", "asked for by process.selinuxLabel", what, || write(proc, &["attr/exec"], label))
            .map_err(|source| refused(what(), source, "has a policy that does not know it"))?;
    }
    Ok(())
}

fn refused(what: String, source: Errno, unknown: &str) -> Error {
    match source {
        Errno::NOENT | Errno::INVAL => Error::Host { what, lacks: unknown.to_owned() },
        _ => Error::process(what)(source),
    }
}

/// One write to the first of the files that is there.
fn write(proc: &Procfs, files: &[&str], text: &str) -> Result<(), Errno> {
    let own = proc.own()?;
    let mut open = files.iter().map(|file| proc.open(&format!("{own}/{file}"), OFlags::WRONLY));
    let file = open.find(|opened| !matches!(opened, Err(Errno::NOENT))).unwrap_or(Err(Errno::OPNOTSUPP))?;
    rustix::io::write(&file, text.as_bytes()).map(drop)
}

/// Checks `linux.mountLabel`, which is an empty one when there is none.
pub(crate) fn plan_mount_label(linux: &Linux) -> Result<Option<String>, Error> {
    match linux.mount_label().as_deref() {
        None | Some("") => Ok(None),
        Some(label) => check_text(label, "linux.mountLabel").map(|()| Some(label.to_owned())),
    }
}

/// Refuses a mount label on a host without SELinux.
pub(crate) fn check_mount_label(label: &str) -> Result<(), Error> {
    need_selinux(&format!("label the mounts {label:?}"), Path::new("/sys"))
}

/// The value of the option `context` that labels every file of a new file system, as fsconfig(2) takes it: there are no
/// commas to hide, and quotes would be taken for a part of the label. None for a type that takes no such option: a bind
/// mount's files have the labels of their own file system, and those of the kernel's own come from the policy.
pub(crate) fn mount_context<'a>(label: &'a str, fstype: &str) -> Option<&'a str> {
    const WITHOUT: [&str; 12] = [
        "bind",
        "none",
        "",
        "proc",
        "sysfs",
        "mqueue",
        "cgroup",
        "cgroup2",
        "securityfs",
        "selinuxfs",
        "debugfs",
        "tracefs",
    ];
    (!label.is_empty() && !WITHOUT.contains(&fstype)).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_child;

    fn of(apparmor: Option<&str>, selinux: Option<&str>) -> Result<Labels, Error> {
        let mut process = Process::default();
        process.set_apparmor_profile(apparmor.map(String::from));
        process.set_selinux_label(selinux.map(String::from));
        plan(&process)
    }

    #[test]
    fn labels_are_one_line() {
        assert_eq!(of(None, Some("")).unwrap(), Labels::default());
        let both = of(Some("docker-default"), Some("system_u:system_r:container_t:s0:c1,c2")).unwrap();
        assert_eq!(both.apparmor.as_deref(), Some("docker-default"));
        for bad in ["a\nb", "a\0", "a\"b", "a\x1b"] {
            assert!(of(Some(bad), None).unwrap_err().to_string().contains("apparmorProfile"), "{bad:?}");
            assert!(of(None, Some(bad)).unwrap_err().to_string().contains("selinuxLabel"), "{bad:?}");
        }
        let mut linux = Linux::default();
        linux.set_mount_label(Some("a\nb".into()));
        assert!(plan_mount_label(&linux).unwrap_err().to_string().contains("mountLabel"));
        linux.set_mount_label(Some(String::new()));
        assert_eq!(plan_mount_label(&linux).unwrap(), None);
    }

    #[test]
    fn a_host_without_the_module_is_named() {
        let sys = std::env::temp_dir().join(format!("mycontainer-labels-{}", std::process::id()));
        let enabled = sys.join("module/apparmor/parameters/enabled");
        std::fs::create_dir_all(enabled.parent().unwrap()).unwrap();
        // A directory in its place is no selinuxfs.
        std::fs::create_dir_all(sys.join("fs/selinux")).unwrap();
        let apparmor = of(Some("web"), None).unwrap();
        for (content, is_there) in [(None, false), (Some("N\n"), false), (Some("Y\n"), true)] {
            if let Some(content) = content {
                std::fs::write(&enabled, content).unwrap();
            }
            let said = check_at(&apparmor, &sys).err().map(|e| e.to_string());
            assert_eq!(said.is_none(), is_there, "{content:?}: {said:?}");
            assert!(said.is_none_or(|said| said.contains("\"web\": this host has no AppArmor")));
        }
        let said = check_at(&of(None, Some("x_t")).unwrap(), &sys).unwrap_err().to_string();
        assert!(said.contains("\"x_t\" for SELinux: this host has no SELinux"), "{said}");
        check_at(&Labels::default(), Path::new("/nowhere")).unwrap();
        std::fs::remove_dir_all(&sys).unwrap();
    }

    #[test]
    fn which_file_systems_take_a_context() {
        for (label, fstype, expected) in [
            ("u:r:t:s0:c1,c2", "tmpfs", Some("u:r:t:s0:c1,c2")),
            ("l", "ext4", Some("l")),
            ("l", "devpts", Some("l")),
            ("l", "overlay", Some("l")),
            ("l", "proc", None),
            ("l", "sysfs", None),
            ("l", "mqueue", None),
            ("l", "cgroup2", None),
            ("l", "bind", None),
            ("", "tmpfs", None),
        ] {
            assert_eq!(mount_context(label, fstype), expected, "{fstype}");
        }
    }

    #[test]
    fn a_kernel_without_a_module_refuses_the_write() {
        if check_host(&of(Some("x"), None).unwrap()).is_ok() || need_selinux("", Path::new("/sys")).is_ok() {
            return;
        }
        for labels in [of(Some("no-such-profile"), None), of(None, Some("no_such_label"))] {
            in_child(|| {
                let error = apply(&labels.unwrap(), &Procfs::host().unwrap()).unwrap_err().to_string();
                assert!(error.contains("no-such-profile") || error.contains("no_such_label"), "{error}");
            });
        }
    }
}
