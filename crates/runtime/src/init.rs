//! What the container's first process does before it becomes the user's program: the child's side of a start.
//!
//! Read [`become_container`] from top to bottom to learn what a container is. It runs as a copy of the tool in new
//! namespaces, with root's rights and the host's file system still in reach; each step gives something up.

use crate::bundle::{Bundle, Rootfs, Stdio, Tree};
use crate::channel::{Channel, Order};
use crate::error::Error;
use crate::labels::{self, Labels};
use crate::namespaces::Joined;
use crate::plan::{Plan, PlannedProcess};
use crate::procfs::Procfs;
use crate::record::STARTED;
use crate::root::{Kind, Root, is_directory};
use crate::status::{StateJson, Status};
use crate::{
    credentials, devices, exec, files, hooks, mask, memory_policy, mounts, pause, personality, scheduling, sysctl,
    terminal, time_offsets,
};
use cgroup::Cgroup;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use step::step;
use sys::fork::Namespaces;

/// All that the child needs, in its own copy of the tool's memory.
pub(crate) struct Birth<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) bundle: &'a Bundle,
    pub(crate) joined: &'a Joined,
    /// The bind mounts' sources, where they had to be opened outside.
    pub(crate) sources: Option<&'a [Option<OwnedFd>]>,
    pub(crate) cgroup: &'a Cgroup,
    pub(crate) is_cgroup_v2: bool,
    pub(crate) filter: Option<&'a seccomp::Program>,
    pub(crate) init: Option<&'a OwnedFd>,
    pub(crate) state: &'a StateJson,
    /// The tool has to do something before this process may go on.
    pub(crate) waits_for_place: bool,
}

/// Becomes the program, or tells the tool why not and ends.
pub(crate) fn run(birth: &Birth<'_>, parent: &Channel) -> ! {
    step::enter_container();
    let mut starter = None;
    let Err(error) = become_container(birth, parent, &mut starter);
    starter.as_ref().unwrap_or(parent).send_failure(&error);
    sys::fork::exit_now(1)
}

/// `starter` becomes whoever starts the container in place of the tool that made it.
fn become_container(birth: &Birth<'_>, parent: &Channel, starter: &mut Option<Channel>) -> Result<Infallible, Error> {
    let Birth { plan, bundle, .. } = birth;
    let process = &plan.process;
    die_with_parent(parent)?;
    // Modes are as they are asked for; the program gets a mask of its own at the end.
    rustix::process::umask(rustix::fs::Mode::empty());
    enter_namespaces(birth, parent)?;
    set_names(plan)?;
    raise_loopback(plan.namespaces.new)?;

    let streams = if plan.has_new_mounts() { build_root(birth, parent)? } else { borrow_root(birth, parent)? };

    leave_session()?;
    take_streams(&bundle.stdio, streams, process.uid, parent)?;
    if !bundle.extras.keep_keyring {
        forget_keys()?;
    }
    set_attributes(plan)?;
    credentials::set_limits(process)?;
    credentials::become_user(process)?;
    die_with_parent(parent)?;
    enter_working_directory(&process.cwd)?;
    let find = || exec::find(&process.args[0], &process.env, &process.cwd);
    let program = if bundle.extras.pause { None } else { Some(find()?) };
    sys::signal::reset_all();
    *starter = wait_for_start(bundle, parent)?;
    let container = StateJson { pid: own_pid(), status: Status::Created, ..birth.state.clone() };
    hooks::run(&plan.hooks.start_container, "startContainer", &container.to_json(), None)?;
    seal_descriptors(bundle.extras.preserve_fds)?;
    write_started(bundle)?;
    match starter {
        // Whoever started it may be gone again; that is no reason not to run.
        Some(starter) => drop(starter.send_ready()),
        None => parent.send_ready().map_err(Error::Channel)?,
    }
    credentials::confine(process, birth.filter, starter.as_ref().unwrap_or(parent))?;
    match (&program, birth.init) {
        (None, _) => pause::hold(),
        (Some(program), Some(init)) => exec::exec_init(init, program, &process.args, &process.env),
        (Some(program), None) => exec::exec(program, &process.args, &process.env),
    }
}

/// From the namespaces that the clone made to all that the container has.
fn enter_namespaces(birth: &Birth<'_>, parent: &Channel) -> Result<(), Error> {
    let Birth { plan, joined, .. } = birth;
    if !plan.namespaces.needs_stage() {
        birth.cgroup.join_after_clone()?;
    }
    if birth.waits_for_place {
        wait_for(parent, Order::Placed)?;
    }
    // What else is in a pid namespace that is shared must not look into this process while it still is the tool.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Error::process("hide from other processes"))?;
    if !plan.namespaces.needs_stage() {
        joined.enter_rest()?;
    }
    enter_cgroup_namespace(plan.namespaces.new)?;
    if plan.namespaces.new.contains(Namespaces::TIME) {
        time_offsets::enter(&Procfs::host()?, &plan.time_offsets)?;
    }
    if plan.has_user_namespace() { credentials::become_root_of_namespace() } else { Ok(()) }
}

/// Where the program's streams come from, beside the tool's own.
#[derive(Default)]
pub(crate) struct Streams {
    pub(crate) terminal: Option<terminal::Terminal>,
    /// The container's own null device, in place of the host's.
    pub(crate) null: Option<OwnedFd>,
}

/// Mounts all that the container sees, and enters it.
fn build_root(birth: &Birth<'_>, parent: &Channel) -> Result<Streams, Error> {
    let Birth { plan, bundle, .. } = birth;
    let own_sources = if birth.sources.is_none() { mounts::open_sources(&plan.mounts)? } else { Vec::new() };
    let opened;
    let root = match &bundle.root {
        Rootfs::Mount(root) => root,
        Rootfs::Given => {
            opened = Root::new(parent.receive_root().ok_or(Error::Vanished)?);
            &opened
        }
        Rootfs::Directory(path) => {
            opened = mounts::open_root(path).map_err(|source| Error::MountSource { path: path.clone(), source })?;
            &opened
        }
    };
    mounts::detach_from_host()?;
    mounts::attach_root(root, plan.root_propagation)?;
    attach_trees(root, &bundle.trees, "a part of the root on a file system of its own, or of a volume")?;
    let files = files::prepare(root, &bundle.files)?;
    mount_all(birth, root, birth.sources.unwrap_or(&own_sources))?;
    attach_trees(root, &bundle.extras.shared, "shared with another container")?;
    if let Some(devices) = &plan.devices {
        devices::make(root, devices)?;
    }
    files::put(root, &bundle.files, &files, plan.root_readonly)?;
    let terminal = open_terminal(root, &bundle.stdio)?;
    let null = open_null(root, &bundle.stdio)?;
    mounts::seal_dev(root, &plan.mounts)?;
    set_sysctls(plan)?;
    mask::mask(root, &plan.masked)?;
    mask::make_readonly(root, &plan.readonly)?;
    make_working_directory(root, &plan.process.cwd)?;
    run_hooks_outside(birth, parent)?;
    if plan.root_readonly {
        mounts::make_root_readonly(root)?;
    }
    if bundle.extras.no_pivot {
        mounts::move_root(root)?
    } else {
        mounts::pivot(root)?
    }
    mounts::share_root(plan.root_propagation)?;
    Ok(Streams { terminal, null })
}

/// In the mount namespace of others nothing is mounted: the root is a directory there.
fn borrow_root(birth: &Birth<'_>, parent: &Channel) -> Result<Streams, Error> {
    let Birth { plan, bundle, .. } = birth;
    let Rootfs::Directory(path) = &bundle.root else {
        return Err(Error::Invalid("its root is a mount, and it has no mount namespace of its own".into()));
    };
    set_sysctls(plan)?;
    run_hooks_outside(birth, parent)?;
    mounts::change_root(path)?;
    let root = Root::open_host(Path::new("/")).map_err(|source| Error::Root { what: "open the root", source })?;
    let terminal = match &bundle.stdio {
        Stdio::Terminal { size } => Some(terminal::open_unnamed(&root, *size)?),
        Stdio::Fds(_) => None,
    };
    Ok(Streams { terminal, null: None })
}

/// The hooks that look at the built root from the host's: those of the tool, then those of the container.
fn run_hooks_outside(birth: &Birth<'_>, parent: &Channel) -> Result<(), Error> {
    let hooks = &birth.plan.hooks;
    if !hooks.create_runtime.is_empty() {
        parent.send_built().map_err(Error::Channel)?;
        wait_for(parent, Order::Hooked)?;
    }
    let state = StateJson { pid: own_pid(), ..birth.state.clone() };
    hooks::run(&hooks.create_container, "createContainer", &state.to_json(), Some(&birth.bundle.dir))
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

pub(crate) fn wait_for(parent: &Channel, order: Order) -> Result<(), Error> {
    if parent.next_order() == Some(order) { Ok(()) } else { Err(Error::Vanished) }
}

/// What a program inherits and has no other place.
pub(crate) fn set_attributes(plan: &Plan) -> Result<(), Error> {
    if let Some(personality) = &plan.personality {
        personality::apply(*personality)?;
    }
    if let Some(policy) = &plan.memory_policy {
        memory_policy::apply(policy)?;
    }
    set_process_attributes(&plan.process)
}

/// As [`set_attributes`], of what each process of a container has its own.
pub(crate) fn set_process_attributes(process: &PlannedProcess) -> Result<(), Error> {
    if let Some(scheduling) = &process.scheduling {
        scheduling::apply(scheduling)?;
    }
    if process.labels == Labels::default() {
        return Ok(());
    }
    labels::apply(&process.labels, &sysctl::private_proc()?)
}

/// The last word in the container's record before its program runs.
fn write_started(bundle: &Bundle) -> Result<(), Error> {
    let Some(record) = &bundle.extras.record else { return Ok(()) };
    rustix::io::write(record, STARTED).map(drop).map_err(Error::process("write the container's record"))
}

/// A container whose tool is killed goes with it. A change of user clears this, so it is said again after that; a tool
/// that died before it was said is noticed by its closed end of the channel.
pub(crate) fn die_with_parent(parent: &Channel) -> Result<(), Error> {
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

/// What the caller has mounted already, detached: the host's other file systems under a view of the host, a part of a
/// volume, what another container has.
fn attach_trees(root: &Root, trees: &[Tree], why: &'static str) -> Result<(), Error> {
    trees.iter().try_for_each(|tree| {
        let what = || format!("attach the file system at {}", tree.path.display());
        step("attach-tree", why, what, || {
            let failed = |source| Error::Mount { fstype: "overlay".into(), target: tree.path.clone(), source };
            let kind = if is_directory(tree.mount.as_fd()).map_err(failed)? { Kind::Directory } else { Kind::File };
            let target = root.target(&tree.path, kind)?;
            mounts::attach(tree.mount.as_fd(), target.as_fd()).map_err(failed)
        })
    })
}

fn mount_all(birth: &Birth<'_>, root: &Root, sources: &[Option<OwnedFd>]) -> Result<(), Error> {
    let plan = birth.plan;
    let place = mounts::Place {
        has_cgroup_namespace: plan.namespaces.has_own(Namespaces::CGROUP),
        cgroup: birth.cgroup,
        is_cgroup_v2: birth.is_cgroup_v2,
        label: plan.mount_label.as_deref(),
    };
    let mut list = plan.mounts.iter().zip(sources);
    list.try_for_each(|(mount, source)| mounts::mount(root, mount, source.as_ref().map(AsFd::as_fd), &place))
}

fn open_terminal(root: &Root, stdio: &Stdio) -> Result<Option<terminal::Terminal>, Error> {
    match stdio {
        Stdio::Terminal { size } => terminal::open(root, *size).map(Some),
        Stdio::Fds(_) => Ok(None),
    }
}

/// The container's own null device, when a stream is the host's: through that one the program could change the mode and
/// owner of the host's node.
pub(crate) fn open_null(root: &Root, stdio: &Stdio) -> Result<Option<OwnedFd>, Error> {
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
        Error::Kinds { path } => Error::WorkingDirectory { path, source: Errno::NOTDIR },
        other => other,
    })
}

pub(crate) fn leave_session() -> Result<(), Error> {
    // The program must not be able to push input into the terminal that the tool was started from (TIOCSTI).
    rustix::process::setsid().map(drop).map_err(Error::process("start a new session"))
}

pub(crate) fn take_streams(stdio: &Stdio, streams: Streams, uid: u32, parent: &Channel) -> Result<(), Error> {
    let Streams { terminal, null } = streams;
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
            let null = null.as_ref().map(OwnedFd::as_fd);
            let own = |fd: &OwnedFd| if devices::is_null(fd.as_fd()) { null } else { None };
            let [input, output, error] = fds;
            fds.iter().try_for_each(|fd| give_pipe_to(fd, uid)).map_err(failed())?;
            let chosen = [input, output, error].map(|fd| own(fd).unwrap_or(fd.as_fd()));
            take_three(chosen).map_err(failed())
        }
        (Stdio::Terminal { .. }, None) => Err(Error::Terminal(Errno::NODEV)),
    }
}

/// A program that is not root can open its own /dev/stdout again only when the pipe behind it is its own. One that is of
/// somebody whom the container's user namespace does not know cannot be given away, and is of use all the same.
fn give_pipe_to(fd: &OwnedFd, uid: u32) -> Result<(), Errno> {
    let is_pipe = |fd| rustix::fs::fstat(fd).map(|s| FileType::from_raw_mode(s.st_mode) == FileType::Fifo);
    if uid == 0 || !is_pipe(fd)? {
        return Ok(());
    }
    match rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None) {
        Err(Errno::PERM | Errno::INVAL) => Ok(()),
        done => done,
    }
}

fn take_three([input, output, error]: [std::os::fd::BorrowedFd<'_>; 3]) -> Result<(), Errno> {
    rustix::stdio::dup2_stdin(input)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(error)
}

pub(crate) fn forget_keys() -> Result<(), Error> {
    let join = || match sys::keyring::new_session_keyring() {
        // A kernel or a sandbox without keyrings has none to leak.
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NOSYS | Errno::PERM | Errno::DQUOT)) => Ok(()),
        done => done,
    };
    step("forget-keys", "the caller's kernel keys are not the container's", || "join a new keyring".into(), join)
        .map_err(|source| Error::Process { what: "join a new session keyring".into(), source })
}

/// Waits for the start: from the tool, or, once the tool has said that it ends, from whoever connects then.
fn wait_for_start(bundle: &Bundle, parent: &Channel) -> Result<Option<Channel>, Error> {
    parent.send_created().map_err(Error::Channel)?;
    let wait = || match (parent.next_order(), &bundle.extras.starter) {
        (Some(Order::Start), _) => Ok(None),
        (Some(Order::LiveOn), Some(listener)) => {
            set_parent_process_death_signal(None).map_err(Error::process("live on without the tool"))?;
            parent.hang_up();
            accept_start(listener).map(Some)
        }
        _ => Err(Error::Vanished),
    };
    step("wait-for-start", "the network is being connected meanwhile", || "wait for the tool".into(), wait)
}

/// The first connection that says to start; one that says nothing was a mistake, or its maker was killed.
fn accept_start(listener: &OwnedFd) -> Result<Channel, Error> {
    loop {
        match rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC) {
            Ok(connection) => {
                let starter = Channel::from_connection(connection);
                if starter.next_order() == Some(Order::Start) {
                    return Ok(starter);
                }
            }
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(errno) => return Err(Error::Channel(errno)),
        }
    }
}

/// Changes to the working directory by descriptor, then looks where it is: a directory that is not below the root
/// would be a way out. (CVE-2024-21626)
pub(crate) fn enter_working_directory(cwd: &Path) -> Result<(), Error> {
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
pub(crate) fn seal_descriptors(preserved: u32) -> Result<(), Error> {
    step(
        "seal-descriptors",
        "no descriptor of the host gets in",
        || format!("close-on-exec from {} on", 3 + preserved),
        || sys::exec::close_on_exec_from(3 + preserved),
    )
    .map_err(|source| Error::Process { what: "close the tool's descriptors".into(), source })
}
