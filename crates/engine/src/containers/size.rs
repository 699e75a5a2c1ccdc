//! How much a container has written, for `ps --size`.
//!
//! Its programs may change the directories while these are walked: so no name is followed but by the descriptor of the
//! directory that it is in, and never a link. As with Docker it is what the files say that they are long, each file once,
//! and directories nothing.

use super::list::Listed;
use crate::images;
use crate::state::{self, Id};
use image::Images;
use registry::Digest;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

/// What a container takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes of the files that it has written.
    pub written: u64,
    /// Bytes of the image that it is made of, if it is made of one that is here.
    pub image: Option<u64>,
}

/// The sizes of these containers. What cannot be read counts nothing.
pub fn sizes(listed: &[Listed]) -> Vec<Size> {
    let store = if listed.iter().any(|one| one.manifest.is_some()) { images::store().ok() } else { None };
    let size = |one: &Listed| Size {
        written: Id::from_file_name(one.id.as_bytes()).map_or(0, |id| written(&id)),
        image: one.manifest.as_deref().and_then(|manifest| of_image(store.as_ref()?, manifest)),
    };
    listed.iter().map(size).collect()
}

fn of_image(images: &Images, manifest: &str) -> Option<u64> {
    let image = images.of_manifest(&Digest::parse(manifest).ok()?).ok()?;
    Some(images::size(images, &image))
}

/// Of all its layers: one that shows the host has one for each file system.
fn written(id: &Id) -> u64 {
    let Some(layer) = open(CWD, state::layer_path(id)).and_then(|dir| Dir::new(dir).ok()) else { return 0 };
    let names: Vec<_> = layer.flatten().map(|entry| entry.file_name().to_owned()).collect();
    let mut seen = BTreeSet::new();
    let uppers = names.iter().filter(|name| name.to_bytes().ends_with(b"upper"));
    uppers
        .filter_map(|name| open(CWD, state::layer_path(id).join(name.to_str().ok()?)))
        .map(|dir| below(dir, &mut seen))
        .sum()
}

fn open(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty()).ok()
}

/// Bytes of the files below a directory, but for those that were `seen`.
fn below(dir: OwnedFd, seen: &mut BTreeSet<(u64, u64)>) -> u64 {
    let mut bytes: u64 = 0;
    // One descriptor a level: of a tree deeper than there may be of them the rest counts nothing.
    let mut open_ones: Vec<Dir> = Dir::new(dir).into_iter().collect();
    while let Some(dir) = open_ones.last_mut() {
        let Some(Ok(entry)) = dir.read() else {
            open_ones.pop();
            continue;
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(fd) = dir.fd() else { continue };
        let Ok(stat) = statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let is_new = stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino));
            bytes = bytes.saturating_add(if is_new { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 });
            continue;
        }
        // Another one may be there by now; but not one on another file system, as a mount would be.
        let inner = open(fd, name).filter(|inner| fstat(inner).is_ok_and(|inner| inner.st_dev == stat.st_dev));
        open_ones.extend(inner.and_then(|inner| Dir::new(inner).ok()));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn each_file_counts_once_and_no_link_is_followed() {
        let dir = std::env::temp_dir().join(format!("mycontainer-size-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("a/b/c")).unwrap();
        std::fs::write(dir.join("a/b/c/file"), [0; 1000]).unwrap();
        std::fs::hard_link(dir.join("a/b/c/file"), dir.join("again")).unwrap();
        std::fs::write(dir.join("a/other"), [0; 30]).unwrap();
        symlink("/usr", dir.join("dir")).unwrap();
        symlink("/etc/passwd", dir.join("a/link")).unwrap();
        let size = below(open(CWD, &dir).unwrap(), &mut BTreeSet::new());
        std::fs::remove_dir_all(&dir).unwrap();
        // A link is as long as its text.
        assert_eq!(size, 1030 + 4 + 11);
    }
}
