//! Containers by their names: what the verbs that take one share.
//!
//! A container runs when its record is in /run, locked by its tool or its monitor; it stays when it ends if it is on disk
//! (`created`). While a command works on one it holds a lock: on the directory of one that stays, on the record of one
//! that does not; `start`, `rm` and `rename` alone, `commit` of one that runs alone, others together. What only looks,
//! waits or sends a signal takes none.

mod alive;
mod attach;
mod boot;
mod commit;
mod copy;
mod create;
mod diff;
mod end;
mod exec;
mod export;
mod freeze;
mod healthcheck;
mod inspect;
mod join;
mod list;
mod logs;
pub(crate) mod mount;
mod origin;
mod pause;
mod port;
mod process;
mod processes;
mod remove;
mod rename;
mod sharing;
mod size;
mod start;
mod stats;
mod tree;
mod update;
mod volumes_from;
mod wait;

pub use attach::{AttachOrder, attach};
pub use boot::boot;
pub use commit::{CommitOrder, commit};
pub use copy::{Copied, CopyError, CopyOrder, copy};
pub use create::{CreateOptions, create};
pub(crate) use create::{make_as, resolved as resolve_others, write_cidfile as write_id};
pub use diff::diff;
pub(crate) use end::stop_by;
pub use end::{StopOrder, kill, stop};
pub use exec::{ExecOptions, exec};
pub use export::export;
pub use freeze::set_paused;
pub use healthcheck::healthcheck;
pub use inspect::{
    ShownBinding, ShownContainer, ShownEndpoint, ShownHost, ShownMount, ShownNetwork, ShownPolicy, ShownState,
    ShownWords, inspect,
};
pub use join::{connect, disconnect};
pub use list::{Listed, State, id_of, list, newest};
pub(crate) use logs::LogSource;
pub use logs::logs;
pub use mount::{Mounted, mount, mounted, unmount};
pub use origin::{Origin, origin};
pub use port::{Port, ports};
pub use processes::{ProcessInfo, processes};
pub(crate) use remove::remove_infra;
pub use remove::{remove, tidy, tidy_all};
pub use rename::rename;
pub(crate) use sharing::{SHM, Shared, open as open_shared, user_namespace_at, users_of};
pub use size::{Size, sizes};
pub use start::{Ran, RunOrder, StartOrder, restart, run, start};
pub use stats::{Usage, Watched};
pub(crate) use tree::{archive_of, image_of};
pub use update::{UpdateOrder, update};
pub use wait::{Condition, WaitOrder, Waiting};

use crate::confines::Confines;
use crate::created;
use crate::error::Error;
use crate::image_config;
use crate::options::RunOptions;
use crate::parse;
use crate::rootfs::Meant;
use crate::state::{self, Facts, Held, Id, News, RootKind, Said};
use cgroup::Cgroup;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, openat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A container.
#[derive(Debug)]
struct Found {
    id: Id,
    /// None when what is written of it cannot be understood: then it can only be removed.
    facts: Option<Facts>,
    /// It has a tool or a monitor.
    is_running: bool,
    /// It stays when it ends.
    stays: bool,
    /// What its tool has written down since it began.
    news: News,
}

impl Found {
    /// The container with this id, if there is one.
    fn load(id: &Id) -> Option<Found> {
        // First the record: see `state::images_in_use`.
        let said = state::said_and_held(id);
        let (said, is_running) = said.map(|(said, held)| (said, is_held(id, held))).unzip();
        Found::of(id, said, is_running.unwrap_or(false))
    }

    /// As [`Found::load`], but what a killed tool has left is not removed: that is the error, for who can do it.
    fn peek(id: &Id) -> Result<Option<Found>, Left> {
        match state::said_and_held(id) {
            Some((_, Ok(Held::Dead(_)))) => Err(Left(id.clone())),
            Some((said, held)) => Ok(Found::of(id, Some(said), matches!(held, Ok(Held::Alive)))),
            None => Ok(Found::of(id, None, false)),
        }
    }

    fn of(id: &Id, said: Option<Said>, is_running: bool) -> Option<Found> {
        let created = created::read(id);
        let stays = !matches!(created, Ok(None));
        let (of_record, news) = said.map(|said| (said.facts, said.news)).unwrap_or_default();
        let facts = match created {
            Ok(Some(facts)) => Some(Facts { tool_pid: news.tool_pid, ..facts }),
            Ok(None) => of_record.filter(|_| is_running),
            Err(_) => None,
        };
        (stays || facts.is_some()).then(|| Found { id: id.clone(), facts, is_running, stays, news })
    }

    /// Whether it has a monitor when it runs, which keeps what it prints.
    fn has_monitor(&self) -> bool {
        self.stays || state::socket_path(&self.id).exists()
    }

    fn shown(&self) -> &str {
        self.facts.as_ref().map_or(self.id.host_name(), Facts::shown)
    }

    fn facts(&self) -> Result<&Facts, Error> {
        let missing = || Error::NoSuchContainer { words: self.id.as_str().to_owned() };
        self.facts.as_ref().ok_or_else(missing)
    }

    /// The group that its own is in, if that was said.
    fn cgroup_parent(&self) -> Option<&str> {
        self.facts.as_ref().map_or(self.news.cgroup_parent.as_deref(), Facts::cgroup_parent)
    }

    /// Where its control group is.
    fn location(&self) -> Result<cgroup::Location, Error> {
        self.id.cgroup(self.cgroup_parent())
    }

    /// That group, opened, whether it is there or not.
    fn open_cgroup(&self) -> Result<Cgroup, Error> {
        self.id.open_cgroup(self.cgroup_parent())
    }

    /// Takes its lock, until the result is dropped. Without waiting, that another has it alone is an error. For those
    /// that share it there is a moment: a health check has it as it starts, and is no reason for `rm` to fail.
    fn lock(&self, how: FlockOperation) -> Result<OwnedFd, Error> {
        let until = Instant::now() + SHARING;
        loop {
            let is_shared = || self.try_lock(FlockOperation::NonBlockingLockShared).is_ok();
            match self.try_lock(how) {
                Err(Error::ContainerBusy { .. })
                    if how == FlockOperation::NonBlockingLockExclusive && Instant::now() < until && is_shared() =>
                {
                    std::thread::sleep(SHARING_PAUSE);
                }
                done => return done,
            }
        }
    }

    fn try_lock(&self, how: FlockOperation) -> Result<OwnedFd, Error> {
        let gone = || Error::NoSuchContainer { words: self.shown().to_owned() };
        let busy = || Error::ContainerBusy { container: self.shown().to_owned() };
        if self.stays {
            return match created::lock(&self.id, how)? {
                Some(lock) if created::exists(&self.id) => Ok(lock),
                None if created::exists(&self.id) => Err(busy()),
                _ => Err(gone()),
            };
        }
        let path = state::record_path(&self.id);
        let record = match openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(record) => record,
            Err(Errno::NOENT) => return Err(gone()),
            Err(error) => return Err(Error::file("open the record", path)(error)),
        };
        match rustix::io::retry_on_intr(|| flock(&record, how)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(busy()),
            Err(error) => return Err(Error::file("lock the record", path)(error)),
        }
        let links = fstat(&record).map_err(Error::file("look at the record", &path))?.st_nlink;
        if links == 0 { Err(gone()) } else { Ok(record) }
    }
}

/// The container whose tool was killed.
#[derive(Debug)]
struct Left(Id);

/// How long those that share a lock may have it before another is told that they do.
const SHARING: Duration = Duration::from_secs(2);
const SHARING_PAUSE: Duration = Duration::from_millis(5);

/// The container that words mean, locked: as it is now that nobody else can start, rename or remove it.
fn locked(words: &str, how: FlockOperation) -> Result<(Found, OwnedFd), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let found = get(words)?;
    let lock = found.lock(how)?;
    let found = Found::load(&found.id).ok_or_else(|| Error::NoSuchContainer { words: words.to_owned() })?;
    Ok((found, lock))
}

/// Whether somebody holds its record. What a killed tool has left is removed on the way: until then its program may run.
fn is_held(id: &Id, held: Result<Held, Error>) -> bool {
    match held {
        Ok(Held::Alive) => true,
        Ok(Held::Dead(record)) if rustix::process::geteuid().is_root() => {
            crate::sweep::remove_container(id, &record);
            false
        }
        _ => false,
    }
}

/// The container that these words mean: a name, an id, or the beginning of one.
fn find(words: &str) -> Result<Option<Found>, Error> {
    let is_called_so = |found: &Found| found.facts.as_ref().and_then(|facts| facts.name.as_deref()) == Some(words);
    let by_name = if parse::name(words).is_ok() { state::holder_of(words) } else { None };
    if let Some(found) = by_name.and_then(|id| Found::load(&id)).filter(is_called_so) {
        return Ok(Some(found));
    }
    let is_prefix = !words.is_empty() && words.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_prefix {
        let ids = ids().into_iter().filter(|id| id.as_str().starts_with(words));
        let mut matching = ids.filter_map(|id| Found::load(&id));
        match (matching.next(), matching.next()) {
            (Some(found), None) => return Ok(Some(found)),
            (Some(_), Some(_)) => return Err(Error::AmbiguousContainer { words: words.to_owned() }),
            (None, _) => {}
        }
    }
    // A failure of power can have taken the name and left the container.
    Ok(all().into_iter().find(is_called_so))
}

/// The container whose name these words are, and no other: an id may begin with what is meant as a name.
fn called(name: &str) -> Option<Found> {
    let is_called_so = |found: &Found| found.facts.as_ref().and_then(|facts| facts.name.as_deref()) == Some(name);
    let by_name = state::holder_of(name).and_then(|id| Found::load(&id)).filter(is_called_so);
    by_name.or_else(|| all().into_iter().find(is_called_so))
}

/// As [`find`]; that there is none is an error.
fn get(words: &str) -> Result<Found, Error> {
    find(words)?.ok_or_else(|| Error::NoSuchContainer { words: words.to_owned() })
}

/// The ids of every container, and of some that are ending: first those that run, so that none is missed on its way.
fn ids() -> BTreeSet<Id> {
    state::all().into_iter().chain(created::ids()).collect()
}

/// Every container.
fn all() -> Vec<Found> {
    let mut all = Vec::new();
    each(&mut |found| all.push(found));
    all
}

/// Every container, one after the other: who holds all at once, with all that each was made with, pays for the memory.
fn each(take: &mut dyn FnMut(Found)) {
    let mut known = BTreeSet::new();
    each_running(&mut |found| {
        known.insert(found.id.clone());
        take(found);
    });
    created::ids().iter().filter(|id| !known.contains(id)).filter_map(Found::load).for_each(take);
}

/// What every container can be called by.
pub fn names() -> Vec<String> {
    all().iter().map(|found| found.shown().to_owned()).collect()
}

/// Those that run.
fn running() -> Vec<Found> {
    let mut running = Vec::new();
    each_running(&mut |found| running.push(found));
    running
}

/// Those that run, one after the other.
fn each_running(take: &mut dyn FnMut(Found)) {
    let found = |id: Id| {
        let (said, held) = state::said_and_held(&id)?;
        let is_running = is_held(&id, held);
        Found::of(&id, Some(said), is_running).filter(|found| found.is_running)
    };
    state::all().into_iter().filter_map(found).for_each(take);
}

/// What a record of a container says.
pub(crate) fn facts(options: &RunOptions, meant: &Meant, id: &Id, confines: Confines) -> Facts {
    let image = match meant {
        Meant::Image(_, image) => Some(image),
        _ => None,
    };
    let config = image_config::of_container(options, image.map(|image| &image.config));
    let command = [config.entrypoint.as_slice(), config.cmd.as_slice()].concat();
    Facts {
        id: id.as_str().to_owned(),
        name: options.name.clone(),
        root: options.root.clone(),
        kind: match meant {
            Meant::Host => RootKind::Host,
            Meant::Directory => RootKind::Directory,
            Meant::Empty => RootKind::Empty,
            Meant::Archive | Meant::Unpacked(_) => RootKind::Archive,
            Meant::Image(..) => RootKind::Image,
        },
        image: image.map(|image| image.descriptor.digest.to_string()),
        image_name: image.and_then(|image| image.names.first().cloned()),
        archive: None,
        command,
        labels: config.labels.clone(),
        volumes: crate::volumes::named(options),
        created: image::archive::timestamp(std::time::SystemTime::now()),
        config,
        confines: Some(confines),
        maps: None,
        tool_pid: Some(std::process::id()),
        made_by: None,
        options: Some(Box::new(options.clone())),
    }
}
