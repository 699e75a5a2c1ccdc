//! What a container does not see of the host when the host's own `/` is its root.
//!
//! A view of the host is for its programs, not for its secrets. /proc, /sys and /dev are the container's own anyway.
//! Beyond them:
//! - [`EMPTIED`] directories are empty, and the container may write there;
//! - of [`SHOWN_ONLY`] directories just the named entries are shown: what else is in `/`, /var or /var/lib belongs to a
//!   service or to somebody, and no list could name it all;
//! - [`HIDDEN`] files and directories, keys and passwords in places that are otherwise shown, cannot be read;
//! - home directories that /etc/passwd puts elsewhere cannot be read either;
//! - /etc/shadow and /etc/gshadow are shown with every password locked, because packages that are installed inside want to
//!   add users;
//! - of the host's other mounts only whole file systems are shown, not binds, which may lead to what is hidden.
//!
//! What is left can be read: /etc, /opt and /usr as they are. Nothing can be changed on the host.

use crate::error::Error;
use crate::overlay::{Layer, copy_attributes};
use runtime::Tree;
use rustix::fs::{CWD, FileType, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Directories that are empty and writable in the container, with their modes.
pub const EMPTIED: &[(&str, &str)] =
    &[("/home", "755"), ("/root", "700"), ("/run", "755"), ("/tmp", "1777"), ("/var/tmp", "1777")];

/// Directories of which only these entries are shown.
pub const SHOWN_ONLY: &[(&str, &[&str])] = &[
    (
        "/",
        &[
            "bin", "dev", "etc", "gnu", "home", "lib", "lib32", "lib64", "libx32", "nix", "opt", "proc", "root", "run",
            "sbin", "sys", "tmp", "usr", "var",
        ],
    ),
    ("/var", &["cache", "lib", "lock", "run", "tmp"]),
    (
        "/var/lib",
        &[
            "alternatives",
            "apk",
            "apt",
            "aspell",
            "dictionaries-common",
            "dnf",
            "dpkg",
            "emacsen-common",
            "gems",
            "ghc",
            "ispell",
            "misc",
            "pacman",
            "pam",
            "python",
            "python3",
            "rpm",
            "sgml-base",
            "texmf",
            "ucf",
            "vim",
            "xml-core",
        ],
    ),
];

/// Files and directories that cannot be read in the container.
pub const HIDDEN: &[&str] = &[
    "/etc/.git",
    "/etc/NetworkManager",
    "/etc/apache2/ssl",
    "/etc/apt/auth.conf",
    "/etc/apt/auth.conf.d",
    "/etc/bacula",
    "/etc/bind",
    "/etc/ceph",
    "/etc/chef",
    "/etc/cifs-credentials",
    "/etc/cloudflared",
    "/etc/consul.d",
    "/etc/containers/auth.json",
    "/etc/corosync",
    "/etc/credstore",
    "/etc/credstore.encrypted",
    "/etc/crypttab",
    "/etc/cryptsetup-keys.d",
    "/etc/cups",
    "/etc/davfs2",
    "/etc/dbconfig-common",
    "/etc/dkimkeys",
    "/etc/docker",
    "/etc/dovecot",
    "/etc/exim4",
    "/etc/freeradius",
    "/etc/gitlab",
    "/etc/gitlab-runner",
    "/etc/grafana",
    "/etc/gshadow-",
    "/etc/ipsec.d",
    "/etc/ipsec.secrets",
    "/etc/iscsi",
    "/etc/krb5.keytab",
    "/etc/kubernetes",
    "/etc/ldap.secret",
    "/etc/letsencrypt",
    "/etc/msmtprc",
    "/etc/munge",
    "/etc/mysql",
    "/etc/nebula",
    "/etc/netplan",
    "/etc/network",
    "/etc/nginx/ssl",
    "/etc/nomad.d",
    "/etc/npmrc",
    "/etc/nslcd.conf",
    "/etc/opendkim",
    "/etc/openvpn",
    "/etc/pacemaker",
    "/etc/pam_ldap.secret",
    "/etc/phpmyadmin",
    "/etc/pip.conf",
    "/etc/pki/tls/private",
    "/etc/postfix",
    "/etc/postgresql",
    "/etc/powerdns",
    "/etc/ppp",
    "/etc/puppetlabs",
    "/etc/rabbitmq",
    "/etc/rancher",
    "/etc/redis",
    "/etc/salt",
    "/etc/samba",
    "/etc/security/opasswd",
    "/etc/shadow-",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/sssd",
    "/etc/stunnel",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/swanctl",
    "/etc/tinc",
    "/etc/ubuntu-advantage",
    "/etc/vault.d",
    "/etc/wireguard",
    "/etc/wpa_supplicant",
    "/etc/zabbix",
    "/usr/local/etc",
    "/var/cache/debconf/passwords.dat",
    "/var/cache/locate",
];

/// File systems with something on them that a view of the host should show; the rest are the kernel's own.
const SHOWN_FILESYSTEMS: &[&str] = &[
    "bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nfs", "nfs4", "overlay", "squashfs",
    "virtiofs", "xfs", "zfs",
];

/// Homes outside of the usual places, from the host's /etc/passwd.
fn other_homes() -> BTreeSet<PathBuf> {
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

/// Everything that is hidden on this host: by name, by not being named, and homes elsewhere.
pub(crate) fn hidden() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = HIDDEN.iter().map(PathBuf::from).collect();
    for (dir, shown) in SHOWN_ONLY {
        let others =
            crate::state::file_names(Path::new(dir)).into_iter().filter(|name| !shown.iter().any(|s| name == *s));
        let others = others.map(|name| Path::new(dir).join(name));
        // A link leads to something that is shown, or is hidden itself.
        paths.extend(others.filter(|path| {
            rustix::fs::lstat(path).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) != FileType::Symlink)
        }));
    }
    paths.extend(other_homes());
    paths
}

fn is_out_of_view(path: &Path) -> bool {
    let is_unnamed = |(dir, shown): &(&str, &[&str])| {
        let first = path.strip_prefix(dir).ok().and_then(|rest| rest.components().next());
        first.is_some_and(|first| !shown.iter().any(|name| first.as_os_str() == *name))
    };
    is_emptied(path) || HIDDEN.iter().any(|hidden| path.starts_with(hidden)) || SHOWN_ONLY.iter().any(is_unnamed)
}

/// The host's other file systems (a /usr or /var of its own), each under an overlay as the root is.
pub(crate) fn other_filesystems(layer: &Layer) -> Result<Vec<Tree>, Error> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut trees = Vec::new();
    for (n, path) in mount_points(&table).into_iter().enumerate() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // A file that is mounted (as tools do with /etc/resolv.conf) has nothing below it to show.
        let Ok(lower) = rustix::fs::openat(CWD, &path, flags, Mode::empty()) else { continue };
        let part = format!("{n}-");
        if path == Path::new("/etc") {
            lock_passwords(layer, &format!("{part}upper"), "")?;
        }
        let mount = layer.over(std::slice::from_ref(&lower), &path, &part)?;
        trees.push(Tree { path, mount });
    }
    Ok(trees)
}

/// The view for an ordinary user: a directory of the container's own with the entries of `/` that are shown, and over each
/// of them that is a directory an overlay of its own.
///
/// One overlay over all of `/` cannot be: what root has mounted somewhere below covers what is under it, and an ordinary user
/// may not look at a mount without those that are on it (mount_namespaces(7), "locked"). A directory with such a
/// mount in it is shown with it, and cannot be written to.
pub(crate) fn piece_by_piece(layer: &Layer) -> Result<(OwnedFd, Vec<Tree>), Error> {
    let made = |errno| Error::file("make the container's root in", layer.path())(errno);
    let root = layer.subdirectory("root").map_err(made)?;
    let mut trees = Vec::new();
    let shown = SHOWN_ONLY.iter().find(|(dir, _)| *dir == "/").map_or(&[][..], |(_, names)| names);
    for name in shown {
        let path = Path::new("/").join(name);
        let Ok(stat) = rustix::fs::lstat(&path) else { continue };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlink(&path, Vec::new()).map_err(Error::file("read", &path))?;
                rustix::fs::symlinkat(target.as_c_str(), &root, *name).map_err(made)?;
            }
            FileType::Directory => {
                rustix::fs::mkdirat(&root, *name, Mode::from_raw_mode(0o755)).map_err(made)?;
                if !is_emptied(&path) && !["proc", "sys", "dev"].contains(name) {
                    trees.push(Tree { mount: piece(layer, &path, name)?, path });
                }
            }
            _ => {}
        }
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok((open_tree(&root, c"", flags | OpenTreeFlags::AT_EMPTY_PATH).map_err(made)?, trees))
}

fn piece(layer: &Layer, path: &Path, name: &str) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lower = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(Error::file("open", path))?;
    match layer.over(&[lower], path, &format!("{name}-")) {
        Err(Error::Overlay { source: Errno::INVAL, .. }) => {}
        done => return done,
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let mount = open_tree(CWD, path, flags).map_err(Error::file("show", path))?;
    let readonly = sys::mount::Attributes { set: sys::mount::RDONLY, ..Default::default() };
    let sealed = sys::mount::set_attributes(mount.as_fd(), c"", true, readonly);
    sealed.map_err(|source| Error::File { what: "show", path: path.to_owned(), source })?;
    Ok(mount)
}

/// Mount points of a mountinfo table that a view of the host shows. [proc_pid_mountinfo(5)]
fn mount_points(table: &str) -> Vec<PathBuf> {
    let mut points: Vec<PathBuf> = Vec::new();
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mut fields = left.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else { continue };
        let Some(fstype) = right.split(' ').next() else { continue };
        let path = unescape(point);
        // A bind of a part of a file system. Subvolumes of btrfs look the same, and are named so by custom.
        if root != "/" && !(fstype == "btrfs" && root.starts_with("/@")) {
            continue;
        }
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

/// Puts versions of /etc/shadow and /etc/gshadow with every password locked into a directory of the container's layer:
/// into `upper`, which will lie over `/`, with `below` being `etc`, or over /etc itself.
pub(crate) fn lock_passwords(layer: &Layer, upper: &str, below: &str) -> Result<(), Error> {
    let lock = || -> Result<(), Errno> {
        let mut etc = layer.subdirectory(upper)?;
        if !below.is_empty() {
            rustix::fs::mkdirat(&etc, below, Mode::from_raw_mode(0o755))?;
            let like = rustix::fs::openat(CWD, c"/etc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            copy_attributes(&like, &etc, below)?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            etc = rustix::fs::openat(&etc, below, flags, Mode::empty())?;
        }
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
            25 21 8:4 / /opt/a\\040disk rw shared:1 - xfs /dev/sdb rw\n\
            30 21 8:7 / /data rw - xfs /dev/sdd rw\n\
            26 21 8:5 / /boot/efi rw - ext4 /dev/sdc rw\n\
            27 21 8:6 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw\n\
            28 21 8:1 /root /opt/secret rw - ext4 /dev/sda1 rw\n\
            29 21 0:30 /@var /var rw - btrfs /dev/sda1 rw\n\
            garbage\n";
        let expected = ["/opt/a disk", "/usr", "/var"].map(PathBuf::from);
        assert_eq!(mount_points(table), expected);
    }

    #[test]
    fn no_password_is_left() {
        let text = "root:$y$j9T$abc:19000:0:99999:7:::\nann:!:1::::::\nplain\n";
        assert_eq!(without_passwords(text), "root:*:19000:0:99999:7:::\nann:*:1::::::\nplain\n");
    }
}
