//! A root with other owners, where a mount cannot map them: a copy, made once for each tree and each map.
//!
//! It lies among the unpacked archives, by a name made of both, and goes with them when nobody uses it. What belongs to
//! somebody whom the map leaves out belongs to the container's root in the copy, and is neither set-uid nor set-gid.

use super::Maps;
use crate::error::Error;
use crate::state::data_dir;
use image::archive::{Met, each_entry};
use image::{Inserter, Links, Store, Unpacked};
use rustix::fs::{AtFlags, Gid, Mode, Uid, chownat, fchmod, fstat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use step::step;

/// The copy of a tree with the owners that a container has. `tree` says which it is, and what it is copied from is opened
/// by `open` if it has to be.
pub(crate) fn of(tree: &str, maps: &Maps, open: &dyn Fn() -> Result<OwnedFd, Error>) -> Result<Unpacked, Error> {
    let ranges = |ranges: &[super::Range]| {
        ranges.iter().map(|r| format!("{}:{}:{}", r.inside, r.outside, r.size)).collect::<Vec<_>>().join(",")
    };
    let name = format!("{tree} users {} groups {}", ranges(&maps.uid), ranges(&maps.gid));
    let name = registry::Descriptor::of("", name.as_bytes()).digest.hex().to_owned();
    let store = Store::open(data_dir())?;
    if let Some(kept) = store.tree(&name)? {
        return Ok(kept);
    }
    let top = open()?;
    let what = || format!("copy {tree} for the container's users");
    step("copy-owners", "no mount can map them here; it is done once", what, || {
        Ok(store.made(&name, &|to| {
            let mut inserter = Inserter::new(to, Links::Refused, None);
            let mut copy = |met: Met<'_>| match met {
                Met::Entry { mut entry, file, .. } => {
                    match maps.outside(entry.uid, entry.gid) {
                        Some(owner) => (entry.uid, entry.gid) = owner,
                        None => {
                            (entry.uid, entry.gid) = maps.outside(0, 0).unwrap_or_default();
                            entry.mode &= 0o1777;
                        }
                    }
                    inserter.add(&entry, file)
                }
                // A socket is of use to its maker only.
                Met::Left(_) => Ok(()),
            };
            each_entry(top.as_fd(), &mut copy)?;
            inserter.finish()?;
            dress_top(&top, to, maps).map_err(|source| image::Error::Keep { path: "the copy's top".into(), source })
        })?)
    })
}

/// The top itself is no entry.
fn dress_top(from: &OwnedFd, to: std::os::fd::BorrowedFd<'_>, maps: &Maps) -> Result<(), Errno> {
    let stat = fstat(from)?;
    let (uid, gid) = maps.outside(stat.st_uid, stat.st_gid).or(maps.outside(0, 0)).unwrap_or_default();
    chownat(to, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))
}
