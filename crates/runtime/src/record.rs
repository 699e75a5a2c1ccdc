//! The record of a container: what a later command has to know of it.
//!
//! On disk, below the directory that `--root` names:
//!
//! ```text
//! ID             one file a container, of JSON values one after the other:
//!                  {"id":…,"bundle":…,"cgroup":…,"tool":{"pid":…,"start":…}}   when the id is claimed
//!                  {…}                              the whole config.json, with it
//!                  {"init":{"pid":…,"start":…}}     by the tool, when the first process is there (and "cgroup", if that
//!                                                   is elsewhere than it was planned)
//!                  {"started":true}                 by the first process, just before it becomes the program
//!                  {"init":…,"started":true}        by the tool that restores one, before it goes on
//! .start/INODE   the socket through which a created container is started, named by its record's inode
//! ```
//!
//! A value is added by one write at the end, so after `kill -9` at any instant the file has it or does not. (What is torn
//! all the same, on a full disk, is read as not there.) A record is made with O_EXCL, which is what makes ids unique, and
//! removed last. One file, because each entry made in a directory costs up to 0.5 ms on ext4.
//!
//! Who changes a container holds the record's lock: a POSIX lock, which belongs to the process and not, as a flock would,
//! to the container's first process too. Its price: nobody opens a record twice. Reading needs no lock.
//!
//! What a dead tool leaves is found by the record alone: no `init`, and the tool that wrote the first value is gone. Its
//! first process cannot be left (it dies with the tool until it was told not to), its group and socket are removed by
//! `delete`.

use crate::config::{self, Config};
use crate::error::Error;
use crate::pinned::Pinned;
use crate::procfs::Procfs;
use crate::status::{SPEC_VERSION, StateJson, Status};
use cgroup::Location;
use oci_spec::runtime::Spec;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, fcntl_lock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What the first process adds as its last act.
pub(crate) const STARTED: &[u8] = b"{\"started\":true}\n";
/// Where the sockets are. No id begins with a dot.
const SOCKETS: &str = ".start";
/// The longest name of a file.
const LONGEST_ID: usize = 255;

/// The directory of records.
#[derive(Debug)]
pub(crate) struct Records {
    path: PathBuf,
    dir: OwnedFd,
}

/// What is known when an id is claimed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Facts {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) cgroup: Location,
    pub(crate) rootless: bool,
    /// When, by RFC 3339.
    pub(crate) created: String,
    /// Who, by user id.
    pub(crate) owner: u32,
    /// The kernel's boot_id: processes of an earlier boot are gone, whatever has their numbers now.
    pub(crate) boot: String,
    pub(crate) tool: Pinned,
    /// What the tool's standard streams were, which became the first process's: for a checkpoint.
    #[serde(default)]
    pub(crate) streams: Vec<String>,
    /// The configuration's text, a value of its own in the file.
    #[serde(skip)]
    pub(crate) config: String,
}

/// What is added later.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Addition {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    init: Option<Pinned>,
    /// Where its group came to be, when that is elsewhere than it was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cgroup: Option<Location>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    started: bool,
}

/// An open record.
#[derive(Debug)]
pub(crate) struct Record {
    dir: OwnedFd,
    name: String,
    file: Rc<OwnedFd>,
    /// None when the tool was killed before it could write even that.
    pub(crate) facts: Option<Facts>,
    pub(crate) init: Option<Pinned>,
    pub(crate) started: bool,
}

/// Refuses what cannot be an id. [runc: the same letters]
pub(crate) fn check_id(id: &str) -> Result<(), Error> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    if !id.is_empty() && id.len() <= LONGEST_ID && !id.starts_with('.') && id.chars().all(good) {
        return Ok(());
    }
    Err(Error::BadId(id.to_owned()))
}

impl Records {
    /// Opens the directory, after making it when it is missing. Others than its owner have no business there.
    pub(crate) fn open(path: &Path) -> Result<Records, Error> {
        match Records::existing(path) {
            Err(Error::Record { source: Errno::NOENT, .. }) => {
                use std::os::unix::fs::DirBuilderExt;
                let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
                made.map_err(|e| failed("make the directory", path)(crate::mounts::errno(e)))?;
                Records::existing(path)
            }
            opened => opened,
        }
    }

    /// Opens the directory if it is there.
    pub(crate) fn existing(path: &Path) -> Result<Records, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(failed("open", path))?;
        Ok(Records { path: path.to_owned(), dir })
    }

    /// Claims an id and holds its lock.
    pub(crate) fn claim(&self, facts: Facts) -> Result<Record, Error> {
        check_id(&facts.id)?;
        let path = self.path.join(&facts.id);
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let file = match rustix::fs::openat(&self.dir, &facts.id, flags, Mode::from_raw_mode(0o600)) {
                Err(Errno::EXIST) => return Err(Error::IdTaken(facts.id)),
                made => made.map_err(failed("make the record", &path))?,
            };
            lock(&file).map_err(failed("lock", &path))?;
            // Before it was locked it looked like a dead tool's, and somebody may have cleaned it up.
            if is_linked(&file).map_err(failed("look at", &path))? {
                let mut bytes = serde_json::to_vec(&facts).map_err(|e| Error::Invalid(e.to_string()))?;
                bytes.push(b'\n');
                bytes.extend_from_slice(facts.config.as_bytes());
                bytes.push(b'\n');
                write_all(&file, &bytes).map_err(failed("write", &path))?;
                let name = facts.id.clone();
                let dir = self.duplicate()?;
                return Ok(Record { dir, name, file: file.into(), facts: Some(facts), init: None, started: false });
            }
        }
    }

    /// Reads a record.
    pub(crate) fn load(&self, id: &str) -> Result<Record, Error> {
        check_id(id)?;
        let path = self.path.join(id);
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.dir, id, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Err(Error::NoSuchContainer(id.to_owned())),
            opened => opened.map_err(failed("open the record", &path))?,
        };
        let mut record = Record {
            dir: self.duplicate()?,
            name: id.to_owned(),
            file: file.into(),
            facts: None,
            init: None,
            started: false,
        };
        record.read().map_err(failed("read the record", &path))?;
        Ok(record)
    }

    /// Every id, sorted.
    pub(crate) fn ids(&self) -> Result<Vec<String>, Error> {
        let entries = rustix::fs::Dir::read_from(&self.dir).map_err(failed("read", &self.path))?;
        let names = entries.filter_map(|entry| {
            let name = OsString::from_vec(entry.ok()?.file_name().to_bytes().to_vec()).into_string().ok()?;
            check_id(&name).is_ok().then_some(name)
        });
        let mut ids: Vec<String> = names.collect();
        ids.sort();
        Ok(ids)
    }

    fn duplicate(&self) -> Result<OwnedFd, Error> {
        rustix::io::fcntl_dupfd_cloexec(&self.dir, 3).map_err(failed("open", &self.path))
    }
}

impl Record {
    pub(crate) fn id(&self) -> &str {
        &self.name
    }

    /// Waits until nobody else changes the container, then reads what the others did.
    pub(crate) fn lock(&mut self) -> Result<(), Error> {
        let taken = lock(&self.file).and_then(|()| is_linked(&self.file));
        match taken {
            Ok(true) => self.read().map_err(failed("read the record", Path::new(&self.name))),
            Ok(false) => Err(Error::NoSuchContainer(self.name.clone())),
            Err(errno) => Err(failed("lock the record", Path::new(&self.name))(errno)),
        }
    }

    /// As [`Record::lock`], without reading it again. False when the record is gone.
    pub(crate) fn lock_if_there(&mut self) -> Result<bool, Error> {
        lock(&self.file).and_then(|()| is_linked(&self.file)).map_err(failed("lock the record", Path::new(&self.name)))
    }

    /// Lets others change the container.
    pub(crate) fn unlock(&self) {
        // Nothing can be done about a failure, and the end of this process is one more unlocking.
        let _ = fcntl_lock(&self.file, FlockOperation::Unlock);
    }

    /// True when somebody changes the container at this moment.
    pub(crate) fn try_lock(&mut self) -> Result<bool, Error> {
        match fcntl_lock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => self.lock().map(|()| true),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
            Err(errno) => Err(failed("lock the record", Path::new(&self.name))(errno)),
        }
    }

    fn read(&mut self) -> Result<(), Errno> {
        let mut bytes = Vec::new();
        let mut chunk = [0u8; 32 * 1024];
        loop {
            match rustix::io::pread(&self.file, &mut chunk[..], bytes.len() as u64)? {
                0 => break,
                got => bytes.extend_from_slice(&chunk[..got]),
            }
        }
        let mut values = serde_json::Deserializer::from_slice(&bytes);
        let told = Facts::deserialize(&mut values).and_then(|facts| {
            let config: &RawValue = Deserialize::deserialize(&mut values)?;
            Ok(Facts { config: config.get().to_owned(), ..facts })
        });
        self.facts = told.ok();
        (self.init, self.started) = (None, false);
        if let Some(facts) = &mut self.facts {
            while let Ok(addition) = Addition::deserialize(&mut values) {
                self.init = addition.init.or(self.init);
                self.started |= addition.started;
                if let Some(cgroup) = addition.cgroup {
                    facts.cgroup = cgroup;
                }
            }
        }
        Ok(())
    }

    /// Adds who the first process is, and where its group is.
    pub(crate) fn add_init(&mut self, init: Pinned, cgroup: &Location) -> Result<(), Error> {
        self.add(init, cgroup, false)
    }

    /// Adds a first process that runs its program already.
    pub(crate) fn add_restored(&mut self, init: Pinned, cgroup: &Location) -> Result<(), Error> {
        self.add(init, cgroup, true)
    }

    fn add(&mut self, init: Pinned, cgroup: &Location, started: bool) -> Result<(), Error> {
        let moved = self.facts.as_ref().is_some_and(|facts| facts.cgroup != *cgroup);
        let addition = Addition { init: Some(init), cgroup: moved.then(|| cgroup.clone()), started };
        let mut bytes = serde_json::to_vec(&addition).map_err(|e| Error::Invalid(e.to_string()))?;
        bytes.push(b'\n');
        write_all(&self.file, &bytes).map_err(failed("write the record", Path::new(&self.name)))?;
        self.init = Some(init);
        self.started |= started;
        if let Some(facts) = self.facts.as_mut().filter(|_| moved) {
            facts.cgroup = cgroup.clone();
        }
        Ok(())
    }

    /// The record's file, for the first process to add to.
    ///
    /// The very same descriptor: were a duplicate closed here, the lock would be gone with it.
    pub(crate) fn for_first_process(&self) -> Rc<OwnedFd> {
        self.file.clone()
    }

    /// Makes the socket through which the container is started, and listens there.
    pub(crate) fn listen_for_start(&self) -> Result<OwnedFd, Error> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType};
        let wrap = |source| Error::Socket { what: "listen at", path: self.socket_name().into(), source };
        match rustix::fs::mkdirat(&self.dir, SOCKETS, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(wrap(errno)),
        }
        // An inode's number is used again only when its record is gone; its socket was to go with it.
        match rustix::fs::unlinkat(&self.dir, self.socket_name(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(wrap(errno)),
        }
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(wrap)?;
        rustix::net::bind(&socket, &self.address().map_err(wrap)?).map_err(wrap)?;
        rustix::net::listen(&socket, 1).map_err(wrap)?;
        Ok(socket)
    }

    /// Connects to a container that waits for its start. None when nobody waits there any more.
    pub(crate) fn connect_to_start(&self) -> Result<Option<OwnedFd>, Error> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType};
        let wrap = |source| Error::Socket { what: "connect to", path: self.socket_name().into(), source };
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(wrap)?;
        match rustix::net::connect(&socket, &self.address().map_err(wrap)?) {
            Ok(()) => Ok(Some(socket)),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(None),
            Err(errno) => Err(wrap(errno)),
        }
    }

    /// Removes the socket; that there was none is no error.
    pub(crate) fn remove_socket(&self) {
        let _ = rustix::fs::unlinkat(&self.dir, self.socket_name(), AtFlags::empty());
    }

    /// Removes the record: the id is free.
    pub(crate) fn remove(self) -> Result<(), Error> {
        self.remove_socket();
        match rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("remove the record", Path::new(&self.name))(errno)),
        }
    }

    fn socket_name(&self) -> String {
        let inode = rustix::fs::fstat(&self.file).map_or(0, |stat| stat.st_ino);
        format!("{SOCKETS}/{inode}")
    }

    /// By descriptor, since a socket's address holds 107 bytes and a path is longer.
    fn address(&self) -> Result<rustix::net::SocketAddrUnix, Errno> {
        let dir = self.dir.as_fd().as_raw_fd();
        rustix::net::SocketAddrUnix::new(format!("/proc/self/fd/{dir}/{}", self.socket_name()))
    }
}

impl Facts {
    /// The configuration as it was when the container was made.
    pub(crate) fn config(&self) -> Result<Config<'_>, Error> {
        config::read(&self.config).map_err(|e| Error::Invalid(e.to_string()))
    }

    /// The state in the specification's shape.
    pub(crate) fn state(&self, spec: &Spec, status: Status, pid: i32) -> StateJson {
        StateJson {
            oci_version: if spec.version().is_empty() { SPEC_VERSION.into() } else { spec.version().clone() },
            id: self.id.clone(),
            status,
            pid,
            bundle: self.bundle.clone(),
            annotations: spec.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        }
    }

    /// True when this was written since the kernel started.
    pub(crate) fn is_of_this_boot(&self, proc: &Procfs) -> bool {
        boot_id(proc).is_ok_and(|boot| boot == self.boot)
    }
}

/// The kernel's name for the time since it started. [random(4)]
pub(crate) fn boot_id(proc: &Procfs) -> Result<String, Error> {
    let id = proc.read("sys/kernel/random/boot_id").map_err(Error::Proc)?;
    Ok(id.trim().to_owned())
}

fn lock(file: &OwnedFd) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| fcntl_lock(file, FlockOperation::LockExclusive))
}

fn is_linked(file: &OwnedFd) -> Result<bool, Errno> {
    rustix::fs::fstat(file).map(|stat| stat.st_nlink > 0)
}

fn write_all(file: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    let wrote = rustix::io::retry_on_intr(|| rustix::io::write(file, bytes))?;
    if wrote == bytes.len() { Ok(()) } else { Err(Errno::NOSPC) }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(Errno) -> Error {
    let path = path.to_owned();
    move |source| Error::Record { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(id: &str) -> Facts {
        let proc = Procfs::host().unwrap();
        Facts {
            id: id.into(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            cgroup: Location::None,
            rootless: false,
            created: "2026-01-01T00:00:00Z".into(),
            owner: 0,
            boot: boot_id(&proc).unwrap(),
            tool: Pinned::this(&proc).unwrap(),
            streams: Vec::new(),
            config: "{\n \"ociVersion\": \"1.0.0\"\n}".into(),
        }
    }

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("mycontainer-record-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn ids_are_names_of_files_and_nothing_else() {
        for good in ["a", "0", "_x", "+x", "-x", "a.b", "A+b_c-d.e", &"x".repeat(255)] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".x", "a/b", "a b", "ä", "a\0", "a\n", &"x".repeat(256)] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_record_says_what_was_added_to_it() {
        let path = scratch("added");
        let records = Records::open(&path).unwrap();
        let mut record = records.claim(facts("a")).unwrap();
        assert!(matches!(records.claim(facts("a")), Err(Error::IdTaken(_))));
        let read = records.load("a").unwrap();
        assert!(read.facts.as_ref().unwrap().config().is_ok());
        assert!(read.init.is_none() && !read.started);
        let init = Pinned { pid: 5, start: 6 };
        record.add_init(init, &Location::Path("/elsewhere".into())).unwrap();
        write_all(&record.for_first_process(), STARTED).unwrap();
        let read = records.load("a").unwrap();
        assert_eq!((read.init, read.started), (Some(init), true));
        assert_eq!(read.facts.unwrap().cgroup, Location::Path("/elsewhere".into()));
        assert_eq!(records.ids().unwrap(), ["a"]);
        record.remove().unwrap();
        assert!(matches!(records.load("a"), Err(Error::NoSuchContainer(_))));
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_record_that_was_cut_off_anywhere_is_read_as_far_as_it_goes() {
        let path = scratch("cut");
        let records = Records::open(&path).unwrap();
        let mut record = records.claim(facts("a")).unwrap();
        record.add_init(Pinned { pid: 5, start: 6 }, &Location::None).unwrap();
        write_all(&record.for_first_process(), STARTED).unwrap();
        let whole = std::fs::read(path.join("a")).unwrap();
        for length in 0..whole.len() {
            std::fs::write(path.join("cut"), &whole[..length]).unwrap();
            let read = records.load("cut").unwrap();
            assert!(!read.started || length + 1 >= whole.len(), "{length}");
            assert!(read.init.is_none() || read.facts.is_some(), "{length}");
        }
        std::fs::remove_dir_all(&path).unwrap();
    }
}
