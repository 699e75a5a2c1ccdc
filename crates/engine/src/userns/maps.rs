//! Which ids stand for which.

use crate::error::Error;
use crate::user::Identity;
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};
use serde::{Deserialize, Serialize};

/// A range of ids that follow one another on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    /// The first in the container.
    pub(crate) inside: u32,
    /// The first outside: as the tool has them, which for an ordinary user are those of the user's own namespace.
    pub(crate) outside: u32,
    /// How many.
    pub(crate) size: u32,
}

/// Those of a container, of users and of groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maps {
    /// Of users.
    pub(crate) uid: Vec<Range>,
    /// Of groups.
    pub(crate) gid: Vec<Range>,
    /// Its files have owners as they are outside: on this host they could not be mapped by a mount.
    #[serde(default)]
    pub(crate) is_copied: bool,
}

impl Maps {
    /// Who outside is this user and group of the container; none where one of them is nobody.
    pub(crate) fn outside(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        Some((outside(&self.uid, uid)?, outside(&self.gid, gid)?))
    }

    /// As whom the container sees this user and group. Whom it does not know it sees as nobody.
    /// [Documentation/admin-guide/sysctl/fs.rst, overflowuid]
    pub(crate) fn inside(&self, uid: u32, gid: u32) -> (u32, u32) {
        const NOBODY: u32 = 65534;
        (inside(&self.uid, uid).unwrap_or(NOBODY), inside(&self.gid, gid).unwrap_or(NOBODY))
    }

    /// As the configuration of a container has them.
    pub(crate) fn mappings(&self) -> [Vec<LinuxIdMapping>; 2] {
        [&self.uid, &self.gid].map(|ranges| ranges.iter().map(mapping).collect())
    }

    /// Those of the mounts that map its files' owners.
    pub(crate) fn of_mounts(&self) -> [Vec<Range>; 2] {
        [&self.uid, &self.gid].map(|ranges| {
            let is_there = ranges.iter().any(|range| range.outside == 0) || outside(ranges, MOUNTER.inside).is_some();
            ranges.iter().copied().chain((!is_there).then_some(MOUNTER)).collect()
        })
    }

    /// As [`Maps::of_mounts`], as the configuration of a container has them.
    pub(crate) fn mappings_of_mounts(&self) -> [Vec<LinuxIdMapping>; 2] {
        self.of_mounts().map(|ranges| ranges.iter().map(mapping).collect())
    }
}

/// That a program's user and groups are there, of which the kernel says no more than "invalid argument". Without maps of
/// the container's own they are those of this process.
pub(crate) fn check(identity: &Identity, maps: Option<&Maps>) -> Result<(), Error> {
    let own;
    let [users, groups] = match maps {
        Some(maps) => [&maps.uid, &maps.gid],
        None if !crate::rootless::is_rootless() => return Ok(()),
        None => {
            own = super::choose::own()?;
            own.each_ref()
        }
    };
    let look = |kind: &'static str, id: u32, ranges: &[Range]| match outside(ranges, id) {
        Some(_) => Ok(()),
        None => Err(Error::NotMapped { kind, id, ids: shown(ranges), is_containers: maps.is_some() }),
    };
    look("user", identity.uid, users)?;
    identity.groups.iter().chain([&identity.gid]).try_for_each(|group| look("group", *group, groups))
}

/// The ids of a namespace, for people: `0 to 65536`.
fn shown(ranges: &[Range]) -> String {
    let mut inside: Vec<(u64, u64)> =
        ranges.iter().map(|range| (range.inside.into(), u64::from(range.inside) + u64::from(range.size))).collect();
    inside.sort_unstable();
    // What goes on where another ends is one for people.
    inside.dedup_by(|next, before| {
        next.0 == before.1 && {
            before.1 = next.1;
            true
        }
    });
    let one = |&(first, end): &(u64, u64)| match end - 1 {
        last if last == first => first.to_string(),
        last => format!("{first} to {last}"),
    };
    inside.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Root of the host makes and removes files for a container: in the work directory of an overlay, and with `cp`. On a mount
/// where root has no number it could make none, so it has one that no container has, until the file has its owner.
const MOUNTER: Range = Range { inside: 4_294_967_000, outside: 0, size: 1 };

/// As [`Maps::inside`]; without maps everybody is who they are.
pub(crate) fn seen_by(maps: Option<&Maps>, uid: u32, gid: u32) -> (u32, u32) {
    maps.map_or((uid, gid), |maps| maps.inside(uid, gid))
}

fn mapping(range: &Range) -> LinuxIdMapping {
    let Range { inside, outside, size } = *range;
    LinuxIdMappingBuilder::default().container_id(inside).host_id(outside).size(size).build().unwrap_or_default()
}

fn outside(ranges: &[Range], id: u32) -> Option<u32> {
    let range = ranges.iter().find(|range| id >= range.inside && id - range.inside < range.size)?;
    Some(range.outside + (id - range.inside))
}

fn inside(ranges: &[Range], id: u32) -> Option<u32> {
    let range = ranges.iter().find(|range| id >= range.outside && id - range.outside < range.size)?;
    Some(range.inside + (id - range.outside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shown_as_people_count() {
        let range = |inside, size| Range { inside, outside: 9, size };
        assert_eq!(shown(&[range(1, 65536), range(0, 1)]), "0 to 65536");
        assert_eq!(shown(&[range(0, 1)]), "0");
        assert_eq!(shown(&[range(0, 10), range(12, 1), range(20, 4_294_967_275)]), "0 to 9, 12, 20 to 4294967294");
    }

    #[test]
    fn ids_are_found_on_both_sides() {
        let ranges = vec![Range { inside: 0, outside: 1, size: 1000 }, Range { inside: 1000, outside: 0, size: 1 }];
        let maps = Maps { gid: vec![Range { inside: 0, outside: 50, size: 10 }], uid: ranges, is_copied: false };
        assert_eq!(maps.outside(0, 9), Some((1, 59)));
        assert_eq!(maps.outside(1000, 0), Some((0, 50)));
        assert_eq!(maps.outside(1001, 0), None);
        assert_eq!(maps.outside(0, 10), None);
        assert_eq!(maps.inside(0, 59), (1000, 9));
        assert_eq!(maps.inside(1000, 49), (999, 65534));
    }
}
