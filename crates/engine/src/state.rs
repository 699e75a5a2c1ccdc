//! The records of containers that run, the names of all, and who holds them.
//!
//! `/run/mycontainer/containers/ID` is a line of JSON, and a line more for each thing that is known later (another name,
//! the exit code), under a lock that the tool holds as long as it lives: a record that can be locked is what a killed
//! tool left behind. The first line says what the container is; of one that stays (`created`) that is on disk, and the
//! record says no more than who runs it.
//!
//! `/var/lib/mycontainer/names/NAME` is a symbolic link whose target is the id; making it fails when it exists, which is
//! what makes names unique. A name whose target is no container is what a killed command left, and free. Everything else
//! that belongs to a container is found by its id.
//!
//! The lock is a POSIX record lock, which belongs to the process: a flock would be shared by the container's first
//! process until it execs, and a tool that was killed while that is still at work would count as alive. Its price: it
//! ends when this process closes any descriptor of the file, so nobody looks at a record of his own.

use crate::confines::Confines;
use crate::created;
use crate::error::Error;
use crate::options::{Limits, NetworkMode, RunOptions};
use crate::rootless;
use crate::userns::Maps;
use cgroup::Cgroup;
use image::RunConfig;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RawDir, fcntl_lock, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where records live: /run/mycontainer, or an ordinary user's own directory. It need not outlive a boot.
pub(crate) fn run_dir() -> &'static Path {
    rootless::run_dir().unwrap_or(Path::new("/run/mycontainer"))
}

/// Where writable layers and unpacked archives live: /var/lib/mycontainer, or an ordinary user's own directory.
pub fn data_dir() -> &'static Path {
    rootless::data_dir().unwrap_or(Path::new("/var/lib/mycontainer"))
}

/// A container's id: 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(String);

impl Id {
    /// A new random one.
    pub(crate) fn random() -> Result<Id, Error> {
        let mut bytes = [0u8; 32];
        let mut filled = 0;
        while filled < bytes.len() {
            filled +=
                rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()).map_err(|e| {
                    Error::File { what: "read random bytes from", path: "the kernel".into(), source: e.into() }
                })?;
        }
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let hex = bytes.iter().flat_map(|b| [HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        Ok(Id(hex.map(char::from).collect()))
    }

    /// An id that no container has.
    pub(crate) fn nobody() -> Id {
        Id("0".repeat(64))
    }

    /// An id from a file name; anything else in that directory is not ours.
    pub(crate) fn from_file_name(name: &[u8]) -> Option<Id> {
        let hex = name.len() == 64 && name.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        hex.then(|| Id(String::from_utf8_lossy(name).into_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The container's host name by default.
    pub(crate) fn host_name(&self) -> &str {
        &self.0[..8]
    }

    /// Its control group, by its `--cgroup-parent`. An ordinary user's is in that user's part of the tree, if there is one.
    pub(crate) fn cgroup(&self, parent: Option<&str>) -> Result<cgroup::Location, Error> {
        let name = self.group_name();
        match parent {
            parent if rootless::is_rootless() => rootless::groups::location(parent, &name),
            None => Ok(cgroup::Location::Path(name)),
            Some(parent) => cgroup::Location::inside(parent, &name).map_err(|error| runtime::Error::from(error).into()),
        }
    }

    /// That group, opened, whether it is there or not.
    pub(crate) fn open_cgroup(&self, parent: Option<&str>) -> Result<Cgroup, Error> {
        let location = self.cgroup(parent)?;
        let open = cgroup::Host::detect().and_then(|host| Cgroup::open(&host, &location));
        open.map_err(|error| runtime::Error::from(error).into())
    }

    /// That one's name.
    pub(crate) fn group_name(&self) -> String {
        format!("mycontainer-{}", self.0)
    }
}

/// What a record says. Written once, at the beginning, for a person or a later command to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    /// ROOT: as typed; of a created container the path in full.
    pub(crate) root: String,
    pub(crate) kind: RootKind,
    /// Digest of the manifest of the image that it is made of.
    pub(crate) image: Option<String>,
    /// The image's name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image_name: Option<String>,
    /// Digest of the archive that it is made of; in the record of a created one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) archive: Option<String>,
    pub(crate) command: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// The named volumes that it uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) volumes: Vec<String>,
    /// RFC 3339.
    pub(crate) created: String,
    /// What an image made of it says about running it.
    pub(crate) config: RunConfig,
    /// What its processes may. None in the record of a release that did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) confines: Option<Confines>,
    /// The ids of its user namespace, if it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) maps: Option<Maps>,
    /// Who runs it, or is making it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tool_pid: Option<u32>,
    /// The words that made it; none of one in the foreground, or of older releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) made_by: Option<MadeBy>,
    /// What the person asked for; None in records of older releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) options: Option<Box<RunOptions>>,
}

/// The command that made a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MadeBy {
    /// As typed, after the tool's name.
    pub(crate) words: Vec<String>,
    /// Where; empty when it cannot be written down.
    pub(crate) dir: String,
}

impl MadeBy {
    /// By these words, here.
    pub(crate) fn here(words: &[String]) -> MadeBy {
        let dir = std::env::current_dir().ok().and_then(|dir| dir.into_os_string().into_string().ok());
        MadeBy { words: words.to_vec(), dir: dir.unwrap_or_default() }
    }
}

/// What ROOT was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RootKind {
    Host,
    Directory,
    Archive,
    Image,
    /// Nothing: of the infra container of a pod.
    Empty,
}

/// A container that is made of an image.
pub(crate) struct Use {
    /// Its name, or the first digits of its id.
    pub(crate) container: String,
    /// Digest of the image's manifest.
    pub(crate) manifest: String,
}

/// The containers that are made of images. First the records, then what they leave behind when a container has been
/// created: so none is missed on its way from one to the other.
pub(crate) fn images_in_use() -> Vec<Use> {
    let made = |facts: Facts| {
        let container = facts.shown().to_owned();
        let manifest = facts.image?;
        Some(Use { container, manifest })
    };
    let mut running: Vec<Facts> = all().iter().filter_map(facts).collect();
    running.extend(created::all().into_iter().filter_map(|(_, facts)| facts.ok()));
    running.into_iter().filter_map(made).collect()
}

impl Facts {
    /// The group that its own is in, if that was said.
    pub(crate) fn cgroup_parent(&self) -> Option<&str> {
        self.options.as_deref()?.cgroup_parent.as_deref()
    }

    /// Its name, or the first digits of its id.
    pub(crate) fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.id.get(..8).unwrap_or(&self.id))
    }
}

/// What a record says, all its lines together.
#[derive(Debug)]
pub(crate) struct Said {
    /// What the container is. None of one that stays: that has it on disk.
    pub(crate) facts: Option<Facts>,
    /// What was added later.
    pub(crate) news: News,
}

impl Said {
    /// The group that the container's own is in, if that was said.
    pub(crate) fn cgroup_parent(&self) -> Option<&str> {
        self.facts.as_ref().and_then(Facts::cgroup_parent).or(self.news.cgroup_parent.as_deref())
    }
}

/// What a record says; nothing when it is gone, or so new that it says nothing yet.
pub(crate) fn said(id: &Id) -> Option<Said> {
    with_text(&record_path(id), understand).ok()?
}

/// As [`said`], and whether somebody holds it by then. Of this process's own record it would end the lock.
pub(crate) fn said_and_held(id: &Id) -> Option<(Said, Result<Held, Error>)> {
    let path = record_path(id);
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = std::fs::File::from(rustix::fs::openat(CWD, &path, flags, Mode::empty()).ok()?);
    let said = with_text_in(&file, understand).ok()??;
    Some((said, try_hold_open(file.into(), &path)))
}

/// As [`said`], of a record that is open: read through that, for to close another descriptor of it ends the lock.
pub(crate) fn said_in(record: &OwnedFd) -> Option<Said> {
    let size = rustix::fs::fstat(record).ok()?.st_size;
    let mut text = vec![0; usize::try_from(size).ok()?];
    let got = rustix::io::pread(record, &mut text[..], 0).ok()?;
    understand(text.get(..got)?)
}

fn understand(text: &[u8]) -> Option<Said> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    // The record of one that stays says who runs it before all else.
    let facts: Option<Facts> =
        if first.starts_with(b"{\"tool_pid\"") { None } else { serde_json::from_slice(first).ok() };
    let mut news = if facts.is_some() { News::default() } else { serde_json::from_slice(first).ok()? };
    lines.filter_map(|line| serde_json::from_slice(line).ok()).for_each(|later| news.add(later));
    let facts = facts.map(|facts| {
        let options = facts.options.map(|mut options| {
            news.limits.iter().for_each(|limits| options.limits = limits.clone());
            news.network.iter().for_each(|network| options.network = network.clone());
            options
        });
        Facts { name: news.name.clone().or(facts.name), options, ..facts }
    });
    Some(Said { facts, news })
}

/// What is in a file, which is small: of a thousand each system call that is not made is felt.
pub(crate) fn with_text<T>(path: &Path, use_it: impl FnOnce(&[u8]) -> T) -> Result<T, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = std::fs::File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
    with_text_in(&file, use_it)
}

fn with_text_in<T>(mut file: &std::fs::File, use_it: impl FnOnce(&[u8]) -> T) -> Result<T, Errno> {
    let mut space = [0; 8192];
    let got = rustix::io::retry_on_intr(|| rustix::io::read(file, &mut space))?;
    if got < space.len() {
        return Ok(use_it(&space[..got]));
    }
    let mut text = space.to_vec();
    let read = std::io::Read::read_to_end(&mut file, &mut text);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(use_it(&text))
}

/// What the record of a container that goes when it ends says.
pub(crate) fn facts(id: &Id) -> Option<Facts> {
    said(id)?.facts
}

/// What is added to a record later, a line each.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct News {
    /// Another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// How the container's program ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exit_code: Option<i32>,
    /// Who runs one that stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_pid: Option<u32>,
    /// The group that the one of such a container is in, if that was said: it is found also where what is on disk cannot be
    /// understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cgroup_parent: Option<String>,
    /// When its program was started, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started: Option<String>,
    /// It waits to be started again, or no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restarting: Option<bool>,
    /// How often it was started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restarts: Option<u32>,
    /// Other limits of one that goes when it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<Limits>,
    /// Other networks of such a one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<NetworkMode>,
}

impl News {
    fn add(&mut self, later: News) {
        let News { name, exit_code, tool_pid, cgroup_parent, started, restarting, restarts, limits, network } = later;
        self.name = name.or(self.name.take());
        self.exit_code = exit_code.or(self.exit_code);
        self.tool_pid = tool_pid.or(self.tool_pid);
        self.cgroup_parent = cgroup_parent.or(self.cgroup_parent.take());
        self.started = started.or(self.started.take());
        self.restarting = restarting.or(self.restarting);
        self.restarts = restarts.or(self.restarts);
        self.limits = limits.or(self.limits.take());
        self.network = network.or(self.network.take());
    }

    /// As it is added: in one write, so that a line is there whole or not at all.
    fn line(&self) -> Vec<u8> {
        let mut line = b"\n".to_vec();
        line.extend(serde_json::to_vec(self).unwrap_or_default());
        line
    }
}

/// Writes another name into the record of a container that goes when it ends, and gives the old one up. The caller has taken the new
/// one.
pub(crate) fn rename(id: &Id, old: Option<&str>, new: &str) -> Result<(), Error> {
    let _names = add(id, &News { name: Some(new.to_owned()), ..News::default() })?;
    old.map_or(Ok(()), |old| unlink(&name_path(old)))
}

/// Writes other limits into such a record.
pub(crate) fn relimit(id: &Id, limits: Option<Limits>) -> Result<(), Error> {
    add(id, &News { limits, ..News::default() }).map(drop)
}

/// Writes other networks into such a record.
pub(crate) fn renetwork(id: &Id, network: NetworkMode) -> Result<(), Error> {
    add(id, &News { network: Some(network), ..News::default() }).map(drop)
}

/// Adds to the record of a container that another runs. It has its names until the result is dropped.
fn add(id: &Id, news: &News) -> Result<OwnedFd, Error> {
    let path = record_path(id);
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
    let record = match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
        Ok(record) => record,
        Err(Errno::NOENT) => return Err(Error::NoSuchContainer { words: id.as_str().to_owned() }),
        Err(error) => return Err(Error::file("open the record", path)(error)),
    };
    // Its tool gives up name and record under this lock.
    let names = lock_names()?;
    rustix::io::write(&record, &news.line()).map_err(Error::file("write the record", &path))?;
    if rustix::fs::fstat(&record).map_err(Error::file("look at the record", &path))?.st_nlink == 0 {
        return Err(Error::NoSuchContainer { words: id.as_str().to_owned() });
    }
    Ok(names)
}

/// Gives up a name that was taken for a container, if it still is that one's.
pub(crate) fn give_up_name(name: &str, id: &Id) -> Result<(), Error> {
    remove_stale_name(&name_path(name), id.as_str().as_bytes())
}

/// Opens a record to read the exit code later, when it may have been removed.
pub(crate) fn open(id: &Id) -> Result<OwnedFd, Error> {
    let path = record_path(id);
    rustix::fs::openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::file("open the record", path))
}

/// The exit code that its tool has written into an open record, if it came to that.
pub(crate) fn exit_code(record: OwnedFd) -> Option<i32> {
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(record), &mut text).ok()?;
    let news = text.split(|byte| *byte == b'\n').skip(1);
    news.filter_map(|line| serde_json::from_slice::<News>(line).ok()?.exit_code).last()
}

/// A container's record, held by this process.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: Id,
    name: Option<String>,
    /// Bytes that this tool has written.
    size: Cell<u64>,
    // Held, not read: the lock ends with the descriptor.
    lock: OwnedFd,
}

impl Record {
    /// Makes the record of a container that goes when it ends, and takes its name, if it has one.
    pub(crate) fn claim(id: Id, facts: &Facts) -> Result<Record, Error> {
        let mut record = Record::write_new(id, &serde_json::to_vec(facts).unwrap_or_default())?;
        let Some(name) = facts.name.as_deref() else { return Ok(record) };
        match take_name(name, &record.id) {
            Ok(()) => record.name = Some(name.to_owned()),
            Err(error) => {
                record.remove();
                return Err(error);
            }
        }
        Ok(record)
    }

    /// Makes the record of a container that stays, and has its name as long as it does.
    pub(crate) fn claim_of_kept(id: Id, cgroup_parent: Option<&str>) -> Result<Record, Error> {
        let cgroup_parent = cgroup_parent.map(str::to_owned);
        let news = News { tool_pid: Some(std::process::id()), cgroup_parent, ..News::default() };
        Record::write_new(id, &serde_json::to_vec(&news).unwrap_or_default())
    }

    fn write_new(id: Id, text: &[u8]) -> Result<Record, Error> {
        let path = record_path(&id);
        let lock = create_locked(&path).map_err(Error::file("create the record", &path))?;
        let record = Record { id, name: None, size: Cell::new(text.len() as u64), lock };
        rustix::io::write(&record.lock, text).map_err(Error::file("write the record", &path))?;
        Ok(record)
    }

    /// Adds what is known now, for who looks later or has the record open. That it cannot be noted is told to nobody:
    /// whoever waits hears that the code is not known.
    pub(crate) fn tell(&self, news: &News) {
        let line = news.line();
        if rustix::io::write(&self.lock, &line).is_ok() {
            self.size.set(self.size.get() + line.len() as u64);
        }
    }

    /// Notes how the container ended.
    pub(crate) fn ended(&self, exit_code: i32) {
        self.tell(&News { exit_code: Some(exit_code), ..News::default() });
    }

    /// What its container was made with, under the name that it has now: it was given one here, or a rename has written
    /// another into it. That is read through what is open, which keeps the lock.
    pub(crate) fn facts(&self, made_with: Facts) -> Facts {
        let made_with = Facts { name: self.name.clone().or(made_with.name), ..made_with };
        let size = rustix::fs::fstat(&self.lock).map_or(0, |stat| stat.st_size.cast_unsigned());
        if size == self.size.get() {
            return made_with;
        }
        let name = said_in(&self.lock).and_then(|said| said.news.name);
        Facts { name: name.or(made_with.name), ..made_with }
    }

    /// Gives up name and record: the last thing that is done for a container.
    pub(crate) fn remove(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        // What a rename has written stands in it: then the name is another one, and the old one somebody else's, maybe.
        let has_grown =
            || rustix::fs::fstat(&self.lock).is_ok_and(|stat| stat.st_size.cast_unsigned() != self.size.get());
        let _names = self.name.as_ref().map(|_| lock_names());
        if has_grown() {
            return forget(&self.id);
        }
        if let Some(name) = &self.name {
            errors.extend(unlink(&name_path(name)).err());
        }
        errors.extend(unlink(&record_path(&self.id)).err());
        errors
    }
}

/// Creates a file and locks it. A sweep that comes between the two takes the file for a dead one's and removes it; then
/// it is made once more. Nothing else of the container exists yet, so the sweep can do no harm.
fn create_locked(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC;
    for _ in 0..MOST_SWEEPS {
        match with_directory(&records_dir(), || rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o600))) {
            Ok(file) => {
                fcntl_lock(&file, FlockOperation::LockExclusive)?;
                if rustix::fs::fstat(&file)?.st_nlink == 1 {
                    return Ok(file);
                }
            }
            Err(Errno::EXIST) => std::thread::yield_now(),
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::AGAIN)
}

/// How often a record is made again before we give up.
const MOST_SWEEPS: usize = 1000;

pub(crate) fn record_path(id: &Id) -> PathBuf {
    records_dir().join(id.as_str())
}

fn records_dir() -> PathBuf {
    run_dir().join("containers")
}

fn name_path(name: &str) -> PathBuf {
    names_dir().join(name)
}

fn names_dir() -> PathBuf {
    data_dir().join("names")
}

/// Who has this name, if it is a container.
pub(crate) fn holder_of(name: &str) -> Option<Id> {
    let target = rustix::fs::readlink(name_path(name), Vec::new()).ok()?;
    Id::from_file_name(target.to_bytes())
}

/// Where the socket is at which a container's monitor answers.
pub(crate) fn socket_path(id: &Id) -> PathBuf {
    run_dir().join("attach").join(id.as_str())
}

/// Where a container's writable layer is.
pub(crate) fn layer_path(id: &Id) -> PathBuf {
    layers_dir().join(id.as_str())
}

/// The directory of all writable layers.
pub(crate) fn layers_dir() -> PathBuf {
    data_dir().join("containers")
}

/// Tries something in a directory, which is made only when it turns out to be missing.
pub(crate) fn with_directory<T>(dir: &Path, attempt: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    match attempt() {
        Err(Errno::NOENT) => {
            make_private_directory(dir)?;
            attempt()
        }
        done => done,
    }
}

/// Makes a directory that only root may look into, and those above it.
pub(crate) fn make_private_directory(path: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)) {
        Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => {
            make_private_directory(path.parent().ok_or(Errno::NOENT)?)?;
            make_private_directory(path)
        }
        done => done,
    }
}

pub(crate) fn take_name(name: &str, id: &Id) -> Result<(), Error> {
    let path = name_path(name);
    let taken = |holder: &str| Error::NameTaken { name: name.to_owned(), id: holder.to_owned() };
    for _ in 0..MOST_HOLDERS {
        match with_directory(&names_dir(), || rustix::fs::symlink(id.as_str(), &path)) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::file("take the name", path)(errno)),
        }
        let target = match rustix::fs::readlink(&path, Vec::new()) {
            Ok(target) => target.into_bytes(),
            // Given up since then.
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(Error::file("read the name", path)(errno)),
        };
        // A dead holder is removed and the name tried again; a living one keeps it.
        if Id::from_file_name(&target).is_some_and(|holder| created::is_called_otherwise(&holder, name)) {
            remove_stale_name(&path, &target)?;
            continue;
        }
        match Id::from_file_name(&target).map(|holder| (try_hold(&holder), holder)) {
            // Whose tool is dead is held by a sweep, which is about to give the name up.
            Some((Ok(Held::Alive), holder)) if is_swept(&holder) => std::thread::sleep(SWEEP_PAUSE),
            Some((Ok(Held::Alive), holder)) => return Err(taken(holder.host_name())),
            Some((Ok(Held::Dead(file)), holder)) => drop((crate::sweep::remove_container(&holder, &file), file)),
            Some((Ok(Held::Gone), holder)) if created::is_there(&holder) => return Err(taken(holder.host_name())),
            Some((Ok(Held::Gone), _)) | None => remove_stale_name(&path, &target)?,
            Some((Err(error), _)) => return Err(error),
        }
    }
    Err(taken("?"))
}

/// How long to wait for a sweep before the name is tried again.
const SWEEP_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// True when the tool that a record names is gone. A record that is empty as yet belongs to one that lives.
fn is_swept(id: &Id) -> bool {
    let pid = facts(id).and_then(|facts| facts.tool_pid).and_then(|pid| i32::try_from(pid).ok());
    let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else { return false };
    rustix::process::test_kill_process(pid) == Err(Errno::SRCH)
}

/// How often a name that was given up, or a dead one's, may turn out to be somebody else's by then.
const MOST_HOLDERS: usize = 100;

/// Removes a name that leads to no record. Its holder may have given it up after `target` was read, and another one have
/// taken it. So it is read again, and the lock keeps the same from happening between that and the removal: who has a
/// record gives the name up before the record, and nobody else removes names without this lock or the record's.
fn remove_stale_name(path: &Path, target: &[u8]) -> Result<(), Error> {
    let _lock = lock_names()?;
    match rustix::fs::readlink(path, Vec::new()) {
        Ok(now) if now.to_bytes() == target => unlink(path),
        _ => Ok(()),
    }
}

/// The lock on the directory of names, until the result is dropped.
fn lock_names() -> Result<OwnedFd, Error> {
    let names = names_dir();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(CWD, &names, flags, Mode::empty());
    let lock = with_directory(&names, open).map_err(Error::file("open", &names))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(Error::file("lock", &names))?;
    Ok(lock)
}

/// Whether somebody holds a record.
pub(crate) enum Held {
    /// A tool is running the container.
    Alive,
    /// Nobody does; the lock is ours now.
    Dead(OwnedFd),
    /// There is no such record.
    Gone,
}

/// Looks whether a record is held, and takes it when it is not.
pub(crate) fn try_hold(id: &Id) -> Result<Held, Error> {
    let path = record_path(id);
    let file = match rustix::fs::openat(CWD, &path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Held::Gone),
        Err(errno) => return Err(Error::file("open the record", path)(errno)),
    };
    try_hold_open(file, &path)
}

fn try_hold_open(file: OwnedFd, path: &Path) -> Result<Held, Error> {
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK | Errno::ACCESS) => return Ok(Held::Alive),
        Err(errno) => return Err(Error::file("lock the record", path)(errno)),
        Ok(()) => {}
    }
    // Its owner may have removed it, or a new one may have just made it and not locked it yet: a new record is empty.
    let stat = rustix::fs::fstat(&file).map_err(Error::file("look at the record", path))?;
    if stat.st_nlink == 0 { Ok(Held::Gone) } else { Ok(Held::Dead(file)) }
}

/// Removes a dead container's record, the socket of its monitor and, unless it stays, every name that leads to it. The
/// caller holds the record.
pub(crate) fn forget(id: &Id) -> Vec<Error> {
    let mut errors = Vec::new();
    if !created::exists(id) {
        errors.extend(forget_names(id));
    }
    errors.extend(unlink(&socket_path(id)).err());
    errors.extend(unlink(&record_path(id)).err());
    errors
}

/// Gives up every name of a container that is no more.
pub(crate) fn forget_names(id: &Id) -> Vec<Error> {
    let names = names_dir();
    let paths = file_names(&names).into_iter().map(|name| names.join(name));
    let is_its = |path: &PathBuf| {
        rustix::fs::readlink(path, Vec::new()).is_ok_and(|target| target.to_bytes() == id.as_str().as_bytes())
    };
    paths.filter(is_its).filter_map(|path| unlink(&path).err()).collect()
}

/// The ids of all records, dead or alive. Whether each is held is asked of each: the kernel's list of all locks makes
/// whoever reads it wait for an RCU grace period, 8 ms here, and everybody who locks anything with it.
pub(crate) fn all() -> Vec<Id> {
    file_names(&records_dir()).into_iter().filter_map(|name| Id::from_file_name(name.as_encoded_bytes())).collect()
}

/// The names in a directory; none when it is missing.
pub(crate) fn file_names(dir: &Path) -> Vec<std::ffi::OsString> {
    use std::os::unix::ffi::OsStringExt;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(fd) = rustix::fs::openat(CWD, dir, flags, Mode::empty()) else { return Vec::new() };
    let mut space = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(fd.as_fd(), &mut space);
    let mut names = Vec::new();
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(std::ffi::OsString::from_vec(name.to_vec()));
        }
    }
    names
}

pub(crate) fn unlink(path: &Path) -> Result<(), Error> {
    match rustix::fs::unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::file("remove", path)(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_say_who_runs_a_container_that_stays() {
        let said = understand(b"{\"tool_pid\":7}\n{\"started\":\"then\"}\n{\"exit_code\":3}\n{\"exi").unwrap();
        assert!(said.facts.is_none());
        let News { tool_pid, started, exit_code, .. } = said.news;
        assert_eq!((tool_pid, started.as_deref(), exit_code), (Some(7), Some("then"), Some(3)));
        assert!(understand(b"").is_none() && understand(b"{\"id\":").is_none());
    }
}
