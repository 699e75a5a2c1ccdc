//! Which ids a user may give to their containers.
//!
//! The administrator sets ranges of ids aside for a user in /etc/subuid and /etc/subgid, which two set-uid programs of the
//! system, newuidmap and newgidmap, read as well, and hold a map against. In the user namespace the user is 0, and
//! the ids of the ranges follow from 1 on. Without a range there is but one id: the user's own, which is root's inside.
//! [user_namespaces(7), subuid(5), newuidmap(1)]

use crate::user::{self, Account};
use runtime::IdMap;
use std::collections::BTreeSet;

/// The account of a user id, if it is in /etc/passwd. [passwd(5)]
pub(super) fn account(uid: u32) -> Option<Account> {
    user::account(&std::fs::read_to_string("/etc/passwd").ok()?, uid)
}

/// The maps of the namespace of a user: of user ids and of group ids.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Maps {
    pub(super) uid: Vec<IdMap>,
    pub(super) gid: Vec<IdMap>,
}

impl Maps {
    /// The user and the ranges that are set aside; none where there is no range for both kinds.
    pub(super) fn of(uid: u32, gid: u32) -> Option<Maps> {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let name = account(uid).map(|account| account.name).or_else(|| std::env::var("USER").ok());
        let of = |own, path| map(own, &ranges(&read(path), name.as_deref(), uid));
        Some(Maps { uid: of(uid, "/etc/subuid")?, gid: of(gid, "/etc/subgid")? })
    }

    /// The user alone.
    pub(super) fn single(uid: u32, gid: u32) -> Maps {
        let own = |host| vec![IdMap { container: 0, host, size: 1 }];
        Maps { uid: own(uid), gid: own(gid) }
    }
}

/// The ranges that are set aside for a name, of users and of groups alike.
pub(super) fn set_aside(name: &str) -> Vec<(u32, u32)> {
    let of = |path| ranges(&std::fs::read_to_string(path).unwrap_or_default(), Some(name), u32::MAX);
    let gids = of("/etc/subgid");
    of("/etc/subuid").into_iter().filter(|range| gids.contains(range)).collect()
}

/// The ranges that are set aside for anybody else, of users or of groups.
pub(super) fn all_set_aside_but(name: &str) -> Vec<(u32, u32)> {
    let texts = ["/etc/subuid", "/etc/subgid"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let lines = texts.iter().flat_map(|text| text.lines());
    let others = lines.filter_map(|line| line.split(':').next()).filter(|who| *who != name).collect::<BTreeSet<_>>();
    let of = |who: &&str| texts.iter().flat_map(|text| ranges(text, Some(who), u32::MAX)).collect::<Vec<_>>();
    others.iter().flat_map(of).collect()
}

/// The lines of a user, by name or by number: first id and how many. Which are no ranges are not taken, as by newuidmap.
fn ranges(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let line = |line: &str| {
        let [who, first, count] = line.split(':').map(str::trim).collect::<Vec<_>>()[..] else { return None };
        (Some(who) == name || who.parse() == Ok(uid)).then_some(())?;
        let (first, count): (u32, u32) = (first.parse().ok()?, count.parse().ok()?);
        (count > 0 && first.checked_add(count).is_some()).then_some((first, count))
    };
    text.lines().filter_map(line).collect()
}

/// Root is `own`; what is set aside follows. None without a range.
fn map(own: u32, ranges: &[(u32, u32)]) -> Option<Vec<IdMap>> {
    let mut maps = vec![IdMap { container: 0, host: own, size: 1 }];
    let mut next = 1u32;
    for &(host, size) in ranges {
        // The kernel takes no range twice, and no id at both ends of a map.
        let meets = |other: &IdMap| host < other.host + other.size && other.host < host + size;
        let Some(end) = next.checked_add(size).filter(|_| !maps.iter().any(meets)) else { continue };
        maps.push(IdMap { container: next, host, size });
        next = end;
    }
    (maps.len() > 1).then_some(maps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_a_users_by_name_and_by_number() {
        let text = "# a word\nroot:1:2\nann:100000:65536\n1000:300000:10\nann:x:5\nann:7\nann:9:0\nann:4294967295:5\nbob:1000:7\n";
        assert_eq!(ranges(text, Some("ann"), 1000), [(100_000, 65536), (300_000, 10)]);
        assert_eq!(ranges(text, None, 1000), [(300_000, 10)]);
        assert_eq!(ranges(text, Some("eve"), 1001), []);
    }

    #[test]
    fn root_is_the_user_and_ranges_follow() {
        let maps = map(1000, &[(100_000, 65536), (165_000, 5), (999, 3), (300_000, 10)]).unwrap();
        let told: Vec<_> = maps.iter().map(|m| (m.container, m.host, m.size)).collect();
        assert_eq!(told, [(0, 1000, 1), (1, 100_000, 65536), (65537, 300_000, 10)]);
        assert_eq!(map(1000, &[]), None);
        assert_eq!(map(1000, &[(1000, 1)]), None);
    }
}
