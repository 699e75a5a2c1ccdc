//! Volumes: directories with a name that outlive the containers that use them.
//!
//! ```text
//! DATA/volumes/            0700
//!   NAME/volume.json       what makes the directory a volume: name, time, labels; written last, renamed into place
//!   NAME/_data/            what a container sees
//!   .lock                  see below; no volume can have this name
//! ```
//!
//! `.lock` (flock) is shared while somebody looks volumes up, and exclusive while one is made, first filled, or removed. A
//! container says in its record which volumes it uses before it looks them up, so one that is removed meanwhile is either
//! seen to be in use or made anew. A removal takes `volume.json` away first: a directory without one is what a `kill -9`
//! left, and goes when its name is used again, or with the next `prune`.

use crate::created;
use crate::error::Error;
use crate::events;
use crate::options::{RunOptions, Volume};
use crate::ownership;
use crate::state::{self, Held, Id, data_dir};
use crate::userns::Maps;
use crate::userns::mounts::Mapper;
use image::remove_tree;
use runtime::{Root, Tree};
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, ResolveFlags, flock, fsync, mkdirat, openat, openat2};
use rustix::fs::{renameat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use step::step;
use sys::mount::{Attributes, set_attributes};

/// The label of a volume that nobody named, as Docker has it.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

const RECORD: &str = "volume.json";
const DRAFT: &str = "volume.json.new";
const CONTENT: &str = "_data";
const LOCK: &str = ".lock";

/// What is known of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// `--label`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Known {
    /// Where its content is, on the host.
    pub fn mountpoint(&self) -> PathBuf {
        mountpoint(&self.name)
    }

    /// True when nobody gave it its name.
    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }
}

/// Where a volume's content is, on the host.
pub(crate) fn mountpoint(name: &str) -> PathBuf {
    path().join(name).join(CONTENT)
}

fn path() -> PathBuf {
    data_dir().join("volumes")
}

/// The directory of all volumes.
struct Store(OwnedFd);

impl Store {
    /// Opens it; made when it is missing.
    fn open() -> Result<Store, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let open = || match open_directory(rustix::fs::CWD, &path()) {
            Err(Errno::NOENT) => {
                state::make_private_directory(&path())?;
                open_directory(rustix::fs::CWD, &path())
            }
            done => done,
        };
        open().map(Store).map_err(Error::file("open", path()))
    }

    fn lock(&self, how: FlockOperation) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = || {
            let lock = openat(&self.0, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
            rustix::io::retry_on_intr(|| flock(&lock, how))?;
            Ok(lock)
        };
        lock().map_err(Error::file("lock", path().join(LOCK)))
    }

    /// What is known of one, if there is one of that name.
    fn find(&self, name: &str) -> Result<Option<Known>, Error> {
        let file = path().join(name).join(RECORD);
        match std::fs::read(&file) {
            Ok(text) => {
                serde_json::from_slice(&text).map(Some).map_err(|source| Error::BadRecord { path: file, source })
            }
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::NOTDIR)) => Ok(None),
            Err(source) => Err(Error::File { what: "read", path: file, source }),
        }
    }

    /// The names of all, and of what was left half made or removed.
    fn names(&self) -> Vec<String> {
        let names = state::file_names(&path()).into_iter().filter_map(|name| name.into_string().ok());
        let mut names: Vec<String> = names.filter(|name| crate::parse::name(name).is_ok()).collect();
        names.sort();
        names
    }

    /// Makes one. The caller has the lock, and there is none of that name.
    fn make(&self, known: &Known) -> Result<(), Error> {
        let what = || format!("make {}", path().join(&known.name).display());
        step("make-volume", "it stays when the container is gone", what, || {
            // Content that a removal did not get to.
            remove_tree(self.0.as_fd(), OsStr::new(&known.name))?;
            let text = serde_json::to_vec_pretty(known).unwrap_or_default();
            let make = || {
                mkdirat(&self.0, known.name.as_str(), Mode::RWXU)?;
                let dir = open_directory(self.0.as_fd(), Path::new(&known.name))?;
                mkdirat(&dir, CONTENT, Mode::RWXU)?;
                // Whatever the caller's umask is.
                rustix::fs::chmodat(&dir, CONTENT, Mode::from_raw_mode(0o755), AtFlags::empty())?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let file = std::fs::File::from(openat(&dir, DRAFT, flags, Mode::RUSR | Mode::WUSR)?);
                std::io::Write::write_all(&mut &file, &text)
                    .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
                fsync(&file)?;
                renameat(&dir, DRAFT, &dir, RECORD)?;
                fsync(&dir)?;
                fsync(&self.0)
            };
            make().map_err(Error::file("make the volume", path().join(&known.name)))?;
            events::volume("create", &known.name);
            Ok(())
        })
    }

    /// Removes one. The caller has the lock.
    fn remove(&self, name: &str) -> Result<(), Error> {
        let what = || format!("remove {}", path().join(name).display());
        step("remove-volume", "nobody uses it", what, || {
            match unlinkat(&self.0, format!("{name}/{RECORD}"), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(Error::file("remove", path().join(name))(error)),
            }
            remove_tree(self.0.as_fd(), OsStr::new(name))?;
            events::volume("destroy", name);
            Ok(())
        })
    }

    fn content(&self, name: &str) -> Result<OwnedFd, Errno> {
        open_directory(self.0.as_fd(), &Path::new(name).join(CONTENT))
    }
}

/// Makes a volume, or finds the one that has this name; without a name it gets one that nobody has. Its name.
pub fn create(name: Option<&str>, labels: &[(String, String)]) -> Result<String, Error> {
    let (store, mut labels) = (Store::open()?, labels.iter().cloned().collect::<BTreeMap<_, _>>());
    let name = match name {
        Some(name) => crate::parse::name(name)
            .map_err(|reason| Error::BadName { name: name.to_owned(), reason: reason.to_string() })?,
        None => {
            labels.insert(ANONYMOUS.into(), String::new());
            Id::random()?.as_str().to_owned()
        }
    };
    let _lock = store.lock(FlockOperation::LockExclusive)?;
    if store.find(&name)?.is_none() {
        store.make(&new(&name, labels))?;
    }
    Ok(name)
}

/// Makes a volume of a container, if it is not there.
pub(crate) fn make_of_container(volume: &Volume) -> Result<(), Error> {
    let Some(name) = &volume.name else { return Ok(()) };
    let store = Store::open()?;
    let _lock = store.lock(FlockOperation::LockExclusive)?;
    if store.find(name)?.is_none() { store.make(&new(name, labels_of(volume))) } else { Ok(()) }
}

fn labels_of(volume: &Volume) -> BTreeMap<String, String> {
    let anonymous = volume.is_anonymous.then(|| (ANONYMOUS.to_owned(), String::new()));
    volume.labels.iter().cloned().chain(anonymous).collect()
}

fn new(name: &str, labels: BTreeMap<String, String>) -> Known {
    Known { name: name.to_owned(), created: image::archive::timestamp(std::time::SystemTime::now()), labels }
}

/// A volume with who uses it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What is known of it.
    pub known: Known,
    /// The containers that use it, by name or the first digits of the id.
    pub containers: Vec<String>,
}

/// All volumes, by name, and what could not be read.
pub fn list() -> Result<(Vec<Listed>, Vec<Error>), Error> {
    let store = Store::open()?;
    let _lock = store.lock(FlockOperation::LockShared)?;
    let (mut listed, mut errors, uses) = (Vec::new(), Vec::new(), uses());
    for name in store.names() {
        match store.find(&name) {
            Ok(Some(known)) => {
                let containers = uses.get(&name).cloned().unwrap_or_default();
                listed.push(Listed { known, containers });
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    Ok((listed, errors))
}

/// The volume of this name.
pub fn get(name: &str) -> Result<Known, Error> {
    let store = Store::open()?;
    let _lock = store.lock(FlockOperation::LockShared)?;
    let known = if crate::parse::name(name).is_ok() { store.find(name)? } else { None };
    known.ok_or_else(|| Error::NoSuchVolume { name: name.to_owned() })
}

/// Removes a volume that no container uses. With `force` that there is none is no error.
pub fn remove(name: &str, force: bool) -> Result<(), Error> {
    let store = Store::open()?;
    let _lock = store.lock(FlockOperation::LockExclusive)?;
    let is_there = crate::parse::name(name).is_ok() && !matches!(store.find(name), Ok(None));
    if !is_there {
        return if force { Ok(()) } else { Err(Error::NoSuchVolume { name: name.to_owned() }) };
    }
    if let Some(container) = uses().get(name).and_then(|containers| containers.first()) {
        return Err(Error::VolumeInUse { name: name.to_owned(), container: container.clone() });
    }
    store.remove(name)
}

/// Removes those of these volumes that were made with a container and are used by none any more. A volume that somebody
/// named stays.
pub(crate) fn remove_unused(volumes: &[Volume]) -> Result<(), Error> {
    let mut nameless = volumes.iter().filter(|volume| volume.is_anonymous).filter_map(|volume| volume.name.as_deref());
    let Some(first) = nameless.next() else { return Ok(()) };
    let store = Store::open()?;
    let _lock = store.lock(FlockOperation::LockExclusive)?;
    let uses = uses();
    for name in std::iter::once(first).chain(nameless).filter(|name| !uses.contains_key(*name)) {
        if store.find(name)?.is_some() {
            store.remove(name)?;
        }
    }
    Ok(())
}

/// What was removed.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Names.
    pub removed: Vec<String>,
    /// Bytes on disk.
    pub bytes: u64,
    /// What could not be removed.
    pub errors: Vec<Error>,
}

/// Removes the volumes that no container uses and `goes` tells of.
pub fn prune(goes: &dyn Fn(&Known) -> bool) -> Result<Pruned, Error> {
    let store = Store::open()?;
    let _lock = store.lock(FlockOperation::LockExclusive)?;
    let (mut pruned, uses) = (Pruned::default(), uses());
    for name in store.names().into_iter().filter(|name| !uses.contains_key(name)) {
        let known = match store.find(&name) {
            Ok(Some(known)) if !goes(&known) => continue,
            Ok(known) => known,
            Err(error) => {
                pruned.errors.push(error);
                continue;
            }
        };
        let bytes = bytes(&path().join(&name).join(CONTENT));
        match store.remove(&name) {
            Ok(()) => {
                pruned.bytes += bytes;
                pruned.removed.extend(known.map(|_| name));
            }
            Err(error) => pruned.errors.push(error),
        }
    }
    Ok(pruned)
}

/// Bytes on disk below a directory.
pub fn bytes(dir: &Path) -> u64 {
    image::directory_bytes(dir)
}

/// The volumes that containers use, with who: those that run and those that were created. For a process that has none of
/// its own.
fn uses() -> BTreeMap<String, Vec<String>> {
    let is_alive = |id: &Id| matches!(state::try_hold(id), Ok(Held::Alive));
    let running: Vec<_> = state::all().into_iter().filter(is_alive).filter_map(|id| state::facts(&id)).collect();
    let created = created::all().into_iter().filter_map(|(_, facts)| facts.ok());
    let mut uses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for facts in running.into_iter().chain(created) {
        for name in &facts.volumes {
            let containers = uses.entry(name.clone()).or_default();
            if !containers.iter().any(|other| other == facts.shown()) {
                containers.push(facts.shown().to_owned());
            }
        }
    }
    uses
}

/// The names that the flags of a container say.
pub(crate) fn named(options: &RunOptions) -> Vec<String> {
    let names: BTreeSet<&String> = options.volumes.iter().filter_map(|volume| volume.name.as_ref()).collect();
    names.into_iter().cloned().collect()
}

/// Finds a container's volumes, makes those that are missing, and fills those that are empty with what the image has in
/// their place. The container's record says already that it uses them. Of which only a part is wanted, that part is
/// returned as a mount, and the volume is no more in the list.
pub(crate) fn resolve(volumes: &mut Vec<Volume>, root: &Root, maps: Option<&Maps>) -> Result<Vec<Tree>, Error> {
    let mut parts = Vec::new();
    if volumes.iter().all(|volume| volume.name.is_none()) {
        return Ok(parts);
    }
    let store = Store::open()?;
    for volume in volumes.iter_mut() {
        let Some(name) = volume.name.clone() else { continue };
        if !is_ready(&store, volume, &name, root)? {
            let _lock = store.lock(FlockOperation::LockExclusive)?;
            // Another may have made it meanwhile.
            if store.find(&name)?.is_none() {
                store.make(&new(&name, labels_of(volume)))?;
            }
            fill(&store, volume, &name, root).map_err(Error::file("fill the volume", path().join(&name)))?;
        }
        volume.source = path().join(&name).join(CONTENT);
        if let Some(part) = &volume.subpath {
            let mount = open_part(&store, &name, part, volume.read_only)?;
            if let Some(maps) = maps.filter(|maps| ownership::is_mapped(volume, maps)) {
                Mapper::of(maps)?.map(mount.as_fd(), &volume.target)?;
            }
            parts.push(Tree { path: volume.target.clone(), mount });
        }
    }
    volumes.retain(|volume| volume.subpath.is_none());
    Ok(parts)
}

/// Whether there is nothing to be made or filled.
fn is_ready(store: &Store, volume: &Volume, name: &str, root: &Root) -> Result<bool, Error> {
    let _lock = store.lock(FlockOperation::LockShared)?;
    let is_there = store.find(name)?.is_some();
    Ok(is_there && (volume.no_copy || !is_empty(store, name)? || content_of(root, &volume.target).is_none()))
}

fn is_empty(store: &Store, name: &str) -> Result<bool, Error> {
    let look = || {
        let mut entries = Dir::read_from(store.content(name)?)?;
        entries.try_fold(true, |is_empty, entry| Ok(is_empty && matches!(entry?.file_name().to_bytes(), b"." | b"..")))
    };
    look().map_err(Error::file("look into the volume", path().join(name)))
}

/// What the root has in the place of a volume, if it has a directory there.
fn content_of(root: &Root, target: &Path) -> Option<OwnedFd> {
    root.open(target, OFlags::PATH | OFlags::DIRECTORY).ok()
}

/// A new or empty volume begins as what the image has there, mode and owner included, as Docker's do.
fn fill(store: &Store, volume: &Volume, name: &str, root: &Root) -> Result<(), Errno> {
    let Some(from) = content_of(root, &volume.target).filter(|_| !volume.no_copy) else { return Ok(()) };
    if !is_empty(store, name).unwrap_or(false) {
        return Ok(());
    }
    let to = store.content(name)?;
    runtime::copy_tree(from.as_fd(), to.as_fd())
}

/// A part of a volume is in it, whatever symlinks a container made there, and is a mount from here on: what is on the path
/// later may be something else. (CVE-2024-23651)
fn open_part(store: &Store, name: &str, part: &Path, read_only: bool) -> Result<OwnedFd, Error> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let open = || {
        let part = openat2(store.content(name)?, part, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let mount = open_tree(&part, "", flags)?;
        if read_only {
            let attributes = Attributes { set: sys::mount::RDONLY, ..Attributes::default() };
            set_attributes(mount.as_fd(), c"", false, attributes).map_err(errno)?;
        }
        Ok(mount)
    };
    open().map_err(Error::file("use the part of the volume", path().join(name).join(CONTENT).join(part)))
}

fn open_directory(at: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(at, path, flags, Mode::empty())
}
