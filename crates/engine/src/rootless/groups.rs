//! The part of the tree of control groups in which an ordinary user's containers have theirs.
//!
//! It is one for all containers of the user, found or made by the first command that starts one, and written down in
//! `groups` beside the holder's files: where a container's group is follows from that and its id. What is written means
//! something as long as the subtree is there. A group with processes cannot be removed, so where it is gone no container
//! runs in it, and another one is looked for. A command that is killed before it has written leaves a scope with the
//! holder in it, which the next command is refused and takes.
//!
//! Where there is none containers run all the same, in the group of whoever starts them, and limits are refused.

use super::{ENTERED, holder};
use crate::error::Error;
use cgroup::{Host, Location, Subtree};
use rustix::fs::{FlockOperation, ftruncate};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

/// Read once: as long as it is there it stays as it is.
static KNOWN: Mutex<Option<Subtree>> = Mutex::new(None);

const FILE: &str = "groups";

/// Where a group of the user's is that has this name; its parent is in the user's part of the tree, too. No group where
/// there is no such part as yet.
pub(crate) fn location(parent: Option<&str>, name: &str) -> Result<Location, Error> {
    let Some(subtree) = known() else { return Ok(Location::None) };
    let inside = match parent {
        None => name.to_owned(),
        Some(parent) => match Location::inside(parent, name).map_err(wrap)? {
            Location::Path(path) => path,
            Location::Systemd { .. } | Location::None => name.to_owned(),
        },
    };
    subtree.location(&inside).map_err(wrap)
}

/// Before a process is started in a container: finds or makes the user's part of the tree, and takes this process to where
/// it can reach it. Nothing for root.
///
/// # Errors
/// When there is none, or it cannot be reached from here.
pub(crate) fn enter() -> Result<(), Error> {
    if !super::is_rootless() {
        return Ok(());
    }
    let host = Host::detect().map_err(wrap)?;
    found(&host)?.enter(&host).map_err(wrap)
}

/// As [`enter`] without moving this process: for who is to say early whether there can be limits.
pub(crate) fn need() -> Result<(), Error> {
    if !super::is_rootless() {
        return Ok(());
    }
    let host = Host::detect().map_err(wrap);
    host.and_then(|host| found(&host)).map(drop).map_err(refused)
}

/// What it means to who has asked for limits.
pub(crate) fn refused(error: Error) -> Error {
    match error {
        Error::Runtime(runtime::Error::Cgroup(error)) => Error::NoLimits(error),
        other => other,
    }
}

fn wrap(error: cgroup::Error) -> Error {
    runtime::Error::from(error).into()
}

fn known() -> Option<Subtree> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.is_none() {
        let entered = ENTERED.get()?;
        let text = std::fs::read_to_string(holder::directory(&entered.run).join(FILE)).ok()?;
        *known = serde_json::from_str(&text).ok();
    }
    known.clone()
}

fn found(host: &Host) -> Result<Subtree, Error> {
    if let Some(subtree) = known().filter(|subtree| subtree.is_there(host)) {
        return Ok(subtree);
    }
    let Some(entered) = ENTERED.get() else {
        return Err(wrap(cgroup::Error::NotDelegated { why: "this process is not in your namespaces".into() }));
    };
    let file = holder::open(&entered.run, FILE)?;
    let path = || holder::directory(&entered.run).join(FILE);
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
        .map_err(|errno| Error::file("lock", path())(errno))?;
    // Another command may have been first.
    let subtree = match read(&file).filter(|subtree| subtree.is_there(host)) {
        Some(subtree) => subtree,
        None => {
            let subtree = Subtree::find(host, entered.holder).map_err(wrap)?;
            let text = serde_json::to_vec(&subtree).unwrap_or_default();
            ftruncate(&file, 0)
                .and_then(|()| rustix::io::pwrite(&file, &text, 0).map(drop))
                .map_err(|errno| Error::file("write", path())(errno))?;
            subtree
        }
    };
    *KNOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(subtree.clone());
    Ok(subtree)
}

fn read(file: &OwnedFd) -> Option<Subtree> {
    let mut text = String::new();
    std::fs::File::from(file.try_clone().ok()?).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
