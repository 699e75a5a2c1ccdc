//! What a container does not see of the host when the host's own `/` is its root.
//!
//! A view of the host is for its programs, not for its secrets. /proc, /sys and /dev are the container's own anyway.
//! Beyond them, homes, sockets, keys, and what other services keep are hidden: [`EMPTIED`] become empty directories
//! that the container may write to, [`HIDDEN`] cannot be read at all. Home directories that /etc/passwd puts elsewhere
//! are hidden as well. /etc/shadow and /etc/gshadow are shown with every password locked, because packages that are
//! installed inside want to add users.

use crate::error::Error;
use crate::overlay::{Layer, copy_attributes};
use runtime::Tree;
use rustix::fs::{CWD, FileType, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Directories that are empty and writable in the container, with their modes.
pub const EMPTIED: &[(&str, &str)] =
    &[("/home", "755"), ("/root", "700"), ("/run", "755"), ("/tmp", "1777"), ("/var/tmp", "1777")];

/// Files and directories that cannot be read in the container.
pub const HIDDEN: &[&str] = &[
    // Keys and passwords.
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/security/opasswd",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/pki/tls/private",
    "/etc/letsencrypt",
    "/etc/wireguard",
    "/etc/openvpn",
    "/etc/ipsec.secrets",
    "/etc/ipsec.d",
    "/etc/swanctl",
    "/etc/ppp",
    "/etc/NetworkManager/system-connections",
    "/etc/wpa_supplicant",
    "/etc/krb5.keytab",
    "/etc/crypttab",
    "/etc/cryptsetup-keys.d",
    "/etc/credstore",
    "/etc/credstore.encrypted",
    "/etc/kubernetes",
    "/etc/rancher",
    "/etc/docker",
    "/etc/mysql/debian.cnf",
    "/etc/postfix/sasl_passwd",
    // What services keep.
    "/var/backups",
    "/var/cache/debconf/passwords.dat",
    "/var/crash",
    "/var/lib/AccountsService",
    "/var/lib/NetworkManager",
    "/var/lib/bluetooth",
    "/var/lib/cloud",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/etcd",
    "/var/lib/iwd",
    "/var/lib/kubelet",
    "/var/lib/libvirt",
    "/var/lib/lxc",
    "/var/lib/lxd",
    "/var/lib/mycontainer",
    "/var/lib/mysql",
    "/var/lib/postgresql",
    "/var/lib/private",
    "/var/lib/rancher",
    "/var/lib/redis",
    "/var/lib/samba",
    "/var/lib/sss",
    "/var/lib/systemd/credential.secret",
    "/var/lib/systemd/random-seed",
    "/var/lib/tpm2-tss",
    "/var/log",
    "/var/mail",
    "/var/snap",
    "/var/spool",
    // Other disks and the way to boot.
    "/boot",
    "/efi",
    "/lost+found",
    "/media",
    "/mnt",
    "/snap",
    "/srv",
    "/swap.img",
    "/swapfile",
];

/// File systems with something on them that a view of the host should show; the rest are the kernel's own.
const SHOWN_FILESYSTEMS: &[&str] = &[
    "bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nfs", "nfs4", "overlay", "squashfs",
    "virtiofs", "xfs", "zfs",
];

/// Homes outside of the usual places, from the host's /etc/passwd.
pub(crate) fn other_homes() -> BTreeSet<PathBuf> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    homes(&passwd).into_iter().filter(|home| !is_emptied(home) && home.is_dir()).collect()
}

fn homes(passwd: &str) -> BTreeSet<PathBuf> {
    let people = passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let uid: u32 = fields.get(2)?.parse().ok()?;
        let home = Path::new(fields.get(5)?);
        // Those of services (games in /usr/games, www-data in /var/www) are programs' places, not people's.
        let person = uid == 0 || (1000..65534).contains(&uid);
        (person && home.is_absolute() && home.components().count() > 1).then(|| home.components().collect())
    });
    people.collect()
}

fn is_emptied(path: &Path) -> bool {
    EMPTIED.iter().any(|(emptied, _)| path.starts_with(emptied))
}

fn is_out_of_view(path: &Path) -> bool {
    is_emptied(path) || HIDDEN.iter().any(|hidden| path.starts_with(hidden))
}

/// The host's other file systems (a /usr or /var of its own), each under an overlay as the root is.
pub(crate) fn other_filesystems(layer: &Layer) -> Result<Vec<Tree>, Error> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut trees = Vec::new();
    for (n, path) in mount_points(&table).into_iter().enumerate() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // A file that is mounted (as tools do with /etc/resolv.conf) has nothing below it to show.
        let Ok(lower) = rustix::fs::openat(CWD, &path, flags, Mode::empty()) else { continue };
        let mount = layer.over(&lower, &path, &format!("{n}-"))?;
        trees.push(Tree { path, mount });
    }
    Ok(trees)
}

/// Mount points of a mountinfo table that a view of the host shows. [proc_pid_mountinfo(5)]
fn mount_points(table: &str) -> Vec<PathBuf> {
    let mut points: Vec<PathBuf> = Vec::new();
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(fstype)) = (left.split(' ').nth(4), right.split(' ').next()) else { continue };
        let path = unescape(point);
        let own = ["/proc", "/sys", "/dev"].iter().any(|own| path.starts_with(own));
        if SHOWN_FILESYSTEMS.contains(&fstype) && path != Path::new("/") && !own && !is_out_of_view(&path) {
            points.retain(|known| *known != path);
            points.push(path);
        }
    }
    points.sort();
    points
}

/// The kernel writes blanks and backslashes of a path as three octal digits.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|d| *first == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        match octal {
            Some(digits) => {
                bytes.push(digits.iter().fold(0u8, |value, d| value.wrapping_mul(8).wrapping_add(d - b'0')));
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// Puts versions of /etc/shadow and /etc/gshadow with every password locked into the container's layer.
pub(crate) fn lock_passwords(layer: &Layer) -> Result<(), Error> {
    let lock = || -> Result<(), Errno> {
        let upper = layer.subdirectory("upper")?;
        rustix::fs::mkdirat(&upper, "etc", Mode::from_raw_mode(0o755))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let etc = rustix::fs::openat(&upper, "etc", flags, Mode::empty())?;
        let like = rustix::fs::openat(CWD, c"/etc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        copy_attributes(&like, &upper, "etc")?;
        ["shadow", "gshadow"].iter().try_for_each(|name| lock_file(&etc, name))
    };
    let what = || "put /etc/shadow and /etc/gshadow without passwords into the layer".into();
    step::step("lock-passwords", "the host's password hashes are not for a container", what, lock)
        .map_err(Error::file("write /etc/shadow for the container in", layer.path()))
}

fn lock_file(etc: &OwnedFd, name: &str) -> Result<(), Errno> {
    let path = Path::new("/etc").join(name);
    let (text, stat) = match (std::fs::read_to_string(&path), rustix::fs::lstat(&path)) {
        (Ok(text), Ok(stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => (text, stat),
        _ => return Ok(()),
    };
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(etc, name, flags, Mode::from_raw_mode(0o600))?;
    let locked = without_passwords(&text);
    let mut rest = locked.as_bytes();
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&file, rest)?..];
    }
    rustix::fs::fchown(&file, Some(Uid::from_raw(stat.st_uid)), Some(rustix::fs::Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o777))
}

fn without_passwords(text: &str) -> String {
    let lock = |line: &str| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if let Some(password) = fields.get_mut(1) {
            *password = "*";
        }
        fields.join(":") + "\n"
    };
    text.lines().map(lock).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_of_people_are_found_wherever_they_are() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\ngames:x:5:60::/usr/games:/bin/sh\n\
                      ann:x:1000:1000::/data/home/ann/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\nbad:line\n\
                      nobody:x:65534:65534::/nonexistent:/bin/false\n";
        let expected: BTreeSet<PathBuf> = ["/root".into(), "/data/home/ann".into()].into();
        assert_eq!(homes(passwd), expected);
    }

    #[test]
    fn only_disks_in_view_are_mounted() {
        let table = "\
            21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            22 21 0:20 / /proc rw - proc proc rw\n\
            23 21 8:2 / /usr ro - squashfs /dev/sda2 ro\n\
            24 21 8:3 / /home rw - ext4 /dev/sda3 rw\n\
            25 21 8:4 / /data\\040disk rw shared:1 - xfs /dev/sdb rw\n\
            26 21 8:5 / /boot/efi rw - ext4 /dev/sdc rw\n\
            27 21 8:6 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw\n\
            garbage\n";
        assert_eq!(mount_points(table), [PathBuf::from("/data disk"), PathBuf::from("/usr")]);
    }

    #[test]
    fn no_password_is_left() {
        let text = "root:$y$j9T$abc:19000:0:99999:7:::\nann:!:1::::::\nplain\n";
        assert_eq!(without_passwords(text), "root:*:19000:0:99999:7:::\nann:*:1::::::\nplain\n");
    }
}
