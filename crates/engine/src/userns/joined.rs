//! `--userns ns:PATH`: a user namespace that somebody has made, whose ids are as the kernel tells them.
//!
//! They are written down when the container is made, as those that we choose are, for its files are mapped by them. At each
//! start the namespace at the path must still have them.

use super::maps::{Maps, Range};
use crate::containers;
use crate::error::Error;
use std::os::fd::AsFd;
use std::path::Path;

/// The ids of the one at a path, of users and of groups. For a process of one thread.
pub(super) fn ranges(path: &Path) -> Result<[Vec<Range>; 2], Error> {
    let wrong = |reason: &str| Error::BadValue {
        flag: "--userns",
        value: format!("ns:{}", path.display()),
        reason: reason.to_owned(),
    };
    let namespace = containers::user_namespace_at(path)?;
    let name = |path: &Path| rustix::fs::stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino));
    if name(path) == name(Path::new("/proc/self/ns/user")) {
        return Err(wrong("this tool is in it: that is --userns host"));
    }
    let maps = runtime::maps_of_namespace(namespace.as_fd())?;
    let ranges = maps.map(|maps| {
        let range = |map: runtime::IdMap| Range { inside: map.container, outside: map.host, size: map.size };
        maps.into_iter().map(range).collect::<Vec<_>>()
    });
    let is_known = |range: &Range| {
        range.outside.checked_add(range.size).is_some() && range.inside.checked_add(range.size).is_some()
    };
    match &ranges {
        [users, groups] if users.is_empty() || groups.is_empty() => Err(wrong("nobody has given it ids")),
        [users, groups] if !users.iter().chain(groups).all(is_known) => Err(wrong("its ids are not yours")),
        _ => Ok(ranges),
    }
}

/// That it has the ids that it had when the container was made.
pub(crate) fn check(path: &Path, maps: Option<&Maps>) -> Result<(), Error> {
    let [uid, gid] = ranges(path)?;
    match maps {
        Some(maps) if maps.uid == uid && maps.gid == gid => Ok(()),
        _ => Err(Error::BadValue {
            flag: "--userns",
            value: format!("ns:{}", path.display()),
            reason: "it is another one than when the container was made, with other ids".into(),
        }),
    }
}
