//! What the container's first process does before it becomes the user's program: the child's side of a start.
//!
//! Read [`become_container`] from top to bottom to learn what a container is. It runs as a copy of the tool in new
//! namespaces, with root's rights and the host's file system still in reach; each step gives something up.

use crate::bundle::{File, Stdio, Tree};
use crate::channel::Channel;
use crate::error::Error;
use crate::plan::Plan;
use crate::root::{Kind, Root};
use crate::{credentials, devices, exec, files, mask, mounts, sysctl, terminal};
use cgroup::Cgroup;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use step::step;
use sys::fork::Namespaces;

/// All that the child needs, in its own copy of the tool's memory.
pub(crate) struct Birth<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) root: &'a Root,
    pub(crate) trees: &'a [Tree],
    pub(crate) files: &'a [File],
    pub(crate) cgroup: &'a Cgroup,
    pub(crate) filter: Option<&'a seccomp::Program>,
    pub(crate) init: Option<&'a OwnedFd>,
    pub(crate) stdio: &'a Stdio,
}

/// Becomes the program, or tells the tool why not and ends.
pub(crate) fn run(birth: &Birth<'_>, parent: &Channel) -> ! {
    step::enter_container();
    let Err(error) = become_container(birth, parent);
    parent.send_failure(&error);
    sys::fork::exit_now(1)
}

fn become_container(birth: &Birth<'_>, parent: &Channel) -> Result<Infallible, Error> {
    let Birth { plan, root, .. } = birth;
    let process = &plan.process;
    die_with_parent(parent)?;
    // Modes are as they are asked for; the program gets a mask of its own at the end.
    rustix::process::umask(rustix::fs::Mode::empty());
    birth.cgroup.join()?;
    enter_cgroup_namespace(plan.namespaces)?;
    set_names(plan)?;
    raise_loopback(plan.namespaces)?;

    let sources = mounts::open_sources(&plan.mounts)?;
    mounts::detach_from_host()?;
    mounts::attach_root(root, plan.root_propagation)?;
    attach_trees(root, birth.trees)?;
    let files = files::prepare(root, birth.files)?;
    mount_all(birth, sources)?;
    devices::make(root, &plan.devices)?;
    files::put(root, birth.files, &files, plan.root_readonly)?;
    let terminal = open_terminal(root, birth.stdio)?;
    let null = open_null(root, birth.stdio)?;
    set_sysctls(plan)?;
    mask::mask(root, &plan.masked)?;
    mask::make_readonly(root, &plan.readonly)?;
    make_working_directory(root, &process.cwd)?;
    if plan.root_readonly {
        mounts::make_root_readonly(root)?;
    }
    mounts::pivot(root)?;

    leave_session()?;
    take_streams(birth.stdio, terminal, null.as_ref(), process.uid, parent)?;
    forget_keys()?;
    credentials::set_limits(process)?;
    wait_for_start(parent)?;
    credentials::become_user(process)?;
    die_with_parent(parent)?;
    enter_working_directory(&process.cwd)?;
    let program = exec::find(&process.args[0], &process.env, &process.cwd)?;
    sys::signal::reset_all();
    seal_descriptors()?;
    parent.send_ready().map_err(Error::Channel)?;
    credentials::confine(process, birth.filter)?;
    match birth.init {
        Some(init) => exec::exec_init(init, &program, &process.args, &process.env),
        None => exec::exec(&program, &process.args, &process.env),
    }
}

/// A container whose tool is killed goes with it. A change of user clears this, so it is said again after that; a tool
/// that died before it was said is noticed by its closed end of the channel.
fn die_with_parent(parent: &Channel) -> Result<(), Error> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Error::process("ask to be killed with the tool"))?;
    if parent.is_closed() { Err(Error::Vanished) } else { Ok(()) }
}

/// Not by clone3: its cgroup namespace would be rooted where the tool is, not in the group that the child joins.
fn enter_cgroup_namespace(namespaces: Namespaces) -> Result<(), Error> {
    if !namespaces.contains(Namespaces::CGROUP) {
        return Ok(());
    }
    step(
        "cgroup-namespace",
        "the container's group looks like the root of all groups",
        || "unshare the cgroup namespace".into(),
        || sys::fork::unshare(Namespaces::CGROUP),
    )
    .map_err(|source| Error::Unshare { kind: "cgroup", source })
}

fn set_names(plan: &Plan) -> Result<(), Error> {
    if let Some(name) = &plan.hostname {
        step(
            "set-hostname",
            "a name of its own",
            || format!("name the host {name}"),
            || rustix::system::sethostname(name.as_bytes()),
        )
        .map_err(Error::process(format!("set the host name {name:?}")))?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .map_err(Error::process(format!("set the domain name {name:?}")))?;
    }
    Ok(())
}

fn raise_loopback(namespaces: Namespaces) -> Result<(), Error> {
    if !namespaces.contains(Namespaces::NETWORK) {
        return Ok(());
    }
    step("raise-loopback", "127.0.0.1 must answer", || "bring lo up".into(), sys::net::loopback_up)
        .map_err(|source| Error::Process { what: "bring the loopback interface up".into(), source })
}

/// What the caller has mounted already, detached: the host's other file systems under a view of the host.
fn attach_trees(root: &Root, trees: &[Tree]) -> Result<(), Error> {
    trees.iter().try_for_each(|tree| {
        let what = || format!("attach the file system at {}", tree.path.display());
        step("attach-tree", "a part of the root on a file system of its own", what, || {
            let target = root.target(&tree.path, Kind::Directory)?;
            let failed = |source| Error::Mount { fstype: "overlay".into(), target: tree.path.clone(), source };
            mounts::attach(tree.mount.as_fd(), target.as_fd()).map_err(failed)
        })
    })
}

fn mount_all(birth: &Birth<'_>, sources: Vec<Option<OwnedFd>>) -> Result<(), Error> {
    let Birth { plan, root, cgroup, .. } = birth;
    let mut list = plan.mounts.iter().zip(sources);
    list.try_for_each(|(mount, source)| mounts::mount(root, mount, source, plan.namespaces, cgroup))
}

fn open_terminal(root: &Root, stdio: &Stdio) -> Result<Option<terminal::Terminal>, Error> {
    match stdio {
        Stdio::Terminal { size } => terminal::open(root, *size).map(Some),
        Stdio::Fds(_) => Ok(None),
    }
}

/// The container's own null device, when a stream is the host's: through that one the program could change the mode and
/// owner of the host's node.
fn open_null(root: &Root, stdio: &Stdio) -> Result<Option<OwnedFd>, Error> {
    let Stdio::Fds(fds) = stdio else { return Ok(None) };
    if !fds.iter().any(|fd| devices::is_null(fd.as_fd())) {
        return Ok(None);
    }
    let path = Path::new("dev/null");
    let opened = root.open(path, OFlags::RDWR | OFlags::NOCTTY);
    match opened.map_err(|source| Error::Open { path: "/dev/null".into(), source }) {
        Ok(null) if devices::is_null(null.as_fd()) => Ok(Some(null)),
        Ok(_) => Err(Error::Open { path: "/dev/null".into(), source: Errno::NODEV }),
        Err(error) => Err(error),
    }
}

fn set_sysctls(plan: &Plan) -> Result<(), Error> {
    if plan.sysctl.is_empty() {
        return Ok(());
    }
    sysctl::set(&sysctl::private_proc()?, &plan.sysctl)
}

/// A missing working directory is made, as Docker does for WORKDIR.
fn make_working_directory(root: &Root, cwd: &Path) -> Result<(), Error> {
    if cwd == Path::new("/") {
        return Ok(());
    }
    root.target(cwd, Kind::Directory).map(drop).map_err(|error| match error {
        Error::Target { path, source } => Error::WorkingDirectory { path, source },
        other => other,
    })
}

fn leave_session() -> Result<(), Error> {
    // The program must not be able to push input into the terminal that the tool was started from (TIOCSTI).
    rustix::process::setsid().map(drop).map_err(Error::process("start a new session"))
}

fn take_streams(
    stdio: &Stdio,
    terminal: Option<terminal::Terminal>,
    null: Option<&OwnedFd>,
    uid: u32,
    parent: &Channel,
) -> Result<(), Error> {
    let failed = || Error::process("take the standard streams");
    match (stdio, terminal) {
        (_, Some(terminal)) => {
            parent.send_terminal(&terminal.controlling).map_err(Error::Channel)?;
            if uid != 0 {
                let owner = Some(rustix::fs::Uid::from_raw(uid));
                rustix::fs::fchown(&terminal.user, owner, None).map_err(Error::Terminal)?;
            }
            terminal::take(&terminal.user)?;
            take_three([terminal.user.as_fd(); 3]).map_err(failed())
        }
        (Stdio::Fds(fds), None) => {
            let own = |fd: &OwnedFd| if devices::is_null(fd.as_fd()) { null.map(OwnedFd::as_fd) } else { None };
            let [input, output, error] = fds;
            fds.iter().try_for_each(|fd| give_pipe_to(fd, uid)).map_err(failed())?;
            let chosen = [input, output, error].map(|fd| own(fd).unwrap_or(fd.as_fd()));
            take_three(chosen).map_err(failed())
        }
        (Stdio::Terminal { .. }, None) => Err(Error::Terminal(Errno::NODEV)),
    }
}

/// A program that is not root can open its own /dev/stdout again only when the pipe behind it is its own.
fn give_pipe_to(fd: &OwnedFd, uid: u32) -> Result<(), Errno> {
    let is_pipe = |fd| rustix::fs::fstat(fd).map(|s| FileType::from_raw_mode(s.st_mode) == FileType::Fifo);
    if uid != 0 && is_pipe(fd)? {
        rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None)?;
    }
    Ok(())
}

fn take_three([input, output, error]: [std::os::fd::BorrowedFd<'_>; 3]) -> Result<(), Errno> {
    rustix::stdio::dup2_stdin(input)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(error)
}

fn forget_keys() -> Result<(), Error> {
    let join = || match sys::keyring::join_session_keyring(c"mycontainer") {
        // A kernel or a sandbox without keyrings has none to leak.
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NOSYS | Errno::PERM | Errno::DQUOT)) => Ok(()),
        done => done,
    };
    step("forget-keys", "the caller's kernel keys are not the container's", || "join a new keyring".into(), join)
        .map_err(|source| Error::Process { what: "join a new session keyring".into(), source })
}

fn wait_for_start(parent: &Channel) -> Result<(), Error> {
    let wait = || if parent.wait_for_start() { Ok(()) } else { Err(Error::Vanished) };
    step("wait-for-start", "the network is being connected meanwhile", || "wait for the tool".into(), wait)
}

/// Changes to the working directory by descriptor, then looks where it is: a directory that is not below the root
/// would be a way out. (CVE-2024-21626)
fn enter_working_directory(cwd: &Path) -> Result<(), Error> {
    let enter = || {
        let root = Root::open_host(Path::new("/"))?;
        let dir = root.open(cwd, OFlags::PATH | OFlags::DIRECTORY)?;
        rustix::process::fchdir(&dir)?;
        let here = rustix::process::getcwd(Vec::new())?;
        if here.to_bytes().starts_with(b"/") { Ok(()) } else { Err(Errno::NOENT) }
    };
    step("change-directory", "the program starts there", || format!("change to {}", cwd.display()), enter)
        .map_err(|source| Error::WorkingDirectory { path: cwd.to_owned(), source })
}

/// Whatever the tool was given or left open stays out of the program. (CVE-2016-9962)
fn seal_descriptors() -> Result<(), Error> {
    step(
        "seal-descriptors",
        "no descriptor of the host gets in",
        || "close-on-exec from 3 on".into(),
        || sys::exec::close_on_exec_from(3),
    )
    .map_err(|source| Error::Process { what: "close the tool's descriptors".into(), source })
}
