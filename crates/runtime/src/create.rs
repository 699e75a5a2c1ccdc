//! The parent's side of a start: control group, clone, start, wait, remove. Its twin is `init`.

use crate::bundle::{Bundle, Rootfs};
use crate::channel::{self, Channel, Order};
use crate::credentials;
use crate::devices;
use crate::error::Error;
use crate::hooks;
use crate::idmap;
use crate::init::{self, Birth};
use crate::mounts;
use crate::namespaces::names;
use crate::netdev;
use crate::notify::Agent;
use crate::plan::{self, Plan, PlannedMount};
use crate::process::{Exit, Process};
use crate::procfs::Procfs;
use crate::resctrl;
use crate::seal;
use crate::status::{SPEC_VERSION, StateJson, Status};
use crate::sysctl;
use cgroup::Cgroup;
use rustix::io::Errno;
use rustix::process::Signal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use step::step;
use sys::fork::{Namespaces, Side, clone_into, clone_sibling};

/// A container that was made. Dropping it leaves it running; [`Container::remove`] takes it away.
#[derive(Debug)]
pub struct Container {
    process: Process,
    cgroup: Cgroup,
    /// Its shares of cache and memory bandwidth.
    shares: Option<resctrl::Group>,
    /// Its first process is no process 1: the others do not end with it.
    shares_pids: bool,
}

/// A container between clone and start: what the network needs of it.
#[derive(Debug)]
pub struct Newborn {
    pid: i32,
    proc: Procfs,
    cgroup: cgroup::Location,
    /// The line to its first process, when that waits for its root.
    line: Option<Channel>,
}

impl Newborn {
    /// The process id of the container's first process, as the host sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Where its control group is.
    pub fn cgroup(&self) -> &cgroup::Location {
        &self.cgroup
    }

    /// Hands over the root file system of a bundle that has [`Rootfs::Given`].
    pub fn give_root(&self, root: OwnedFd) -> Result<(), Error> {
        let line = self.line.as_ref().ok_or_else(|| Error::Invalid("it has a root already".into()))?;
        match line.send_root(&root) {
            // The process is gone; why is told by its last words.
            Err(Errno::PIPE | Errno::CONNRESET) => Err(Error::Vanished),
            done => done.map_err(Error::Channel),
        }
    }

    /// The container's network namespace.
    pub fn network_namespace(&self) -> Result<OwnedFd, Error> {
        self.proc.namespace(self.pid, "net").map_err(Error::Proc)
    }
}

/// Makes a container up to the point where only the start is missing, and runs `meanwhile` (the network) at the same
/// time as the container's first process builds its root.
///
/// The caller must be single-threaded. On failure nothing is left.
pub fn create<E: From<Error>>(
    bundle: Bundle,
    meanwhile: impl FnOnce(&Newborn) -> Result<(), E>,
) -> Result<Container, E> {
    let mut plan = plan::plan(&bundle.spec, &bundle.dir)?;
    if !plan.has_user_namespace() {
        plan.process.capabilities = credentials::available(&plan.process.capabilities)?;
    }
    check_sysctls(&plan)?;
    let state = state(&bundle);
    let filter = filter(&bundle)?;
    let agent = Agent::of(&bundle.spec, state.clone())?;
    let init = bundle.init.then(sealed_init).transpose()?;
    let proc = Procfs::host()?;
    let joined = plan.namespaces.open()?;
    let sources = sources_from_outside(&plan, &proc)?;
    let host = cgroup::Host::detect().map_err(Error::from)?;
    let cgroup = make_cgroup(&host, &bundle.spec, &bundle.cgroup, bundle.extras.rootless)?;
    let birth = Birth {
        plan: &plan,
        bundle: &bundle,
        joined: &joined,
        sources: sources.as_deref(),
        cgroup: &cgroup,
        is_cgroup_v2: host.is_v2(),
        filter: filter.as_ref(),
        init: init.as_ref(),
        state: &state,
        // A scope of systemd's takes a process that is there already, and a user namespace is mapped from outside.
        waits_for_place: waits_for_place(&plan, &cgroup),
    };
    let process = match bear(&birth, agent) {
        Ok(born) => born,
        Err(error) => {
            cgroup.remove();
            return Err(error.into());
        }
    };
    let pid = process.pid();
    let mut container =
        Container { process, cgroup, shares: None, shares_pids: !plan.namespaces.new.contains(Namespaces::PID) };
    let line = matches!(bundle.root, Rootfs::Given).then(|| container.process.line()).transpose();
    let line = match line {
        Ok(line) => line,
        Err(error) => {
            container.abandon();
            return Err(error.into());
        }
    };
    let newborn = Newborn { pid, proc, cgroup: container.cgroup.location().clone(), line };
    let raised = raise(&mut container, &plan, &bundle, &newborn).map_err(E::from).and_then(|()| {
        with_devices(&plan, &newborn, || {
            meanwhile(&newborn)?;
            Ok(run_hooks(&mut container, &plan, &state, &bundle)?)
        })
    });
    if let Err(error) = raised {
        // What the child has to say first is the better reason: the network fails when its namespace is gone.
        let said = container.process.why_it_died();
        container.abandon();
        return Err(said.map_or(error, E::from));
    }
    Ok(container)
}

/// Clones the child into its namespaces. In the child this does not return.
fn bear(birth: &Birth<'_>, agent: Option<Agent>) -> Result<Process, Error> {
    let (ours, theirs) = channel::pair()?;
    let namespaces = birth.plan.namespaces.by_clone();
    let staged = birth.plan.namespaces.needs_stage();
    let mut ours = Some(ours);
    let clone = || {
        let first = if staged { Namespaces::default() } else { namespaces };
        match clone_into(first, birth.cgroup.clone_into())? {
            Side::Parent { pid, pidfd } => Ok((pid, pidfd)),
            Side::Child => {
                // While the child held the tool's end too, it would never see it close.
                drop(ours.take());
                if staged { stage(birth, namespaces, &theirs) } else { init::run(birth, &theirs) }
            }
        }
    };
    let (pid, pidfd) = step(
        "clone-namespaces",
        "a process that sees nothing of the host but what it is given",
        || format!("clone3 with new {} namespaces", names(namespaces)),
        clone,
    )
    .map_err(|why: std::io::Error| {
        let is_refused = why.kind() == std::io::ErrorKind::PermissionDenied && !namespaces.contains(Namespaces::USER);
        // Who joined a user namespace is root in it.
        if is_refused && !rustix::process::geteuid().is_root() {
            Error::CloneWithoutRoot(why)
        } else {
            Error::Clone(why)
        }
    })?;
    drop(theirs);
    let ours = ours.ok_or(Error::Vanished)?;
    if staged { Process::of_stage(pid, pidfd, ours, agent) } else { Ok(Process::new(pid, pidfd, ours, agent)) }
}

/// The stage: enters what must be entered first, then clones the container's first process as a child of the tool.
fn stage(birth: &Birth<'_>, namespaces: Namespaces, parent: &Channel) -> ! {
    step::enter_container();
    let bear = || -> Result<(), Error> {
        init::die_with_parent(parent)?;
        birth.cgroup.join_after_clone()?;
        birth.joined.enter_all()?;
        match clone_sibling(namespaces).map_err(Error::Clone)? {
            Side::Parent { pid, pidfd } => parent.send_born(pid, &pidfd).map_err(Error::Channel),
            Side::Child => init::run(birth, parent),
        }
    };
    if let Err(error) = bear() {
        parent.send_failure(&error);
        sys::fork::exit_now(1);
    }
    sys::fork::exit_now(0)
}

/// What only somebody outside can do for the new process.
fn raise(container: &mut Container, plan: &Plan, bundle: &Bundle, newborn: &Newborn) -> Result<(), Error> {
    let Newborn { pid, proc, .. } = newborn;
    let maps_ids = plan.namespaces.new.contains(Namespaces::USER);
    if maps_ids {
        idmap::write_maps(proc, *pid, &plan.uid_map, &plan.gid_map)?;
    }
    set_oom_score(proc, *pid, plan.process.oom_score_adj, bundle.extras.rootless)?;
    container.cgroup.adopt(*pid)?;
    if let Some(wanted) = &plan.resctrl {
        let resctrl = resctrl::Resctrl::mounted()?;
        let shares = container.shares.insert(resctrl.make(wanted, &bundle.id)?);
        shares.join(&resctrl, *pid)?;
    }
    if waits_for_place(plan, &container.cgroup) { container.process.send(Order::Placed) } else { Ok(()) }
}

/// Gives the container devices of the host, and takes them back when `then` fails: a virtual one would be gone with it.
fn with_devices<E: From<Error>>(plan: &Plan, newborn: &Newborn, then: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    if plan.net_devices.is_empty() {
        return then();
    }
    let namespace = newborn.network_namespace()?;
    let moved = netdev::move_all(&plan.net_devices, namespace.as_fd())?;
    let done = then();
    if done.is_err() {
        // The first failure is the one to tell.
        let _ = moved.back(namespace.as_fd());
    }
    done
}

/// Also behind a stage: what the first process says must come after the stage has said who that is.
fn waits_for_place(plan: &Plan, cgroup: &Cgroup) -> bool {
    plan.namespaces.new.contains(Namespaces::USER) || plan.namespaces.needs_stage() || is_systemd(cgroup)
}

fn is_systemd(cgroup: &Cgroup) -> bool {
    matches!(cgroup.location(), cgroup::Location::Systemd { .. })
}

fn run_hooks(container: &mut Container, plan: &Plan, state: &StateJson, bundle: &Bundle) -> Result<(), Error> {
    if plan.hooks.create_runtime.is_empty() {
        return Ok(());
    }
    container.process.wait_built()?;
    let state = StateJson { pid: container.process.pid(), ..state.clone() };
    hooks::run(&plan.hooks.create_runtime, "createRuntime", &state.to_json(), Some(&bundle.dir))?;
    container.process.send(Order::Hooked)
}

fn state(bundle: &Bundle) -> StateJson {
    state_of(&bundle.spec, &bundle.id, &bundle.dir)
}

pub(crate) fn state_of(spec: &oci_spec::runtime::Spec, id: &str, dir: &std::path::Path) -> StateJson {
    StateJson {
        oci_version: if spec.version().is_empty() { SPEC_VERSION.into() } else { spec.version().clone() },
        id: id.to_owned(),
        status: Status::Creating,
        pid: 0,
        bundle: dir.to_owned(),
        annotations: spec.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
    }
}

/// The host's side of the bind mounts, when the child could not open it: it may not look there as another user, and
/// shifting owners is the host's privilege. None leaves it to the child: this user may not clone mounts here.
fn sources_from_outside(plan: &Plan, proc: &Procfs) -> Result<Option<Vec<Option<OwnedFd>>>, Error> {
    let shifts = plan.mounts.iter().any(|mount| mount.id_maps.is_some());
    if !(shifts || plan.has_user_namespace()) {
        return Ok(None);
    }
    let open = |mount: &PlannedMount| -> Result<Option<OwnedFd>, Error> {
        let source = mounts::open_source(mount)?;
        match (&source, &mount.id_maps) {
            (Some(source), Some((uid, gid))) => {
                let namespace = idmap::user_namespace(proc, uid, gid)?;
                let recursive = mount.options.idmap == Some(true);
                idmap::map_mount(source.as_fd(), recursive, namespace.as_fd(), &mount.target)?;
            }
            (None, Some(_)) => {
                let what = format!("shifting the owners of a mount of type {:?}", mount.fstype);
                return Err(Error::Unsupported(what));
            }
            (_, None) => {}
        }
        Ok(source)
    };
    match plan.mounts.iter().map(open).collect() {
        Err(Error::MountSource { source: Errno::PERM, .. }) if !shifts => Ok(None),
        opened => opened.map(Some),
    }
}

/// The bundle's root file system as a mount; as a directory, where this process may not clone mounts or the
/// container's are those of others.
pub(crate) fn open_rootfs(path: &std::path::Path, spec: &oci_spec::runtime::Spec) -> Result<Rootfs, Error> {
    let linux = spec.linux().as_ref();
    let kinds = linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
    let has_new_mounts = kinds.into_iter().any(|namespace| {
        namespace.typ() == oci_spec::runtime::LinuxNamespaceType::Mount
            && namespace.path().as_ref().is_none_or(|path| path.as_os_str().is_empty())
    });
    if !has_new_mounts {
        return Ok(Rootfs::Directory(path.into()));
    }
    let what = || format!("clone the mount at {}", path.display());
    match step("open-root", "the bundle's root file system", what, || mounts::open_root(path)) {
        Ok(root) => Ok(Rootfs::Mount(root)),
        Err(Errno::PERM) => Ok(Rootfs::Directory(path.into())),
        Err(source) => Err(Error::MountSource { path: path.into(), source }),
    }
}

pub(crate) fn check_sysctls(plan: &Plan) -> Result<(), Error> {
    let own = |namespace| plan.namespaces.has_own(namespace);
    plan.sysctl.iter().try_for_each(|(name, _)| {
        sysctl::check(name, own(Namespaces::NETWORK), own(Namespaces::IPC), own(Namespaces::UTS))
    })
}

fn filter(bundle: &Bundle) -> Result<Option<seccomp::Program>, Error> {
    if let Some(program) = &bundle.seccomp {
        return Ok(Some(program.clone()));
    }
    let section = bundle.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    section.map(compile_filter).transpose()
}

/// The program of a seccomp section, for this kind of processor.
fn compile_filter(section: &oci_spec::runtime::LinuxSeccomp) -> Result<seccomp::Program, Error> {
    let native = seccomp::Arch::native()
        .ok_or_else(|| Error::Unsupported("a seccomp filter on this kind of processor".into()))?;
    Ok(seccomp::compile(section, native)?)
}

/// This very binary, read-only: an init that runs from it cannot be used to overwrite the file on the host, whatever
/// capabilities the container has. (CVE-2019-5736)
fn sealed_init() -> Result<OwnedFd, Error> {
    step("clone-init", "--init runs this binary, sealed", || "clone this binary read-only".into(), seal::sealed)
        .map_err(|source| Error::Root { what: "prepare the init program", source })
}

pub(crate) fn make_cgroup(
    host: &cgroup::Host,
    spec: &oci_spec::runtime::Spec,
    location: &cgroup::Location,
    rootless: bool,
) -> Result<Cgroup, Error> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone());
    let mut resources = resources.unwrap_or_default();
    // On v2 the rules are a program, which nobody but the host's root may load, not even into a group of his own. The kernel
    // lets nobody else make or mount devices anyway.
    let mut rules = devices::default_rules();
    if host.is_v2() && !crate::is_root_of_host() {
        resources.set_devices(None);
        rules.clear();
    }
    match Cgroup::create(host, location, &resources, &rules) {
        // Without a group there can be no device rules either.
        Err(error) if rootless && is_denied(&error) => {
            resources.set_devices(None);
            // Who asked for limits is told why there is no group, not that there is none.
            Cgroup::create(host, &cgroup::Location::None, &resources, &[]).map_err(|_| error.into())
        }
        made => Ok(made?),
    }
}

/// True when this user may not make groups here, or there are none to be had.
fn is_denied(error: &cgroup::Error) -> bool {
    use cgroup::Error as E;
    match error {
        E::NotMounted | E::NotHandedDown { .. } => true,
        E::Make { source, .. }
        | E::Open { source, .. }
        | E::Enable { source, .. }
        | E::DeviceProgram { source, .. } => {
            matches!(*source, Errno::ACCESS | Errno::PERM | Errno::ROFS)
        }
        _ => false,
    }
}

pub(crate) fn set_oom_score(proc: &Procfs, pid: i32, score: Option<i32>, rootless: bool) -> Result<(), Error> {
    let Some(score) = score else { return Ok(()) };
    let write = || {
        let file = proc.open(&format!("{pid}/oom_score_adj"), rustix::fs::OFlags::WRONLY)?;
        rustix::io::write(&file, score.to_string().as_bytes()).map(drop)
    };
    match write() {
        // Lowering it is root's privilege, and callers that are not root ask for it all the same.
        Err(Errno::ACCESS | Errno::PERM) if rootless => Ok(()),
        done => done.map_err(Error::process(format!("set the OOM score to {score}"))),
    }
}

impl Container {
    pub(crate) fn of(process: Process, cgroup: Cgroup, shares: Option<resctrl::Group>) -> Container {
        Container { process, cgroup, shares, shares_pids: false }
    }

    /// Lets the program run. Returns when it runs, or with the reason why it does not.
    pub fn start(&mut self) -> Result<(), Error> {
        self.process.start()
    }

    /// Waits until only the start is missing.
    pub fn wait_created(&mut self) -> Result<(), Error> {
        self.process.wait_created()
    }

    /// Lets it go on without this process: until its start comes through [`crate::bundle::Extras::starter`], it waits.
    pub fn let_live_on(self) -> Result<(), Error> {
        self.process.let_live_on()
    }

    /// Where its control group is.
    pub fn location(&self) -> &cgroup::Location {
        self.cgroup.location()
    }

    /// The container's first process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process id of the container's first process, as the host sees it.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// A descriptor of the first process: readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.pidfd()
    }

    /// The controlling side of the container's terminal, when it was asked for and the container was started.
    pub fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.process.terminal()
    }

    /// Sends a signal to the first process, never to another one that got its number later.
    pub fn kill(&self, signal: Signal) -> Result<(), Errno> {
        self.process.kill(signal)
    }

    /// Waits until the first process has ended; with it every process of its pid namespace is gone. In a pid namespace of
    /// others those of its control group are killed.
    pub fn wait(&self) -> Result<Exit, Error> {
        let exit = self.process.wait()?;
        if self.shares_pids {
            // How it ended is told in any case; what cannot be killed the removal of the group tells.
            let _ = self.cgroup.kill();
        }
        Ok(exit)
    }

    /// Ends every process of the container that is in its control group.
    pub(crate) fn kill_all(&self) -> Result<(), Error> {
        Ok(self.cgroup.kill()?)
    }

    /// True when the kernel killed a process of the container because the container's memory limit was reached.
    pub fn oom_killed(&self) -> Result<bool, Error> {
        Ok(self.cgroup.oom_killed()?)
    }

    /// Removes what is left on the host of a container that has ended. Goes on after an error and returns them all.
    pub fn remove(self) -> Vec<Error> {
        let shares = self.shares.map(|shares| shares.remove()).unwrap_or_default();
        self.cgroup.remove().into_iter().map(Error::from).chain(shares).collect()
    }

    /// Ends a container that did not get to its start, or must not go on, and removes it.
    pub fn abandon(self) -> Vec<Error> {
        let _ = self.kill(Signal::KILL);
        let waited = self.wait().err();
        waited.into_iter().chain(self.remove()).collect()
    }
}
