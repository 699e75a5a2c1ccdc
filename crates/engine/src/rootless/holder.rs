//! The process that a user's namespaces belong to, found or made.
//!
//! It begins as a clone of the command that needs it, detached; that one clones the holder itself into the new namespaces
//! and writes its maps, for which it must still be outside, and ends.
//!
//! How it knows that nobody needs it: every process of ours that entered has a shared lock on `users`, on one open file
//! that its children have from it. The holder waits for the exclusive lock, which it gets when the last of them has ended,
//! stays for [`GRACE`] in case that another comes, and ends with the exclusive lock in its hands: who comes in this
//! moment waits until it is gone, and makes another. It never wakes while there is a user.

use super::ids::Maps;
use crate::error::Error;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, ftruncate, openat, stat};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, getegid, geteuid, pidfd_open};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::fork::{Namespaces, Side, clone_into};

/// How long a holder stays that nobody needs.
const GRACE: Duration = Duration::from_secs(5);
/// How often a holder that was found ends before it can be entered, until that is an error.
const ATTEMPTS: usize = 16;

/// The file that in its mount namespace is its network namespace.
pub(super) const NETWORK: &str = "network";

/// The file that whoever needs the namespaces has locked.
pub(super) const USERS: &str = "users";

/// What it says when it is there.
const READY: &str = "ready";

pub(super) fn directory(run: &Path) -> PathBuf {
    run.join("rootless")
}

/// A file of [`directory`], made if it is missing.
pub(super) fn open(run: &Path, name: &str) -> Result<OwnedFd, Error> {
    let path = directory(run).join(name);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = crate::state::with_directory(&directory(run), || openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR));
    opened.map_err(Error::file("open", path))
}

fn lock(file: &OwnedFd, run: &Path, name: &str, how: FlockOperation) -> Result<(), Error> {
    loop {
        match flock(file, how) {
            Err(Errno::INTR) => {}
            done => return done.map_err(Error::file("lock", directory(run).join(name))),
        }
    }
}

/// Says that the namespaces are needed, as long as the descriptor or a copy of it is open.
pub(super) fn announce(run: &Path) -> Result<OwnedFd, Error> {
    let users = open(run, USERS)?;
    lock(&users, run, USERS, FlockOperation::LockShared)?;
    Ok(users)
}

/// The holder's process id, and what a person should know of one that was made. The caller has announced itself, so it
/// stays.
pub(super) fn find_or_make(run: &Path) -> Result<(i32, Vec<String>), Error> {
    for _ in 0..ATTEMPTS {
        if let Some(pid) = find(run)? {
            return Ok((pid, Vec::new()));
        }
        let making = open(run, "making")?;
        lock(&making, run, "making", FlockOperation::LockExclusive)?;
        if find(run)?.is_none() {
            let notes = make(run)?;
            if let Some(pid) = find(run)? {
                return Ok((pid, notes));
            }
        }
    }
    Err(Error::UserNamespace { what: "find the process that holds it", source: Errno::AGAIN.into() })
}

/// The process that has the lock.
pub(super) fn find(run: &Path) -> Result<Option<i32>, Error> {
    let path = directory(run).join("holder");
    let file = match rustix::fs::open(&path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened.map_err(Error::file("open", &path))?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => {}
        Ok(()) => return Ok(None),
        Err(errno) => return Err(Error::file("lock", path)(errno)),
    }
    let mut text = String::new();
    let read = std::fs::File::from(file).read_to_string(&mut text);
    read.map_err(|source| Error::File { what: "read", path, source })?;
    // Empty: it has the lock, and has not written its number yet.
    Ok(text.trim().parse().ok())
}

fn make(run: &Path) -> Result<Vec<String>, Error> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let ranges = Maps::of(uid, gid);
    let is_single = ranges.is_none();
    let maps = ranges.unwrap_or_else(|| Maps::single(uid, gid));
    let failed = |what: &'static str| move |source| Error::UserNamespace { what, source };
    // A number that is in it is a former holder's.
    let emptied = ftruncate(&open(run, "holder")?, 0);
    emptied.map_err(Error::file("empty", directory(run).join("holder")))?;
    let (from, to) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed("make")(errno.into()))?;
    let kept = survivor(run).into_iter().chain([to]).collect();
    sys::detach::spawn_detached_with(c"mc-holder", kept, &[], |mut kept| {
        if let Some(to) = kept.pop() {
            begin(&maps, run, kept.pop(), to);
        }
    })
    .map_err(failed("start the process that holds it"))?;
    let mut said = String::new();
    std::fs::File::from(from).read_to_string(&mut said).map_err(failed("start the process that holds it"))?;
    if said != READY {
        let why = if said.is_empty() { "the process that holds it ended at once".to_owned() } else { said };
        return Err(Error::UserNamespace { what: "make", source: io::Error::other(why) });
    }
    let squashed = "there are no subordinate ids for you in /etc/subuid and /etc/subgid: all files of your containers \
                    belong to you, and their programs can be nobody but root";
    Ok(is_single.then(|| squashed.to_owned()).into_iter().collect())
}

/// A process of ours that lives in the namespaces of a holder which was killed: the monitor of a container. By its name,
/// and only if it is the user's (whose else it is cannot be entered) and has this run directory: with another
/// `$XDG_RUNTIME_DIR`, or in another mount namespace, a user has another holder, which may well live.
fn survivor(run: &Path) -> Option<OwnedFd> {
    let own = std::fs::read_link("/proc/self/ns/user").ok()?;
    let users = directory(run).join(USERS);
    let here = stat(&users).ok()?;
    let is_same = |pid: i32| {
        let there =
            Path::new("/proc").join(pid.to_string()).join("root").join(users.strip_prefix("/").unwrap_or(&users));
        stat(&there).is_ok_and(|there| (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino))
    };
    let all = std::fs::read_dir("/proc").ok()?.flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let is_ours = std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "mc-monitor\n");
        let is_inside = is_ours && std::fs::read_link(format!("/proc/{pid}/ns/user")).is_ok_and(|user| user != own);
        if is_inside && is_same(pid) { pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok() } else { None }
    })
    .next()
}

/// The process between: it makes the holder, maps its ids, and tells why if it cannot. Where there is a survivor it becomes
/// the holder itself, of the namespaces that are there.
fn begin(maps: &Maps, run: &Path, survivor: Option<OwnedFd>, to: OwnedFd) {
    let mut to = std::fs::File::from(to);
    if let Some(survivor) = survivor
        && enter_again(&survivor, run).is_ok()
    {
        return hold(run, &mut to);
    }
    if let Err(why) = clone_holder(maps, run, &mut to) {
        let _ = to.write_all(why.as_bytes());
    }
}

fn enter_again(survivor: &OwnedFd, run: &Path) -> io::Result<()> {
    sys::fork::enter(survivor.as_fd(), Namespaces::USER | Namespaces::MOUNT)?;
    let network = std::fs::File::open(directory(run).join(NETWORK))?;
    sys::fork::enter(network.as_fd(), Namespaces::NETWORK)
}

fn clone_holder(maps: &Maps, run: &Path, to: &mut std::fs::File) -> Result<(), String> {
    let (wait, go) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| e.to_string())?;
    let namespaces = Namespaces::USER | Namespaces::MOUNT | Namespaces::NETWORK;
    match clone_into(namespaces, None).map_err(|e| because(&e))? {
        Side::Child => {
            drop(go);
            if std::fs::File::from(wait).read(&mut [0u8; 1]).is_ok_and(|count| count == 1) {
                match furnish(run) {
                    Ok(()) => hold(run, to),
                    Err(why) => drop(to.write_all(why.as_bytes())),
                }
            }
            sys::fork::exit_now(0)
        }
        Side::Parent { pid, .. } => {
            runtime::map_ids(pid, &maps.uid, &maps.gid).map_err(|e| e.to_string())?;
            std::fs::File::from(go).write_all(b"m").map_err(|e| e.to_string())
        }
    }
}

/// Why the kernel makes no user namespace for an ordinary user.
fn because(error: &io::Error) -> String {
    let why = match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::USERS) => "the limit user.max_user_namespaces is reached, or is 0",
        Some(Errno::PERM) => {
            "this host lets only root make one (kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, \
             or the filter of a container that this is)"
        }
        Some(Errno::INVAL) => "this kernel has none",
        _ => return error.to_string(),
    };
    format!("{error}: {why}")
}

/// What is to be done in new namespaces.
fn furnish(run: &Path) -> Result<(), String> {
    // What the host mounts is seen in here; nothing gets out.
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags).map_err(|e| format!("cannot keep mounts from the host: {e}"))?;
    network::loopback_up().map_err(|e| e.to_string())?;
    // By a name, for programs that may not look into this process.
    drop(open(run, NETWORK).map_err(|e| e.to_string())?);
    let shown = mount_bind("/proc/self/ns/net", directory(run).join(NETWORK));
    shown.map_err(|e| format!("cannot give its network a name: {e}"))
}

/// What the holder does.
fn hold(run: &Path, to: &mut std::fs::File) {
    let held = || -> Result<(OwnedFd, OwnedFd), String> {
        let users = open(run, USERS).map_err(|e| e.to_string())?;
        let holder = open(run, "holder").map_err(|e| e.to_string())?;
        flock(&holder, FlockOperation::NonBlockingLockExclusive).map_err(|e| format!("cannot lock it: {e}"))?;
        let number = format!("{}\n", std::process::id());
        let written = ftruncate(&holder, 0).and_then(|()| rustix::io::pwrite(&holder, number.as_bytes(), 0));
        written.map_err(|e| format!("cannot write its number: {e}"))?;
        Ok((users, holder))
    };
    let (users, holder) = match held() {
        Ok(held) => held,
        Err(why) => {
            let _ = to.write_all(why.as_bytes());
            return;
        }
    };
    let _ = to.write_all(READY.as_bytes());
    // Who waits waits for its end.
    let _ = sys::detach::let_go_of(to.as_fd());
    loop {
        if lock(&users, run, USERS, FlockOperation::LockExclusive).is_err() {
            break;
        }
        if flock(&users, FlockOperation::Unlock).is_err() {
            break;
        }
        std::thread::sleep(GRACE);
        if flock(&users, FlockOperation::NonBlockingLockExclusive).is_ok() {
            break;
        }
    }
    // By now `mc-uplink` sees to it, unless it was killed.
    super::uplink::end_left(&directory(run).join(super::uplink::PID_FILE));
    drop(holder);
}
