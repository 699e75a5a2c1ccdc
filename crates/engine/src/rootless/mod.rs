//! Containers of an ordinary user: the same engine, in a user namespace in which that user is root.
//!
//! Everything that the engine does takes the rights of root: it mounts, it makes namespaces and links, it writes files of
//! many owners. An ordinary user gets all of these rights over what belongs to a user namespace of their own, and over
//! nothing else; its ids are ranges that the administrator has set aside for that user (`ids`). So a command of an
//! ordinary user begins with [`enter`], and from there on it is root, in a world in which root is that user.
//!
//! All commands and containers of a user are in one such namespace: else they could neither signal one another nor meet
//! on a network. It belongs to a process that does nothing but be there, the holder (`holder`), which the first command
//! makes, the others find, and which ends by itself soon after the last of them. Beside it the holder has a mount
//! namespace, so that a mount that leaks stays in there, and a network namespace, in which the user's bridges are
//! (`uplink`).
//!
//! What belongs to the user is below `$XDG_RUNTIME_DIR/mycontainer` and `$XDG_DATA_HOME/mycontainer` (`dirs`) instead of
//! /run/mycontainer and /var/lib/mycontainer, in the same order.
//!
//! # What is on the host, and who removes it
//!
//! - In `rootless/` of the run directory: `holder`, locked by the holder as long as it lives, with its process id; `users`,
//!   locked by every process of ours that needs the namespaces; `making`, locked by who makes a holder; `groups`, with
//!   where their control groups are (`groups`). A lock ends with
//!   its process, so what a `kill -9` leaves are files that nobody has locked, and they mean nothing.
//! - The holder. Killed, it takes no container with it: they have the namespaces themselves, and the next command
//!   makes a holder that enters those of a container. Where none runs, new namespaces have the same ids.

mod dirs;
pub(crate) mod groups;
mod holder;
mod ids;
pub(crate) mod ports;
pub(crate) mod uplink;

use crate::error::Error;
use dirs::Dirs;
use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use sys::fork::Namespaces;

/// What a process has that entered.
#[derive(Debug)]
struct Entered {
    run: PathBuf,
    data: PathBuf,
    /// The network namespace of the user's bridges.
    network: &'static OwnedFd,
    /// The process that holds the namespaces.
    holder: i32,
    /// Says that the namespaces are needed, as long as it is open.
    used: &'static OwnedFd,
}

static ENTERED: OnceLock<Entered> = OnceLock::new();

/// Makes an ordinary user root in a user namespace of their own; does nothing for root. What the person should know is
/// told when the namespace is made, not to each command that enters it.
///
/// The caller is single-threaded, and has done nothing yet: inside, the tool executes itself anew with the same words.
/// Its working directory stays. Once inside, another call does nothing.
///
/// # Errors
/// When there can be no such namespace here, and why.
pub fn enter(tell: &mut dyn FnMut(&str)) -> Result<(), Error> {
    if geteuid().is_root() {
        return found_inside();
    }
    let uid = geteuid().as_raw();
    // Before anything else is made: who has no place for files has no use for a namespace.
    dirs::make_data(uid)?;
    let dirs = dirs::of_user(uid)?;
    let used = holder::announce(&dirs.run)?;
    let (pid, notes) = holder::find_or_make(&dirs.run)?;
    let failed = |what: &'static str| move |source| Error::UserNamespace { what, source };
    let home = std::env::current_dir();
    let holder = Pid::from_raw(pid).ok_or(Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let holder = holder.map_err(|errno| failed("find the process that holds it")(errno.into()))?;
    sys::fork::enter(holder.as_fd(), Namespaces::USER | Namespaces::MOUNT).map_err(failed("enter it"))?;
    // Entering mounts leads to their root.
    home.and_then(std::env::set_current_dir).map_err(failed("find the working directory in it"))?;
    notes.iter().for_each(|note| tell(note));
    // The tool that begins again takes the lock over. Had it to be taken anew, a holder whose time is just over would end
    // between, and the tool find no namespaces of its user.
    rustix::io::fcntl_setfd(&used, FdFlags::empty()).map_err(|errno| failed("enter it")(errno.into()))?;
    Ok(runtime::seal::execute_anew()?)
}

/// As [`enter`], of a process that is inside already: the tool has executed itself anew, or was begun by a program that it
/// runs there. Whoever is root in another way has no holder, and stays as they are.
fn found_inside() -> Result<(), Error> {
    if sys::namespace::is_first_user() || ENTERED.get().is_some() {
        return Ok(());
    }
    let Some(uid) = sys::namespace::uid_outside().filter(|uid| *uid != 0) else { return Ok(()) };
    let Ok(dirs) = dirs::of_user(uid) else { return Ok(()) };
    let handed_over = sys::exec::inherited(&holder::directory(&dirs.run).join(holder::USERS));
    let Some(pid) = holder::find(&dirs.run)? else { return Ok(()) };
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).ok();
    if namespace(&pid.to_string()) != namespace("self") {
        return Ok(());
    }
    let used = handed_over.map_or_else(|| holder::announce(&dirs.run), Ok)?;
    remember(dirs, used, pid)
}

/// Notes that this process is inside, where it was not before.
fn remember(dirs: Dirs, used: OwnedFd, holder: i32) -> Result<(), Error> {
    let failed = |what: &'static str| move |source| Error::UserNamespace { what, source };
    let network = std::fs::File::open(holder::directory(&dirs.run).join(holder::NETWORK));
    let network = network.map_err(failed("open its network"))?;
    let [used, network] = sys::detach::keep_always(vec![used, network.into()]) else {
        return Err(failed("enter it")(std::io::ErrorKind::AlreadyExists.into()));
    };
    let entered = Entered { run: dirs.run, data: dirs.data, network, holder, used };
    ENTERED.set(entered).map_err(|_| failed("enter it")(std::io::ErrorKind::AlreadyExists.into()))
}

/// How many subordinate ids a user has, of users and of groups; none without any.
pub(crate) fn ranges(uid: u32, gid: u32) -> Option<(u64, u64)> {
    let maps = ids::Maps::of(uid, gid)?;
    let count = |maps: &[runtime::IdMap]| maps.iter().skip(1).map(|map| u64::from(map.size)).sum();
    Some((count(&maps.uid), count(&maps.gid)))
}

/// What a user of the host is called.
pub(crate) fn name_of(uid: u32) -> Option<String> {
    ids::account(uid).map(|account| account.name)
}

/// The ids that the administrator has set aside for a name that is nobody's.
pub(crate) fn set_aside(name: &str) -> Vec<(u32, u32)> {
    ids::set_aside(name)
}

/// The ids that are set aside for all the others: for the users of this host.
pub(crate) fn all_set_aside_but(name: &str) -> Vec<(u32, u32)> {
    ids::all_set_aside_but(name)
}

/// Whether this process acts for an ordinary user.
pub fn is_rootless() -> bool {
    ENTERED.get().is_some()
}

/// Whether who runs this command is in the user's mount namespace, too: a program that `unshare` runs.
pub(crate) fn is_seen_by_caller() -> bool {
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let mounts = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    mounts(&parent.to_string()).is_some_and(|namespace| Some(namespace) == mounts("self"))
}

/// Whether all files and programs of the user's containers are root's, which is the user: no other ids are set aside.
pub(crate) fn is_single_id() -> bool {
    is_rootless() && sys::namespace::has_one_id()
}

/// The user's directory for what need not outlive a boot; none for root.
pub(crate) fn run_dir() -> Option<&'static Path> {
    ENTERED.get().map(|entered| entered.run.as_path())
}

/// The user's directory for what stays; none for root.
pub(crate) fn data_dir() -> Option<&'static Path> {
    ENTERED.get().map(|entered| entered.data.as_path())
}

/// The network namespace in which the user's bridges are; none for root, whose bridges are the host's.
pub(crate) fn network() -> Option<&'static OwnedFd> {
    ENTERED.get().map(|entered| entered.network)
}

/// Does something where the user's bridges are; as it is for root.
pub(crate) fn on_host<T: Send>(act: impl FnOnce() -> Result<T, network::Error> + Send) -> Result<T, network::Error> {
    network::on_host(network().map(AsFd::as_fd), act)
}
