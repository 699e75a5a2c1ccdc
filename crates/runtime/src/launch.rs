//! From a bundle on disk to a container: `create` and `run` of the OCI command line.
//!
//! The order: read and check the configuration, claim the id by a record, make the container, hand its terminal over,
//! add the first process to the record, write the pid file, let go. Whatever fails takes back what was made before it.

use crate::bundle::{Bundle, Extras, Stdio};
use crate::create::{self, Container};
use crate::error::Error;
use crate::notify::send_fd;
use crate::pinned::Pinned;
use crate::procfs::Procfs;
use crate::record::{Facts, Record, Records, boot_id};
use crate::root::is_directory;
use crate::status::{StateJson, Status};
use crate::{Runtime, clock, config, hooks, plan};
use cgroup::Location;
use oci_spec::runtime::{Hook, Mount, Spec};
use rustix::fs::OFlags;
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use seccomp::cache::Cache;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use step::step;

/// No configuration is longer: who sends more means harm.
const LONGEST_CONFIG: u64 = 16 << 20;
/// Where a program finds the service manager's socket.
pub(crate) const NOTIFY_SOCKET: &str = "/run/notify/notify.sock";

/// What `create` and `run` are asked for, beside the id.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The configuration; `config.json` in the bundle when there is none.
    pub config: Option<PathBuf>,
    /// Where the terminal's controlling side is sent.
    pub console_socket: Option<PathBuf>,
    /// Where the first process's id is written.
    pub pid_file: Option<PathBuf>,
    /// Where a pidfd of the first process is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// Changes the root without pivot_root.
    pub no_pivot: bool,
    /// Keeps the caller's session keyring.
    pub no_new_keyring: bool,
    /// How many descriptors after standard error the program inherits.
    pub preserve_fds: u32,
    /// The caller's window, for a terminal without a size of its own.
    pub window: Option<(u16, u16)>,
}

/// A container between its claim and its start.
pub(crate) struct Launched {
    pub(crate) container: Container,
    pub(crate) record: Record,
    end: End,
}

/// What the end of a container takes.
#[derive(Debug)]
pub(crate) struct End {
    /// Its processes are gone with its first one.
    has_own_pids: bool,
    hooks: Vec<Hook>,
    state: StateJson,
}

impl Runtime {
    /// Makes a container, which then waits for [`crate::Known::start`]. The caller must be single-threaded.
    pub fn create(&self, id: &str, launch: &Launch) -> Result<(), Error> {
        let Launched { mut container, mut record, .. } = self.launch(id, launch, true)?;
        let hand_over = |container: &mut Container, record: &mut Record| -> Result<(), Error> {
            container.wait_created()?;
            hand_over_terminal(container, launch)?;
            let proc = Procfs::host()?;
            let init = Pinned::of(&proc, container.pid())?.ok_or(Error::Vanished)?;
            step(
                "record-init",
                "who comes later finds it",
                || format!("record pid {}", init.pid),
                || record.add_init(init, container.location()),
            )?;
            tell_pid(container, launch)
        };
        if let Err(error) = hand_over(&mut container, &mut record) {
            return Err(take_back(container, record, error));
        }
        // From here on it lives, whatever happens to this process.
        match container.let_live_on() {
            Ok(()) => Ok(()),
            // It died in this moment: that is a stopped container, as it would be a moment later.
            Err(Error::Vanished) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes and starts a container that lives as long as the calling process. The caller must be single-threaded.
    pub fn run(&self, id: &str, launch: &Launch) -> Result<Running, Error> {
        let Launched { mut container, record, end } = self.launch(id, launch, false)?;
        let begin = |container: &mut Container| -> Result<(), Error> {
            tell_pid(container, launch)?;
            container.start()?;
            hand_over_terminal(container, launch)
        };
        match begin(&mut container) {
            Ok(()) => Ok(Running::of(container, record, end)),
            Err(error) => Err(take_back(container, record, error)),
        }
    }

    fn launch(&self, id: &str, launch: &Launch, detached: bool) -> Result<Launched, Error> {
        crate::record::check_id(id)?;
        let listening = listening_sockets();
        let preserve_fds = launch.preserve_fds.saturating_add(listening.unwrap_or(0));
        check_preserved(preserve_fds)?;
        let dir = std::fs::canonicalize(&launch.bundle).map_err(file("use the bundle", &launch.bundle))?;
        let (config, text) = match &launch.config {
            Some(config) => (config.clone(), read_config(config, std::fs::File::open(config))?),
            None => {
                let config = dir.join("config.json");
                let text = read_config(&config, open_regular(&config))?;
                (config, text)
            }
        };
        let mut read = config::read(&text).map_err(|source| Error::Config { path: config.clone(), source })?;
        let filter = read.filter(self.filters().as_ref())?;
        let mut spec = read.spec;
        let rootfs = rootfs(&spec, &dir)?;
        let stdio = stdio(&spec, launch, detached)?;
        let proc = Procfs::host()?;
        let facts = self.facts(id, &dir, &rootfs, &spec, text)?;
        let cgroup = facts.cgroup.clone();
        let end = End::of(&spec, &facts)?;
        pass_sockets(&mut spec, listening);
        let mut record = step(
            "claim-id",
            "no two have the same",
            || format!("record container {id}"),
            || Records::open(&self.root)?.claim(facts),
        )?;
        let made = (|| -> Result<Container, Error> {
            let starter = detached.then(|| record.listen_for_start()).transpose()?;
            let bundle = Bundle {
                id: id.to_owned(),
                cgroup,
                root: create::open_rootfs(&rootfs, &spec)?,
                dir,
                spec,
                trees: Vec::new(),
                files: Vec::new(),
                seccomp: filter,
                init: false,
                stdio,
                extras: Extras {
                    preserve_fds,
                    no_pivot: launch.no_pivot,
                    keep_keyring: launch.no_new_keyring,
                    rootless: self.is_rootless(),
                    starter,
                    record: Some(record.for_first_process()),
                    shared: Vec::new(),
                    pause: false,
                },
            };
            create::create(bundle, |newborn| {
                if detached {
                    return Ok(());
                }
                let init = Pinned::of(&proc, newborn.pid())?.ok_or(Error::Vanished)?;
                record.add_init(init, newborn.cgroup())
            })
        })();
        match made {
            Ok(container) => Ok(Launched { container, record, end }),
            Err(error) => {
                let _ = record.remove();
                Err(error)
            }
        }
    }

    /// Compiled filters, beside the records: nobody else can write there.
    pub(crate) fn filters(&self) -> Option<Cache> {
        Records::open(&self.root).ok()?;
        Cache::open(&self.filters_path())
    }

    pub(crate) fn filters_path(&self) -> PathBuf {
        self.root.join(".seccomp")
    }

    /// What is known of a container when its id is claimed.
    pub(crate) fn facts(
        &self,
        id: &str,
        dir: &Path,
        rootfs: &Path,
        spec: &Spec,
        config: String,
    ) -> Result<Facts, Error> {
        let proc = Procfs::host()?;
        Ok(Facts {
            id: id.to_owned(),
            bundle: dir.to_owned(),
            rootfs: rootfs.to_owned(),
            cgroup: self.cgroup(id, spec)?,
            rootless: self.is_rootless(),
            created: clock::now(),
            owner: rustix::process::getuid().as_raw(),
            boot: boot_id(&proc)?,
            tool: Pinned::this(&proc)?,
            streams: names_of_streams(&proc)?,
            config,
        })
    }

    fn cgroup(&self, id: &str, spec: &Spec) -> Result<Location, Error> {
        if self.cgroups == crate::CgroupManager::Disabled {
            return Ok(Location::None);
        }
        let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
        let path =
            path.map(|path| path.to_str().ok_or_else(|| Error::Invalid("linux.cgroupsPath is not UTF-8".into())));
        let annotations = spec.annotations().iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()));
        let systemd = self.cgroups == crate::CgroupManager::Systemd;
        Ok(Location::from_oci(path.transpose()?, id, systemd, annotations)?)
    }
}

/// What standard input, output and error are: a path, or `pipe:[INODE]` and its like. Empty for one that is closed.
fn names_of_streams(proc: &Procfs) -> Result<Vec<String>, Error> {
    let own = proc.own().map_err(Error::Proc)?;
    let dir = proc.open(&format!("{own}/fd"), OFlags::PATH | OFlags::DIRECTORY).map_err(Error::Proc)?;
    let link = |number| rustix::fs::readlinkat(&dir, number, Vec::new());
    let text = |number| link(number).map(|link| link.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(["0", "1", "2"].map(text).to_vec())
}

/// A container that runs as long as this process.
#[derive(Debug)]
pub struct Running {
    container: Container,
    record: Record,
    end: End,
}

impl Running {
    /// From here on others may change it, too: its start is over.
    pub(crate) fn of(container: Container, record: Record, end: End) -> Running {
        record.unlock();
        Running { container, record, end }
    }

    /// Its first process.
    pub fn process(&self) -> &crate::Process {
        self.container.process()
    }

    /// True when the kernel killed a process of it because its memory limit was reached.
    pub fn oom_killed(&self) -> Result<bool, Error> {
        self.container.oom_killed()
    }

    /// Removes all that is left of it, when its first process has ended and was waited for. Returns what went wrong and
    /// did not stop the removal.
    pub fn delete(self) -> Result<Vec<Error>, Error> {
        let Running { container, mut record, end } = self;
        if !record.lock_if_there()? {
            // Somebody else did it, as after a checkpoint; and its name may be another's by now.
            return Ok(Vec::new());
        }
        let mut notes = Vec::new();
        if !end.has_own_pids {
            notes.extend(container.kill_all().err());
        }
        notes.extend(container.remove());
        notes.extend(run_poststop(&end.hooks, end.state));
        // Last: until here the next command finds what is left.
        step("remove-record", "the container is gone", || "remove its record".into(), || record.remove())?;
        Ok(notes)
    }
}

impl End {
    pub(crate) fn of(spec: &Spec, facts: &Facts) -> Result<End, Error> {
        Ok(End {
            has_own_pids: plan::namespaces(spec)?.contains(sys::fork::Namespaces::PID) && !plan::joins_pids(spec)?,
            hooks: spec.hooks().as_ref().and_then(|hooks| hooks.poststop().clone()).unwrap_or_default(),
            state: facts.state(spec, Status::Stopped, 0),
        })
    }
}

/// Runs each of the hooks, whatever the one before it came to. [runtime-spec runtime.md "Lifecycle", 13]
pub(crate) fn run_poststop(list: &[Hook], state: StateJson) -> Vec<Error> {
    let state = StateJson { status: Status::Stopped, pid: 0, ..state };
    let run =
        |hook: &Hook| hooks::run(std::slice::from_ref(hook), "poststop", &state.to_json(), Some(&state.bundle)).err();
    list.iter().filter_map(run).collect()
}

fn take_back(container: Container, record: Record, error: Error) -> Error {
    container.abandon();
    let _ = record.remove();
    error
}

/// Opens a file that is one: a pipe could be waited at for ever, and to open a device can have effects.
pub(crate) fn open_regular(path: &Path) -> std::io::Result<std::fs::File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let is_file = std::fs::metadata(path)?.is_file();
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    match opened {
        Ok(opened) if is_file && opened.metadata()?.is_file() => Ok(opened),
        Ok(_) => Err(std::io::Error::other("it is not a regular file")),
        Err(_) if !is_file => Err(std::io::Error::other("it is not a regular file")),
        Err(error) => Err(error),
    }
}

pub(crate) fn read_config(path: &Path, opened: std::io::Result<std::fs::File>) -> Result<String, Error> {
    let mut text = String::new();
    let source = opened.map_err(file("open", path))?;
    let read = source.take(LONGEST_CONFIG + 1).read_to_string(&mut text).map_err(file("read", path))?;
    if read as u64 > LONGEST_CONFIG {
        return Err(Error::Invalid(format!("{} is longer than {LONGEST_CONFIG} bytes", path.display())));
    }
    Ok(text)
}

pub(crate) fn rootfs(spec: &Spec, bundle: &Path) -> Result<PathBuf, Error> {
    let root = spec.root().as_ref().ok_or_else(|| Error::Invalid("it has no `root` section".into()))?;
    let path = bundle.join(root.path());
    let rootfs = std::fs::canonicalize(&path).map_err(file("use the root file system", &path))?;
    if rootfs == Path::new("/") {
        return Err(Error::Invalid("its root file system is the host's own".into()));
    }
    Ok(rootfs)
}

fn stdio(spec: &Spec, launch: &Launch, detached: bool) -> Result<Stdio, Error> {
    let process = spec.process().as_ref();
    let wanted = process.is_some_and(|process| process.terminal() == Some(true));
    if launch.console_socket.is_some() && !wanted {
        return Err(Error::Invalid("a console socket is given, and process.terminal is not set".into()));
    }
    if wanted && detached && launch.console_socket.is_none() {
        return Err(Error::Invalid("process.terminal is set, and no console socket is given to send it to".into()));
    }
    if wanted {
        return Ok(Stdio::Terminal { size: window(spec).or(launch.window) });
    }
    own_streams()
}

/// This process's standard streams, for the program. A directory among them would be a way out of its root.
pub(crate) fn own_streams() -> Result<Stdio, Error> {
    let own = |fd: BorrowedFd<'_>, name: &str| {
        let give = || if is_directory(fd)? { Err(Errno::ISDIR) } else { fcntl_dupfd_cloexec(fd, 3) };
        give().map_err(Error::process(format!("give it the caller's standard {name}")))
    };
    Ok(Stdio::Fds([
        own(rustix::stdio::stdin(), "input")?,
        own(rustix::stdio::stdout(), "output")?,
        own(rustix::stdio::stderr(), "error")?,
    ]))
}

fn window(spec: &Spec) -> Option<(u16, u16)> {
    let size = spec.process().as_ref()?.console_size()?;
    let side = |n: u64| u16::try_from(n).ok().filter(|n| *n > 0);
    Some((side(size.width())?, side(size.height())?))
}

/// How many sockets a service manager listens at for the service. They may be meant for who started this process.
/// [sd_listen_fds(3)]
fn listening_sockets() -> Option<u32> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let is_for_us = number("LISTEN_PID").is_none_or(|pid| pid == std::process::id());
    number("LISTEN_FDS").filter(|count| *count > 0 && is_for_us)
}

/// Refuses to pass on `count` descriptors after standard error when one of them is not the caller's: what is
/// close-on-exec was opened here.
pub(crate) fn check_preserved(count: u32) -> Result<(), Error> {
    match (3..count.saturating_add(3)).find(|fd| !is_inherited(*fd)) {
        None => Ok(()),
        Some(fd) => Err(Error::Invalid(format!("descriptor {fd} is to be inherited, and it is not open"))),
    }
}

/// By the flags in /proc/PID/fdinfo, in octal. [proc_pid_fdinfo(5)]
fn is_inherited(fd: u32) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
    flags.is_some_and(|flags| flags & rustix::fs::OFlags::CLOEXEC.bits() == 0)
}

/// Tells the program of its service manager: what listens for it, and where to say that it is ready. [sd_notify(3)]
pub(crate) fn pass_sockets(spec: &mut Spec, listening: Option<u32>) {
    let notify = std::env::var("NOTIFY_SOCKET").ok().filter(|path| path.starts_with('/'));
    let mut variables = Vec::new();
    if let Some(count) = listening {
        variables.push(format!("LISTEN_FDS={count}"));
        variables.push("LISTEN_PID=1".to_owned());
    }
    if notify.is_some() {
        variables.push(format!("NOTIFY_SOCKET={NOTIFY_SOCKET}"));
    }
    if variables.is_empty() {
        return;
    }
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
        env.retain(|variable| !variables.iter().any(|ours| name(ours) == name(variable)));
        env.extend(variables);
        process.set_env(Some(env));
    }
    if let Some(source) = notify {
        let mut mount = Mount::default();
        mount.set_destination(NOTIFY_SOCKET.into());
        mount.set_typ(Some("bind".into()));
        mount.set_source(Some(source.into()));
        mount.set_options(Some(["bind", "nosuid", "nodev", "noexec"].map(str::to_owned).to_vec()));
        spec.mounts_mut().get_or_insert_default().push(mount);
    }
}

fn hand_over_terminal(container: &Container, launch: &Launch) -> Result<(), Error> {
    let Some(path) = &launch.console_socket else { return Ok(()) };
    send_terminal(path, container.process())
}

/// Sends a terminal's controlling side to the socket of whoever attends to it.
pub(crate) fn send_terminal(path: &Path, process: &crate::Process) -> Result<(), Error> {
    let terminal = process.terminal().ok_or(Error::Terminal(rustix::io::Errno::NODEV))?;
    step(
        "send-terminal",
        "the caller attends to it",
        || format!("send it to {}", path.display()),
        || send_fd(path, b"/dev/ptmx", terminal),
    )
    .map_err(|source| Error::Socket { what: "send the terminal to", path: path.into(), source })
}

fn tell_pid(container: &Container, launch: &Launch) -> Result<(), Error> {
    if let Some(path) = &launch.pid_file {
        write_pid(path, container.pid())?;
    }
    launch.pidfd_socket.as_ref().map_or(Ok(()), |path| send_pidfd(path, container.process()))
}

/// Sends a pidfd to the socket of whoever wants to watch the process.
pub(crate) fn send_pidfd(path: &Path, process: &crate::Process) -> Result<(), Error> {
    send_fd(path, b"pidfd", process.pidfd()).map_err(|source| Error::Socket {
        what: "send the pidfd to",
        path: path.to_owned(),
        source,
    })
}

/// Writes a pid file whole or not at all. In a directory that others can write to, the draft's name may be a link of
/// theirs: it is made new, and what is there by that name is removed.
pub(crate) fn write_pid(path: &Path, pid: i32) -> Result<(), Error> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let draft = path.with_file_name(name);
    let make = || std::fs::OpenOptions::new().write(true).create_new(true).open(&draft);
    let write = || {
        let mut made = match make() {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&draft).and_then(|()| make())
            }
            made => made,
        }?;
        made.write_all(pid.to_string().as_bytes())?;
        std::fs::rename(&draft, path)
    };
    step("write-pid-file", "asked for by --pid-file", || format!("write {pid} to {}", path.display()), write)
        .map_err(file("write", path))
}

pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}
