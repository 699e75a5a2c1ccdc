//! The records of containers, and who holds them.
//!
//! `containers/ID` is a line of JSON, and a line more for each thing that is known later (another name, the exit code),
//! under a lock that the tool holds as long as it lives: a record that can be locked is what a killed tool left behind. `names/NAME` is a symbolic link whose target is the id; making it fails when it
//! exists, which is what makes names unique; a container that was created and does not run has its name by its own
//! record (see `created`), which is looked at by whoever has made that link. Everything else that belongs to a container is found by its id.
//!
//! The lock is a POSIX record lock, which belongs to the process: a flock would be shared by the container's first
//! process until it execs, and a tool that was killed while that is still at work would count as alive. Its price: it
//! ends when this process closes any descriptor of the file, so nobody looks at a record of his own.

use crate::confines::Confines;
use crate::created;
use crate::error::Error;
use crate::given::Given;
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

/// Where records live. It need not outlive a boot.
pub(crate) const RUN_DIR: &str = "/run/mycontainer";
/// Where writable layers and unpacked archives live.
pub(crate) const DATA_DIR: &str = "/var/lib/mycontainer";

/// A container's id: 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

    /// Its control group.
    pub(crate) fn cgroup(&self) -> cgroup::Location {
        cgroup::Location::Path(self.group_name())
    }

    /// That group, opened, whether it is there or not.
    pub(crate) fn open_cgroup(&self) -> Result<Cgroup, Error> {
        let open = cgroup::Host::detect().and_then(|host| Cgroup::open(&host, &self.cgroup()));
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
    /// Who runs it, or is making it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tool_pid: Option<u32>,
    /// It is not to be found before it is whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) being_created: bool,
    /// How it was asked to run; None in records of older releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) given: Option<Given>,
}

/// What ROOT was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RootKind {
    Host,
    Directory,
    Archive,
    Image,
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
    /// Its name, or the first digits of its id.
    pub(crate) fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.id.get(..8).unwrap_or(&self.id))
    }
}

/// What a record says; nothing when it is gone, or so new that it says nothing yet.
pub(crate) fn facts(id: &Id) -> Option<Facts> {
    let text = std::fs::read(record_path(id)).ok()?;
    let mut lines = text.split(|byte| *byte == b'\n');
    let mut facts: Facts = serde_json::from_slice(lines.next()?).ok()?;
    if let Some(name) = lines.filter_map(|line| serde_json::from_slice::<News>(line).ok()?.name).next_back() {
        facts.name = Some(name);
    }
    Some(facts)
}

/// What is added to a record later, a line each.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct News {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
}

impl News {
    /// As it is added: in one write, so that a line is there whole or not at all.
    fn line(&self) -> Vec<u8> {
        let mut line = b"\n".to_vec();
        line.extend(serde_json::to_vec(self).unwrap_or_default());
        line
    }
}

/// Writes another name into the record of a container that runs, and gives the old one up. The caller has taken the new
/// one.
pub(crate) fn rename(id: &Id, old: Option<&str>, new: &str) -> Result<(), Error> {
    let path = record_path(id);
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
    let record = match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
        Ok(record) => record,
        Err(Errno::NOENT) => return Err(Error::NoSuchContainer { words: id.as_str().to_owned() }),
        Err(error) => return Err(Error::file("open the record", path)(error)),
    };
    // Its tool gives up name and record under this lock.
    let _names = lock_names()?;
    let news = News { name: Some(new.to_owned()), ..News::default() };
    rustix::io::write(&record, &news.line()).map_err(Error::file("write the record", &path))?;
    if rustix::fs::fstat(&record).map_err(Error::file("look at the record", &path))?.st_nlink == 0 {
        return Err(Error::NoSuchContainer { words: id.as_str().to_owned() });
    }
    old.map_or(Ok(()), |old| unlink(&name_path(old)))
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
    /// Makes the record of a new container and takes its name, if it has one.
    pub(crate) fn claim(id: Id, facts: &Facts) -> Result<Record, Error> {
        let path = record_path(&id);
        let file = create_locked(&path).map_err(Error::file("create the record", &path))?;
        let text = serde_json::to_vec(facts).unwrap_or_default();
        let record = Record { id, name: None, size: Cell::new(text.len() as u64), lock: file };
        rustix::io::write(&record.lock, &text).map_err(Error::file("write the record", &path))?;
        record.with_name(facts.name.as_deref())
    }

    fn with_name(mut self, name: Option<&str>) -> Result<Record, Error> {
        let Some(name) = name else { return Ok(self) };
        match take_name(name, &self.id) {
            Ok(()) => self.name = Some(name.to_owned()),
            Err(error) => {
                self.remove();
                return Err(error);
            }
        }
        // Whoever makes one that stays has the name here until that one says that it has it.
        match created::holder_of(name) {
            None => Ok(self),
            Some(holder) => {
                self.remove();
                Err(Error::NameTaken { name: name.to_owned(), id: holder.host_name().to_owned() })
            }
        }
    }

    /// Notes how the container ended, for who waits for it and has the record open. That it cannot be noted is told to
    /// nobody: whoever waits hears that the code is not known.
    pub(crate) fn ended(&self, exit_code: i32) {
        let news = News { exit_code: Some(exit_code), ..News::default() }.line();
        if rustix::io::write(&self.lock, &news).is_ok() {
            self.size.set(self.size.get() + news.len() as u64);
        }
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
        match with_directory("containers", || rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o600))) {
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
    Path::new(RUN_DIR).join("containers").join(id.as_str())
}

fn name_path(name: &str) -> PathBuf {
    Path::new(RUN_DIR).join("names").join(name)
}

/// Where a container's writable layer is.
pub(crate) fn layer_path(id: &Id) -> PathBuf {
    layers_dir().join(id.as_str())
}

/// The directory of all writable layers.
pub(crate) fn layers_dir() -> PathBuf {
    Path::new(DATA_DIR).join("containers")
}

/// Tries something in a directory of `/run/mycontainer`, which is made only when it turns out to be missing.
fn with_directory<T>(name: &str, attempt: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    match attempt() {
        Err(Errno::NOENT) => {
            let dir = Path::new(RUN_DIR).join(name);
            make_private_directory(&dir)?;
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
        match with_directory("names", || rustix::fs::symlink(id.as_str(), &path)) {
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
        match Id::from_file_name(&target).map(|holder| (try_hold(&holder), holder)) {
            // Whose tool is dead is held by a sweep, which is about to give the name up.
            Some((Ok(Held::Alive), holder)) if is_swept(&holder) => std::thread::sleep(SWEEP_PAUSE),
            Some((Ok(Held::Alive), holder)) => return Err(taken(holder.host_name())),
            Some((Ok(Held::Dead(file)), holder)) => drop((crate::sweep::remove_container(&holder), file)),
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
    let names = Path::new(RUN_DIR).join("names");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lock = rustix::fs::openat(CWD, &names, flags, Mode::empty()).map_err(Error::file("open", &names))?;
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
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK | Errno::ACCESS) => return Ok(Held::Alive),
        Err(errno) => return Err(Error::file("lock the record", path)(errno)),
        Ok(()) => {}
    }
    // Its owner may have removed it, or a new one may have just made it and not locked it yet: a new record is empty.
    let stat = rustix::fs::fstat(&file).map_err(Error::file("look at the record", &path))?;
    if stat.st_nlink == 0 { Ok(Held::Gone) } else { Ok(Held::Dead(file)) }
}

/// Removes a dead container's record and every name that leads to it. The caller holds the record.
pub(crate) fn forget(id: &Id) -> Vec<Error> {
    let mut errors = Vec::new();
    let names = Path::new(RUN_DIR).join("names");
    for name in file_names(&names) {
        let path = names.join(std::ffi::OsStr::new(&name));
        if rustix::fs::readlink(&path, Vec::new()).is_ok_and(|target| target.to_bytes() == id.as_str().as_bytes()) {
            errors.extend(unlink(&path).err());
        }
    }
    errors.extend(unlink(&record_path(id)).err());
    errors
}

/// The ids of all records, dead or alive.
pub(crate) fn all() -> Vec<Id> {
    let dir = Path::new(RUN_DIR).join("containers");
    file_names(&dir).into_iter().filter_map(|name| Id::from_file_name(name.as_encoded_bytes())).collect()
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

fn unlink(path: &Path) -> Result<(), Error> {
    match rustix::fs::unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::file("remove", path)(errno)),
    }
}
