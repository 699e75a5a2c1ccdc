//! What a killed tool left behind, found and removed by the next command.
//!
//! A record that can be locked belongs to nobody alive. Its container's processes are killed through its control group,
//! then group, lease, writable layer, name and record go, in the order in which a crash in the middle leaves the rest
//! findable: the record last. Layers without a record are older than the last boot, and go as
//! well, but for those of containers that were created to stay (`created`).
//!
//! To look at one costs a few microseconds, and with a thousand containers a start would take twice as long for it. So
//! where there are many, a command that starts or removes one looks at a part of them, each time another; what it lists
//! or is told to work on, a command looks at itself. To see how many there are takes 0.5 ms of a thousand, and their
//! leases as much again: where somebody has just found many (`RUN/swept` says when), nobody looks for a second.

use crate::created;
use crate::error::Error;
use crate::events;
use crate::life;
use crate::passing;
use crate::state::{self, Held, Id, Said};
use rustix::fs::FlockOperation;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use step::step;

/// Removes dead containers, looking at [`CLOSELY`] or a few more. `own` is this process's, which is not looked at. Goes
/// on after an error and returns them all.
pub(crate) fn sweep(own: Option<&Id>) -> Vec<Error> {
    if pause::is_now() { Vec::new() } else { sweep_part(own, Part::of_many) }
}

/// Removes every dead container.
pub(crate) fn sweep_all() -> Vec<Error> {
    sweep_part(None, |_| Part { turn: 0, turns: 1 })
}

/// How many containers are looked at when there are more.
const CLOSELY: usize = 64;

/// When somebody has swept where there are many, by the time of a file that is there only then.
mod pause {
    use super::CLOSELY;
    use crate::state;
    use rustix::fs::{CWD, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

    /// How long the next sweep waits, where there are many.
    const PAUSE: Duration = Duration::from_secs(1);

    fn mark() -> PathBuf {
        state::run_dir().join("swept")
    }

    /// Whether it is too early for another one.
    pub(super) fn is_now() -> bool {
        let swept = std::fs::symlink_metadata(mark()).and_then(|mark| mark.modified());
        // One of a time to come is of another clock.
        swept.is_ok_and(|then| SystemTime::now().duration_since(then).is_ok_and(|ago| ago < PAUSE))
    }

    /// Notes that one begins that has found so many. Where that cannot be noted the next does the same.
    pub(super) fn note(count: usize) {
        let mark = mark();
        if count <= CLOSELY {
            let _ = state::unlink(&mark);
            return;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let time = |nanos| Timespec { tv_sec: 0, tv_nsec: nanos };
        let times = Timestamps { last_access: time(UTIME_OMIT), last_modification: time(UTIME_NOW) };
        let touch = |file| rustix::fs::futimens(&file, &times);
        let _ = rustix::fs::openat(CWD, &mark, flags, Mode::from_raw_mode(0o600)).and_then(touch);
    }
}

/// Those whose turn it is.
#[derive(Clone, Copy)]
struct Part {
    turn: usize,
    turns: usize,
}

impl Part {
    fn of_many(count: usize) -> Part {
        let turns = count.div_ceil(CLOSELY).max(1);
        // Any number will do that is another one the next time.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Part { turn: now.subsec_micros() as usize % turns, turns }
    }

    fn has(self, at: usize) -> bool {
        at % self.turns == self.turn
    }
}

fn sweep_part(own: Option<&Id>, part_of: impl Fn(usize) -> Part) -> Vec<Error> {
    let mut errors = Vec::new();
    let records = state::all();
    pause::note(records.len());
    let part = part_of(records.len());
    for (_, id) in records.iter().enumerate().filter(|(at, id)| part.has(*at) && Some(*id) != own) {
        match state::try_hold(id) {
            Ok(Held::Dead(record)) => errors.extend(remove_container(id, &record)),
            Ok(Held::Alive | Held::Gone) => {}
            Err(error) => errors.push(error),
        }
    }
    if part.turn == 0 {
        errors.extend(sweep_layers(own, &records.into_iter().collect(), part_of));
    }
    errors.extend(crate::pods::sweep());
    errors.extend(crate::containers::mount::sweep());
    errors.extend(network().sweep().into_iter().map(Error::from));
    match image::Images::existing(state::data_dir()) {
        Ok(Some(images)) => {
            errors.extend(images.sweep().into_iter().map(Error::from));
            // Who runs a container removes them when it has the time.
            if own.is_none() {
                errors.extend(crate::spare::sweep(&images).err());
            }
        }
        Ok(None) => {}
        Err(error) => errors.push(error.into()),
    }
    match image::Store::open(state::data_dir()) {
        Ok(store) => errors.extend(store.sweep().into_iter().map(Error::from)),
        Err(error) => errors.push(error.into()),
    }
    errors
}

/// The networks.
pub(crate) fn network() -> network::Network {
    let host = crate::rootless::network();
    let loopback = host.map(|_| crate::rootless::uplink::RESOLVER.into());
    network::Network::open(&network_dir()).at(host, loopback)
}

/// Where it keeps what it knows.
pub(crate) fn network_dir() -> PathBuf {
    state::run_dir().join("network")
}

/// Removes all that a dead container left. The caller holds its record.
pub(crate) fn remove_container(id: &Id, record: &OwnedFd) -> Vec<Error> {
    let mut errors = Vec::new();
    let what = || format!("remove what is left of container {}", id.host_name());
    let _ = step("sweep-container", "its tool was killed", what, || {
        errors.extend(remove_parts(id, record));
        Ok::<(), Error>(())
    });
    errors
}

fn remove_parts(id: &Id, record: &OwnedFd) -> Vec<Error> {
    let said = state::said_in(record);
    let mut errors = remove_cgroup(id, said.as_ref().and_then(Said::cgroup_parent));
    let network = network();
    errors.extend(crate::begin::give_back(&network, id, network.withdraw(id.as_str())));
    if created::exists(id) {
        let news = said.as_ref().map(|said| said.news.clone()).unwrap_or_default();
        match life::killed(id, &news) {
            Ok(Some(code)) => {
                created::read(id).ok().flatten().iter().for_each(|facts| events::died(facts, code, false))
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
        // It has ended, or could not be started.
        let is_over =
            life::read(id).is_some() && matches!(created::read(id), Ok(Some(facts)) if passing::is_passing(&facts));
        if is_over && let Err(error) = passing::try_remove(id) {
            errors.push(error);
        }
    } else {
        errors.extend(crate::overlay::remove_layer(id).err());
    }
    errors.extend(state::forget(id));
    if let Some((facts, news)) = said.and_then(|said| Some((said.facts?, said.news))) {
        if news.exit_code.is_none() {
            events::died(&facts, life::KILLED, false);
        }
        events::container("destroy", &facts, &[]);
    }
    errors
}

/// Kills every process of a container that has any.
pub(crate) fn kill_processes(id: &Id, cgroup_parent: Option<&str>) -> Result<(), Error> {
    let wrap = |error| Error::from(runtime::Error::from(error));
    let group = id.open_cgroup(cgroup_parent)?;
    if group.exists() { group.kill().map_err(wrap) } else { Ok(()) }
}

fn remove_cgroup(id: &Id, parent: Option<&str>) -> Vec<Error> {
    let wrap = |error| Error::from(runtime::Error::from(error));
    match id.open_cgroup(parent) {
        Ok(group) if group.exists() => {
            let mut errors: Vec<Error> = group.kill().err().into_iter().map(wrap).collect();
            errors.extend(group.remove().into_iter().map(wrap));
            errors
        }
        Ok(_) => Vec::new(),
        Err(error) => vec![error],
    }
}

/// Layers of no container: the machine was started anew, and /run with it; or a removal was cut short, or a `create`.
fn sweep_layers(own: Option<&Id>, known: &BTreeSet<Id>, part_of: impl Fn(usize) -> Part) -> Vec<Error> {
    let ids: Vec<Id> = created::ids().into_iter().filter(|id| Some(id) != own && !known.contains(id)).collect();
    let part = part_of(ids.len());
    let ids = ids.into_iter().enumerate().filter(|(at, _)| part.has(*at)).map(|(_, id)| id);
    ids.filter(|id| !created::exists(id) && matches!(state::try_hold(id), Ok(Held::Gone)))
        .filter_map(|id| match created::lock(&id, FlockOperation::NonBlockingLockExclusive) {
            // It may have become whole since we looked.
            Ok(Some(_lock)) if created::exists(&id) => None,
            Ok(Some(_lock)) => {
                state::forget_names(&id);
                crate::overlay::remove_layer(&id).err()
            }
            // It is being made, or removed by another.
            Ok(None) => None,
            Err(error) => Some(error),
        })
        .collect()
}
