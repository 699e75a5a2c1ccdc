//! The part of the tree of groups that an ordinary user may arrange. [cgroup-v2.rst, "Delegation"]
//!
//! Only on v2: v1 has no delegation that is safe. It comes from one of two:
//!
//! - The user's systemd, which is asked for a scope with `Delegate=`. Processes come into it through systemd, from
//!   wherever in the tree they are: it may ask the system's systemd, where the user may not.
//! - A group that belongs to the user, above this process or this process's own. The kernel lets a user move processes
//!   only where the user may write to the first group above both places, so this one must be above whoever starts
//!   containers. The highest is taken: the user's shells have it in common.
//!
//! The containers' groups are in the subtree, side by side. A group that hands controllers down may hold no process
//! itself, so what lives there is moved to a group beside them, [`TOOLS`].
//!
//! What is left on the host: a scope goes with its last process, and the groups in it; systemd sees to that. In a group
//! of the user's [`TOOLS`] stays as long as processes are in it, and nothing is made there unless some must move.

use crate::dbus::Fault;
use crate::systemd::{self, Unit};
use crate::{Error, Host, file, location};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, accessat, lstat, mkdir};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The group for the processes of the subtree that are no container's.
const TOOLS: &str = "mycontainer.tools";
/// What it is from, as a person knows it.
const SYSTEMD: &str = "systemd";
/// The slice of the user's scopes.
const SLICE: &str = "user.slice";
/// How often processes are moved out of a group, which may be making others meanwhile.
const ATTEMPTS: usize = 100;

/// Such a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subtree {
    /// Below the root, without slashes around it; empty for the root that a cgroup namespace shows.
    path: String,
    /// Whose it is, when that is systemd.
    scope: Option<String>,
}

/// What a user could have here; nothing is made to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// `systemd`, or the group's directory.
    pub from: String,
    /// The controllers that come with it.
    pub controllers: Vec<String>,
    /// The group's directory.
    directory: String,
}

impl Offer {
    /// Whether it comes from the user's systemd.
    pub fn is_systemds(&self) -> bool {
        self.from == SYSTEMD
    }

    /// What root does so that these controllers come with it, too.
    pub fn remedy(&self, controllers: &[&str]) -> String {
        let above = std::path::Path::new(&self.directory);
        crate::error::hand_down(above, controllers, above.parent().unwrap_or(above))
    }
}

impl Subtree {
    /// What there is for this process's user, made if that must be. `keeper` is a process of the user's that keeps a scope
    /// alive while no container runs.
    ///
    /// # Errors
    /// [`Error::NotDelegated`] with what systemd said, when there is neither.
    pub fn find(host: &Host, keeper: i32) -> Result<Self, Error> {
        let root = root_of(host)?;
        match Self::of_systemd(root, keeper) {
            Ok(subtree) => Ok(subtree),
            Err(refused) => above_us(root)?
                .map(|path| Self { path, scope: None })
                .ok_or_else(|| Error::NotDelegated { why: refused.to_string() }),
        }
    }

    /// What [`Subtree::find`] would find.
    ///
    /// # Errors
    /// As of that one.
    pub fn offer(host: &Host) -> Result<Offer, Error> {
        let root = root_of(host)?;
        let offer = |from: Option<&str>, path: &str| -> Result<Offer, Error> {
            let directory = directory(root, path);
            let controllers = file::read(&format!("{directory}/cgroup.controllers"))?;
            let controllers = controllers.split_whitespace().map(str::to_owned).collect();
            Ok(Offer { from: from.unwrap_or(&directory).to_owned(), controllers, directory })
        };
        let refused = match systemd::group_of_user() {
            Ok(path) => return offer(Some(SYSTEMD), &path),
            Err(error) => error,
        };
        match above_us(root)? {
            Some(path) => offer(None, &path),
            None => Err(Error::NotDelegated { why: refused.to_string() }),
        }
    }

    fn of_systemd(root: &str, keeper: i32) -> Result<Self, Error> {
        let scope = format!("mycontainer-{keeper}.scope");
        let unit = unit(&scope)?;
        match unit.start(keeper, Vec::new(), true) {
            Ok(()) => {}
            // Of a command that was killed before it could write down what it had found.
            Err(Error::Unit { name, .. }) if name.ends_with(".UnitExists") => {}
            Err(error) => return Err(error),
        }
        let path = unit.path(|path| is_there(root, path))?;
        let subtree = Self { path, scope: Some(scope) };
        match is_ours(&directory(root, &subtree.path)) {
            true => Ok(subtree),
            false => {
                let _ = unit.stop();
                Err(Error::NotDelegated { why: format!("systemd keeps the group {} for itself", subtree.path) })
            }
        }
    }

    /// Where the group `inside` of the subtree is, which may be a path.
    pub fn location(&self, inside: &str) -> Result<location::Location, Error> {
        let inside = location::normal(inside)?;
        Ok(location::Location::Path(location::normal(&format!("{}/{inside}", self.path))?))
    }

    /// False when it is gone, or no longer the user's.
    pub fn is_there(&self, host: &Host) -> bool {
        location::is_below_root(&self.path)
            && host.v2.as_ref().is_some_and(|root| is_ours(&directory(root, &self.path)))
    }

    /// Prepares for containers to be started in it by this process, which for that may have to move into it.
    ///
    /// # Errors
    /// When it may not, or systemd does not do it.
    pub fn enter(&self, host: &Host) -> Result<(), Error> {
        let root = root_of(host)?;
        self.clear(root)?;
        let own = own_group()?;
        if is_below(&own, &self.path) {
            return Ok(());
        }
        let common = directory(root, &common(&own, &self.path));
        let is_movable = may_write(&format!("{common}/cgroup.procs"));
        match &self.scope {
            None if is_movable => Ok(()),
            None => Err(Error::Outside { own, path: self.path.clone() }),
            // A terminal's scope may be stopped with the terminal, and what lives in it.
            Some(_) if is_movable => move_to(&self.tools(root)?, "0"),
            Some(scope) => {
                self.tools(root)?;
                unit(scope)?.attach(TOOLS)
            }
        }
    }

    /// Moves what lives in the group itself out of it.
    fn clear(&self, root: &str) -> Result<(), Error> {
        let own = directory(root, &self.path);
        for _ in 0..ATTEMPTS {
            let pids = file::read(&format!("{own}/cgroup.procs"))?;
            if pids.trim().is_empty() {
                return Ok(());
            }
            let tools = self.tools(root)?;
            // Which are listed as 0 are outside of our pid namespace, where nobody of ours is.
            pids.lines().filter(|pid| *pid != "0").try_for_each(|pid| move_to(&tools, pid))?;
        }
        Err(Error::Join { path: own.into(), source: Errno::AGAIN })
    }

    /// The group for what is no container, made if it is missing.
    fn tools(&self, root: &str) -> Result<String, Error> {
        let path = format!("{}/{TOOLS}", directory(root, &self.path));
        match mkdir(&path, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(path),
            Err(source) => Err(Error::Make { path: path.into(), source }),
        }
    }
}

fn root_of(host: &Host) -> Result<&str, Error> {
    let only_v2 = || Error::NotDelegated { why: "this host has cgroup v1, where only root can make groups".into() };
    host.v2.as_deref().ok_or_else(only_v2)
}

fn unit(scope: &str) -> Result<Unit, Error> {
    Unit::new(SLICE, scope, true, &[])
}

fn directory(root: &str, path: &str) -> String {
    if path.is_empty() { root.to_owned() } else { format!("{root}/{path}") }
}

fn is_there(root: &str, path: &str) -> bool {
    std::path::Path::new(&directory(root, path)).is_dir()
}

/// One that has ended meanwhile need not be moved.
fn move_to(group: &str, pid: &str) -> Result<(), Error> {
    match file::write(&format!("{group}/cgroup.procs"), pid) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(source) => Err(Error::Join { path: group.into(), source }),
    }
}

/// This process's group on v2, without a slash in front. [cgroups(7): `0::PATH`]
fn own_group() -> Result<String, Error> {
    let listed = file::read("/proc/self/cgroup")?;
    let path = listed.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    Ok(path.trim_end_matches('/').to_owned())
}

/// The highest group that is ours, from the root to our own.
fn above_us(root: &str) -> Result<Option<String>, Error> {
    let own = own_group()?;
    // What lies above the root of our cgroup namespace cannot be reached by its name.
    if !location::is_below_root(&own) {
        return Ok(None);
    }
    Ok(ancestors(&own).into_iter().find(|path| is_ours(&directory(root, path))).map(str::to_owned))
}

/// `a/b` is the root, `a` and `a/b`.
fn ancestors(path: &str) -> Vec<&str> {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let mut all = vec![""];
    all.extend(ends.map(|end| &path[..end]).filter(|path| !path.is_empty()));
    all
}

fn is_below(path: &str, above: &str) -> bool {
    ancestors(path).contains(&above)
}

/// The first group above both, or one of them.
fn common(one: &str, other: &str) -> String {
    let others = ancestors(other);
    ancestors(one).into_iter().rfind(|path| others.contains(path)).unwrap_or_default().to_owned()
}

/// A group that belongs to this process's user, with the files that whoever it is delegated to can write. That of
/// another is not touched, whatever its mode permits.
fn is_ours(dir: &str) -> bool {
    let is_own = lstat(dir).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            && stat.st_uid == rustix::process::geteuid().as_raw()
    });
    let files = ["cgroup.procs", "cgroup.subtree_control"];
    is_own && may_write(dir) && files.iter().all(|name| may_write(&format!("{dir}/{name}")))
}

fn may_write(path: &str) -> bool {
    accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// A refusal by name: which it was matters to who asked.
pub(crate) fn name_of(fault: &Fault) -> String {
    match fault {
        Fault::Refused { name, .. } => name.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_group_above_both_decides() {
        for (one, other, expected) in [
            ("a/b/c", "a/b/d", "a/b"),
            ("a/b", "a/b/d", "a/b"),
            ("a/bc", "a/b", "a"),
            ("a", "b", ""),
            ("", "a/b", ""),
            ("a/b", "a/b", "a/b"),
        ] {
            assert_eq!(common(one, other), expected, "{one} {other}");
        }
        assert_eq!(ancestors(""), [""]);
        assert_eq!(ancestors("a/b/c"), ["", "a", "a/b", "a/b/c"]);
        assert!(is_below("a/b", "a") && is_below("a", "a") && is_below("a", "") && !is_below("ab", "a"));
    }

    #[test]
    fn containers_are_below_the_subtree_and_nowhere_else() {
        let subtree = |path: &str| Subtree { path: path.into(), scope: None };
        for (path, inside, expected) in [
            ("a/b", "c", Some("a/b/c")),
            ("", "c", Some("c")),
            ("a", "/web//c", Some("a/web/c")),
            ("a", "../c", None),
            ("a/../..", "c", None),
            ("a", "", None),
        ] {
            let found = subtree(path).location(inside).ok();
            assert_eq!(found, expected.map(|path| location::Location::Path(path.into())), "{path} {inside}");
        }
    }
}
