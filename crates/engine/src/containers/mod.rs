//! Containers by their names: what the verbs that take one share.
//!
//! A container runs (its record is in /run, locked by its tool) or was created (`created`). While a command works on one
//! it holds a lock: on the directory of one that was created, on the record of one that runs; `rm` and `rename`
//! alone, `commit` of one that runs alone, others together. What only looks, waits or sends a signal takes none.

mod alive;
mod commit;
mod create;
mod diff;
mod end;
mod exec;
mod export;
mod freeze;
mod inspect;
mod list;
mod pause;
mod process;
mod processes;
mod remove;
mod rename;
mod stats;
mod tree;

pub use commit::{CommitOrder, commit};
pub use create::{CreateOptions, create};
pub use diff::diff;
pub use end::{StopOrder, Waiting, kill, stop};
pub use exec::{ExecOptions, exec};
pub use export::export;
pub use freeze::set_paused;
pub use inspect::{
    ShownContainer, ShownEndpoint, ShownHost, ShownMount, ShownNetwork, ShownState, ShownWords, inspect,
};
pub use list::{Listed, State, id_of, list};
pub use processes::{ProcessInfo, processes};
pub use remove::{remove, tidy};
pub use rename::rename;
pub use stats::{Usage, Watched};

use crate::confines::Confines;
use crate::created;
use crate::error::Error;
use crate::given::Given;
use crate::image_config;
use crate::options::RunOptions;
use crate::rootfs::Meant;
use crate::state::{self, Facts, Held, Id, RootKind};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, openat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::os::fd::OwnedFd;

/// A container.
#[derive(Debug)]
struct Found {
    id: Id,
    /// None when its record cannot be understood: then it can only be removed.
    facts: Option<Facts>,
    is_running: bool,
}

impl Found {
    fn shown(&self) -> &str {
        self.facts.as_ref().map_or(self.id.host_name(), Facts::shown)
    }

    fn facts(&self) -> Result<&Facts, Error> {
        let missing = || Error::NoSuchContainer { words: self.id.as_str().to_owned() };
        self.facts.as_ref().ok_or_else(missing)
    }

    /// Takes its lock, until the result is dropped. Without waiting, that another has it is an error.
    fn lock(&self, how: FlockOperation) -> Result<OwnedFd, Error> {
        let gone = || Error::NoSuchContainer { words: self.shown().to_owned() };
        let busy = || Error::ContainerBusy { container: self.shown().to_owned() };
        if !self.is_running {
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

/// The container that these words mean: a name, an id, or the beginning of one.
fn find(words: &str) -> Result<Option<Found>, Error> {
    let all = all();
    let name = |found: &Found| found.facts.as_ref().and_then(|facts| facts.name.as_deref()) == Some(words);
    if let Some(at) = all.iter().position(name) {
        return Ok(all.into_iter().nth(at));
    }
    let is_prefix = !words.is_empty() && words.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut matching = all.into_iter().filter(|found| is_prefix && found.id.as_str().starts_with(words));
    match (matching.next(), matching.next()) {
        (found, None) => Ok(found),
        _ => Err(Error::AmbiguousContainer { words: words.to_owned() }),
    }
}

/// As [`find`]; that there is none is an error.
fn get(words: &str) -> Result<Found, Error> {
    find(words)?.ok_or_else(|| Error::NoSuchContainer { words: words.to_owned() })
}

/// Every container.
fn all() -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
    // First those that run: see `state::images_in_use`.
    let records = records();
    for (id, facts) in created::all() {
        all.push(Found { id, facts: facts.ok(), is_running: false });
    }
    let known: HashSet<Id> = all.iter().map(|found| found.id.clone()).collect();
    all.extend(alive(records, |id| known.contains(id)));
    all
}

/// What every container can be called by.
pub fn names() -> Vec<String> {
    all().iter().map(|found| found.shown().to_owned()).collect()
}

/// Those that run, but for the known ones.
fn running(is_known: impl Fn(&Id) -> bool) -> Vec<Found> {
    alive(records(), is_known).collect()
}

fn records() -> Vec<(Id, Facts)> {
    state::all().into_iter().filter_map(|id| Some((id.clone(), state::facts(&id)?))).collect()
}

fn alive(records: Vec<(Id, Facts)>, is_known: impl Fn(&Id) -> bool) -> impl Iterator<Item = Found> {
    let is_alive = move |(id, facts): &(Id, Facts)| {
        !facts.being_created && !is_known(id) && matches!(state::try_hold(id), Ok(Held::Alive))
    };
    let found = |(id, facts)| Found { id, facts: Some(facts), is_running: true };
    records.into_iter().filter(is_alive).map(found)
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
            Meant::Archive => RootKind::Archive,
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
        tool_pid: Some(std::process::id()),
        being_created: false,
        given: Some(Given::of(options)),
    }
}
