//! Kernel parameters of the container's namespaces.

use crate::error::Error;
use crate::procfs::Procfs;
use rustix::fs::OFlags;
use rustix::io::Errno;
use step::step;

/// Parameters that belong to a namespace, by prefix or whole; everything else would change the host. [sysctl(7)]
const IPC: &[&str] = &["kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall"];
const IPC_MORE: &[&str] = &["kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"];

/// Writes each parameter through the container's own procfs.
pub(crate) fn set(proc: &Procfs, parameters: &[(String, String)]) -> Result<(), Error> {
    for (name, value) in parameters {
        let failed = |source| Error::Sysctl { name: name.clone(), value: value.clone(), source };
        step(
            "set-sysctl",
            "asked for by --sysctl",
            || format!("set {name} to {value}"),
            || {
                let file = proc.open(&format!("sys/{}", path_of(name)), OFlags::WRONLY)?;
                rustix::io::write(&file, value.as_bytes()).map(drop)
            },
        )
        .map_err(failed)?;
    }
    Ok(())
}

/// Refuses a parameter that is not the container's own: it would be the host's.
pub(crate) fn check(name: &str, own_network: bool, own_ipc: bool, own_uts: bool) -> Result<(), Error> {
    // `net/../kernel/x` has the prefix of one parameter and is another.
    if path_of(name).split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(Error::Invalid(format!("{name:?} is no name of a kernel parameter")));
    }
    let dotted = name.replace('/', ".");
    let (namespace, own) = match dotted.as_str() {
        n if n.starts_with("net.") => ("network", own_network),
        n if n.starts_with("fs.mqueue.") || IPC.contains(&n) || IPC_MORE.contains(&n) => ("ipc", own_ipc),
        "kernel.domainname" => ("uts", own_uts),
        _ => return Err(Error::Invalid(format!("the kernel parameter {name} is the host's, not the container's"))),
    };
    if own {
        return Ok(());
    }
    Err(Error::Invalid(format!("the kernel parameter {name} needs a {namespace} namespace of the container's own")))
}

/// `net.ipv4.ip_forward` and `net/ipv4/ip_forward` both name a file; with slashes, dots stay (`net/ipv4/conf/a.b/x`).
fn path_of(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { name.replace('.', "/") }
}

/// A procfs of the container's own namespaces that nobody else can reach: what a root mounts at /proc is not trusted.
pub(crate) fn private_proc() -> Result<Procfs, Error> {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
    let make = || -> Result<_, Errno> {
        let fs = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&fs)?;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    Procfs::verified(make().map_err(Error::Proc)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_a_namespace_may_be_set() {
        let cases = [
            ("net.ipv4.ip_forward", true),
            ("net/ipv4/ip_forward", true),
            ("kernel.shmmax", true),
            ("fs.mqueue.msg_max", true),
            ("kernel.domainname", true),
            ("kernel.panic", false),
            ("vm.swappiness", false),
            ("kernel.hostname", false),
            ("fs.file-max", false),
            ("net/../kernel/printk_delay", false),
            ("net/./ipv4/ip_forward", false),
            ("net..ipv4", false),
        ];
        for (name, allowed) in cases {
            assert_eq!(check(name, true, true, true).is_ok(), allowed, "{name}");
        }
        assert!(check("net.ipv4.ip_forward", false, true, true).is_err(), "the host's network");
    }

    #[test]
    fn both_spellings_name_the_same_file() {
        assert_eq!(path_of("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path_of("net/ipv4/conf/eth0.1/forwarding"), "net/ipv4/conf/eth0.1/forwarding");
    }
}
