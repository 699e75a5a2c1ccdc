//! Which ids a new container gets.
//!
//! Those of `auto` are no other container's: what the others have stands in their records, which are read under a lock that
//! is held until the new one has its own. Nothing else is written down, so there is nothing that a killed command could
//! leave taken.

use super::maps::{Maps, Range};
use super::{AskedRange, UserMode, accounts, is_asked_for, joined, mounts};
use crate::containers;
use crate::created;
use crate::error::Error;
use crate::options::RunOptions;
use crate::rootfs::Meant;
use crate::rootless;
use crate::state;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use std::os::fd::OwnedFd;

/// What was chosen.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    /// None for a container without a user namespace of its own.
    pub(crate) maps: Option<Maps>,
    /// To be held until they are written down.
    pub(crate) held: Option<OwnedFd>,
}

/// How many ids `auto` gives at least: more where the image has more users, as Podman does.
const LEAST: u32 = 1024;
/// And how many where it is not known whose programs will be in it, in a pod, if they are root's to give: all that
/// programs of one system have ever used. A user has as many for all of their containers.
const OF_A_POD: u32 = 65536;

/// Where root's own come from if /etc/subuid sets none aside for `containers`: above what systemd gives to its services
/// and containers. [systemd, docs/UIDS-GIDS.md: "HIC SVNT LEONES" begins at 2147483648]
const UNCLAIMED: (u32, u32) = (0x7000_0000, 0x0fff_0000);
const SET_ASIDE_FOR: &str = "containers";

/// Finds out which ids a container shall have.
pub(crate) fn choose(options: &RunOptions, meant: &Meant) -> Result<Chosen, Error> {
    if !is_asked_for(options) {
        return Ok(Chosen::default());
    }
    if let UserMode::Container(other) = &options.userns {
        return Ok(Chosen { maps: containers::users_of(other)?.0, held: None });
    }
    let own = own()?;
    let mut held = None;
    let [uid, gid] = match options.userns {
        UserMode::Namespace(ref path) => joined::ranges(path)?,
        UserMode::Host | UserMode::Container(_) => asked(options, &own)?,
        UserMode::KeepId { uid, gid } => {
            let kept = |id: Option<u32>, own: &[Range]| keep(id.unwrap_or(outside_of_zero(own)), count(own));
            [kept(uid, &own[0]), kept(gid, &own[1])]
        }
        UserMode::NoMap => [&own[0], &own[1]].map(|own| vec![all_but_the_first(own)]),
        UserMode::Auto { size } => {
            let size = match size {
                Some(size) => size,
                None if matches!(meant, Meant::Empty) && !rootless::is_rootless() => OF_A_POD,
                None => accounts::needed(options, meant)?.max(LEAST),
            };
            held = Some(lock()?);
            let range = free(&pool(&own), &taken(), size).ok_or(Error::NoFreeIds { size })?;
            [vec![range], vec![range]]
        }
    };
    let mut maps = Maps { uid, gid, is_copied: rootless::is_rootless() };
    maps.is_copied = maps.is_copied || !mounts::can_map(state::data_dir(), &maps)?;
    Ok(Chosen { maps: Some(maps), held })
}

/// The ids that this process may give, users and groups.
pub(super) fn own() -> Result<[Vec<Range>; 2], Error> {
    Ok([own_of("/proc/self/uid_map")?, own_of("/proc/self/gid_map")?])
}

/// Those of one kind, as the kernel lists them: in its own user namespace, and outside of it.
fn own_of(path: &'static str) -> Result<Vec<Range>, Error> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| Error::File { what: "read", path: path.into(), source })?;
    let range = |line: &str| {
        let mut words = line.split_whitespace().map(|word| word.parse().ok());
        Some(Range { inside: words.next()??, outside: words.next()??, size: words.next()?? })
    };
    Ok(text.lines().filter_map(range).collect())
}

/// Who the user of this namespace is outside: user and group.
pub(super) fn own_ids() -> Result<(u32, u32), Error> {
    let [users, groups] = own()?;
    Ok((outside_of_zero(&users), outside_of_zero(&groups)))
}

fn count(own: &[Range]) -> u32 {
    own.iter().fold(0, |sum, range| range.size.saturating_add(sum))
}

/// Who root of this namespace is outside.
fn outside_of_zero(own: &[Range]) -> u32 {
    own.iter().find(|range| range.inside == 0).map_or(0, |range| range.outside)
}

/// `kept` is 0 outside, and everybody else there keeps their order.
fn keep(kept: u32, count: u32) -> Vec<Range> {
    let below = kept.min(count - 1);
    let ranges = [
        Range { inside: 0, outside: 1, size: below },
        Range { inside: kept, outside: 0, size: 1 },
        Range { inside: kept.saturating_add(1), outside: below + 1, size: count - 1 - below },
    ];
    ranges.into_iter().filter(|range| range.size > 0).collect()
}

fn all_but_the_first(own: &[Range]) -> Range {
    Range { inside: 0, outside: 1, size: count(own) - 1 }
}

/// `--uidmap` and `--gidmap`; where one of them is missing it is as the other.
fn asked(options: &RunOptions, own: &[Vec<Range>; 2]) -> Result<[Vec<Range>; 2], Error> {
    let or = |one: &[AskedRange], other: &[AskedRange]| if one.is_empty() { other.to_vec() } else { one.to_vec() };
    let uid = or(&options.uid_map, &options.gid_map);
    let gid = or(&options.gid_map, &options.uid_map);
    Ok([translated("--uidmap", &uid, &own[0])?, translated("--gidmap", &gid, &own[1])?])
}

fn translated(flag: &'static str, asked: &[AskedRange], own: &[Range]) -> Result<Vec<Range>, Error> {
    let wrong = |asked: &AskedRange, reason: &str| {
        Err(Error::BadValue { flag, value: asked.to_string(), reason: reason.to_owned() })
    };
    let mut ranges: Vec<Range> = Vec::new();
    for one in asked {
        let mut range = one.range;
        let among = |first: fn(&Range) -> u32| {
            let is_in = |own: &&Range| {
                let start = first(own);
                range.outside >= start
                    && range.outside - start <= own.size
                    && range.size <= own.size - (range.outside - start)
            };
            own.iter().find(is_in)
        };
        if one.of_host {
            let Some(found) = among(|own| own.outside) else { return wrong(one, "the host's ids in it are not yours") };
            range.outside = found.inside + (range.outside - found.outside);
        } else if among(|own| own.inside).is_none() && range.size > count(own).saturating_sub(range.outside) {
            return wrong(one, "there are not so many ids to give: `mycontainer info --check` shows how many");
        }
        let meet = |a: u32, b: u32, size: u32| a < b + size && b < a + range.size;
        let clash = |other: &Range| {
            meet(range.inside, other.inside, other.size) || meet(range.outside, other.outside, other.size)
        };
        if ranges.iter().any(clash) {
            return wrong(one, "it overlaps another");
        }
        ranges.push(range);
    }
    Ok(ranges)
}

/// The ranges that `auto` takes from.
fn pool(own: &[Vec<Range>; 2]) -> Vec<(u32, u32)> {
    if rootless::is_rootless() {
        let [uid, gid] = own.each_ref().map(|own| all_but_the_first(own));
        return vec![(uid.outside, uid.size.min(gid.size))];
    }
    let set_aside = rootless::set_aside(SET_ASIDE_FOR);
    if set_aside.is_empty() { vec![UNCLAIMED] } else { set_aside }
}

/// What containers have, and what is set aside for the users of this host.
fn taken() -> Vec<(u32, u32)> {
    let created = created::all().into_iter().filter_map(|(_, facts)| facts.ok());
    let passing = state::all().into_iter().filter_map(|id| state::facts(&id));
    let maps = created.chain(passing).filter_map(|facts| facts.maps);
    let ranges = maps.flat_map(|maps| maps.uid.into_iter().chain(maps.gid));
    let mut taken: Vec<(u32, u32)> = ranges.map(|range| (range.outside, range.size)).collect();
    if !rootless::is_rootless() {
        taken.extend(rootless::all_set_aside_but(SET_ASIDE_FOR));
    }
    taken
}

/// The first free range in the pool.
fn free(pool: &[(u32, u32)], taken: &[(u32, u32)], size: u32) -> Option<Range> {
    let mut taken = taken.to_vec();
    taken.sort_unstable();
    pool.iter().find_map(|&(first, count)| {
        let end = first.checked_add(count)?;
        let mut start = first;
        for &(other, many) in &taken {
            if other.saturating_add(many) > start && other < start.checked_add(size)? {
                start = other.saturating_add(many);
            }
        }
        (start.checked_add(size)? <= end).then_some(Range { inside: 0, outside: start, size })
    })
}

fn lock() -> Result<OwnedFd, Error> {
    let path = state::run_dir().join("userns.lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = || {
        let lock = state::with_directory(state::run_dir(), || rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR))?;
        rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))?;
        Ok(lock)
    };
    lock().map_err(Error::file("lock", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(ranges: &[Range]) -> Vec<(u32, u32, u32)> {
        ranges.iter().map(|range| (range.inside, range.outside, range.size)).collect()
    }

    #[test]
    fn a_kept_id_is_zero_outside_and_the_others_follow() {
        assert_eq!(shown(&keep(1000, 65537)), [(0, 1, 1000), (1000, 0, 1), (1001, 1001, 64536)]);
        assert_eq!(shown(&keep(0, 10)), [(0, 0, 1), (1, 1, 9)]);
        assert_eq!(shown(&keep(100_000, 10)), [(0, 1, 9), (100_000, 0, 1)]);
        assert_eq!(shown(&keep(9, 10)), [(0, 1, 9), (9, 0, 1)]);
    }

    #[test]
    fn the_first_free_range_is_taken() {
        let pool = [(100, 50), (1000, 100)];
        let start = |taken: &[(u32, u32)], size| free(&pool, taken, size).map(|range| range.outside);
        assert_eq!(start(&[], 50), Some(100));
        assert_eq!(start(&[], 51), Some(1000));
        assert_eq!(start(&[], 101), None);
        assert_eq!(start(&[(90, 11)], 10), Some(101));
        assert_eq!(start(&[(130, 5), (100, 10)], 20), Some(110));
        assert_eq!(start(&[(130, 5), (100, 10)], 21), Some(1000));
        assert_eq!(start(&[(100, 50), (0, u32::MAX)], 1), None);
        assert_eq!(start(&[(100, 10), (102, 3), (110, 1)], 5), Some(111));
    }

    #[test]
    fn ranges_are_of_those_that_one_has() {
        let own = [Range { inside: 0, outside: 1000, size: 1 }, Range { inside: 1, outside: 100_000, size: 65536 }];
        let of = |asked: &[&str]| {
            let asked: Vec<_> = asked.iter().map(|text| AskedRange::parse(text).unwrap()).collect();
            translated("--uidmap", &asked, &own).map(|ranges| shown(&ranges))
        };
        assert_eq!(of(&["0:1:65536"]).unwrap(), [(0, 1, 65536)]);
        assert_eq!(of(&["0:0:65537"]).unwrap(), [(0, 0, 65537)]);
        assert_eq!(of(&["0:@100000:10", "10:@1000"]).unwrap(), [(0, 1, 10), (10, 0, 1)]);
        for wrong in [&["0:2:65536"][..], &["0:@1001"], &["0:@165536:1"], &["0:1:5", "4:10:5"], &["0:1:5", "9:5:5"]] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }
}
