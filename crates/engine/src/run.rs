//! `run`: from the flags to the exit code. The order of things stands in [`run`]; read it first.

use crate::confines::Confines;
use crate::containers;
use crate::error::Error;
use crate::files;
use crate::foreground;
use crate::options::{NetworkMode, RunOptions};
use crate::relay::Signals;
use crate::rootfs::{self, Meant, OpenRoot, Opened};
use crate::spec::{self, Parts};
use crate::state::{self, Id, Record};
use crate::streams::{self, Streams};
use crate::sweep::network;
use crate::tty;
use crate::user;
use crate::{image_config, image_volumes, volumes};
use image::Events;
use network::{Lease, Network, Owner};
use oci_spec::runtime::Spec;
use runtime::{Bundle, Container, Exit, Extras, Root, Rootfs, Stdio, Tree};
use rustix::fs::OFlags;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use step::step;

/// What became of a run: the exit code for the shell, and what the person should know beside it.
#[derive(Debug)]
pub struct Outcome {
    /// The program's status; 128 and the signal's number when it died by one.
    pub exit_code: i32,
    /// The container reached its memory limit and the kernel killed a process of it.
    pub oom_killed: bool,
    /// What went wrong on the way that did not stop it: a warning of the network, a failed removal.
    pub notes: Vec<String>,
}

/// Runs a container in the foreground and removes it.
///
/// `events` is told of the layers when the image has to be fetched first.
pub fn run(options: &RunOptions, events: &dyn Events) -> Result<Outcome, Error> {
    check(options)?;
    let meant = rootfs::resolve(options, events)?;
    let of_image = match &meant {
        Meant::Image(_, image) => Some(image_config::with_image(options, &image.config)),
        _ => None,
    };
    let id = Id::random()?;
    let confines = Confines::of(options)?;
    let facts = containers::facts(options, &meant, &id, confines.clone());
    let options = of_image.as_ref().unwrap_or(options);
    let record = step(
        "write-record",
        "the next command finds what a killed tool leaves",
        || told(&id),
        || Record::claim(id.clone(), &facts),
    )?;
    let network = network();
    let ran = live(options, &confines, &meant, &id, &network).map_err(|error| match &meant {
        // What a damaged image makes impossible is not the reason to tell.
        Meant::Image(images, _) => images.check().map_or_else(Error::from, |()| error),
        _ => error,
    });
    record.ended(ran.as_ref().map_or_else(|error| error.exit_code().into(), |outcome| outcome.exit_code));
    let mut notes: Vec<String> = tear_down(options, &record, &network).iter().map(ToString::to_string).collect();
    let mut outcome = ran?;
    outcome.notes.append(&mut notes);
    Ok(outcome)
}

fn told(id: &Id) -> String {
    format!("record container {}", id.host_name())
}

/// Everything between the record and the removal.
fn live(
    options: &RunOptions,
    confines: &Confines,
    meant: &Meant,
    id: &Id,
    network: &Network,
) -> Result<Outcome, Error> {
    let OpenRoot { root, mut trees, is_host, held } = rootfs::open(meant, options, id)?;
    let with_volumes = with_volumes(options, meant, root.tree(), id, &mut trees)?;
    let options = with_volumes.as_ref().unwrap_or(options);
    let host_resolver = files::host_resolver();
    let lease = match options.network {
        NetworkMode::Bridge => Some(network.lease(id.as_str(), Owner::this_process()?, &host_resolver)?),
        NetworkMode::None | NetworkMode::Host => None,
    };
    let hostname = confines.hostname(id);
    let files = files::files(options, hostname, lease.as_ref(), &host_resolver);
    let streams = choose_streams(options)?;
    let signals = Signals::hold()?;
    let (stdio, mut pumps) = match streams {
        Some(Streams { fds, pumps }) => (Stdio::Fds(fds), pumps),
        None => (Stdio::Terminal { size: tty::size() }, Vec::new()),
    };
    let spec = configuration(options, confines, root.tree(), is_host, hostname)?;
    let (root, layers) = match root {
        Opened::Ready(root) => (Rootfs::Mount(root), None),
        Opened::Layers(layers) => (Rootfs::Given, Some(layers)),
    };
    let bundle = Bundle {
        id: id.as_str().to_owned(),
        dir: "/".into(),
        cgroup: id.cgroup(),
        spec,
        root,
        trees,
        files,
        seccomp: confines.filter()?,
        init: options.init,
        stdio,
        extras: Extras::default(),
    };
    let mut container = runtime::create(bundle, |newborn| {
        if let Some(layers) = &layers {
            newborn.give_root(layers.stack()?)?;
        }
        if let Meant::Image(images, _) = meant {
            images.check()?;
        }
        lease.as_ref().map_or(Ok(()), |lease| connect(network, lease, newborn))
    })?;
    if let Err(error) = container.start() {
        // Before it says what it died of it may have been killed for want of memory.
        let starved = matches!(error, runtime::Error::Vanished) && container.oom_killed().unwrap_or(false);
        container.abandon();
        return Err(if starved { Error::Starved } else { error.into() });
    }
    // While the program runs, what others left behind is cleared away.
    let mut notes: Vec<String> = crate::sweep::sweep(id).iter().map(|e| format!("cannot clean up: {e}")).collect();
    notes.extend(lease.and_then(|lease| lease.warning).map(str::to_owned));
    let relayed = foreground::attend(container.process(), options.interactive, &signals, &mut pumps);
    let outcome = finish(container, relayed, notes);
    drop(held);
    outcome
}

/// The options with all volumes found and made, if there are any but paths of the host; parts of volumes come to `trees`.
fn with_volumes(
    options: &RunOptions,
    meant: &Meant,
    root: &Root,
    id: &Id,
    trees: &mut Vec<Tree>,
) -> Result<Option<RunOptions>, Error> {
    let mut places: BTreeSet<PathBuf> = options.anonymous_volumes.iter().cloned().collect();
    if let Meant::Image(_, image) = meant {
        places.extend(image.config.config.volumes.iter().map(PathBuf::from));
    }
    if places.is_empty() && options.volumes.iter().all(|volume| volume.name.is_none()) {
        return Ok(None);
    }
    let mut options = options.clone();
    trees.extend(volumes::resolve(&mut options.volumes, root)?);
    if !places.is_empty() {
        state::make_private_directory(&state::layer_path(id)).map_err(Error::file("make", state::layer_path(id)))?;
        options.volumes.extend(image_volumes::make(&places, &options, root, id)?);
    }
    Ok(Some(options))
}

fn connect(network: &Network, lease: &Lease, newborn: &runtime::Newborn) -> Result<(), Error> {
    let namespace = newborn.network_namespace()?;
    Ok(network.connect(lease, std::os::fd::AsFd::as_fd(&namespace))?)
}

fn finish(container: Container, relayed: Result<(), Error>, mut notes: Vec<String>) -> Result<Outcome, Error> {
    if let Err(error) = relayed {
        container.abandon();
        return Err(error);
    }
    let exit = container.wait()?;
    // Only a death by SIGKILL can be one for want of memory of the program itself.
    let oom_killed = match container.oom_killed() {
        Ok(killed) => killed && matches!(exit, Exit::Signal(9) | Exit::Code(137)),
        Err(error) => {
            notes.push(format!("cannot tell whether memory ran out: {error}"));
            false
        }
    };
    notes.extend(container.remove().iter().map(ToString::to_string));
    Ok(Outcome { exit_code: exit.shell_status(), oom_killed, notes })
}

/// Takes back what was made for the container, in the reverse order; goes on after an error.
fn tear_down(options: &RunOptions, record: &Record, network: &Network) -> Vec<Error> {
    let mut errors = Vec::new();
    if options.network == NetworkMode::Bridge {
        errors.extend(network.release(record.id.as_str()).into_iter().map(Error::from));
    }
    errors.extend(crate::overlay::remove_layer(&record.id).err());
    let forget = || -> Result<(), std::convert::Infallible> {
        errors.extend(record.remove());
        Ok(())
    };
    let _ = step("remove-record", "the container is gone", || "remove record and name".into(), forget);
    errors
}

fn check(options: &RunOptions) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    if let Some(nano) = options.limits.nano_cpus {
        let cpus = online_cpus();
        if nano > cpus * 1_000_000_000 {
            let value = format!("{}", nano as f64 / 1e9);
            return Err(Error::BadValue { flag: "--cpus", value, reason: format!("this host has {cpus}") });
        }
    }
    if let (Some(Some(total)), Some(memory)) = (options.limits.memory_swap, options.limits.memory)
        && total < memory
    {
        let reason = "it counts memory and swap together, so it cannot be below --memory".into();
        return Err(Error::BadValue { flag: "--memory-swap", value: total.to_string(), reason });
    }
    if options.limits.memory_swap.is_some_and(|swap| swap.is_some()) && options.limits.memory.is_none() {
        return Err(Error::Conflict("--memory-swap needs --memory beside it".into()));
    }
    for volume in options.volumes.iter().filter(|volume| volume.name.is_none()) {
        rustix::fs::stat(&volume.source).map_err(Error::file("use the volume", &volume.source))?;
    }
    if options.tty && options.interactive && !rustix::termios::isatty(rustix::stdio::stdin()) {
        return Err(Error::NotATerminal);
    }
    if options.network == NetworkMode::Host && options.sysctls.iter().any(|(name, _)| name.starts_with("net.")) {
        return Err(Error::Conflict(
            "--sysctl net.* cannot be used with --network host: it would be the host's".into(),
        ));
    }
    if options.ephemeral && options.root == "host" {
        return Err(Error::Conflict(
            "--ephemeral is for a directory: a view of the host is copy-on-write anyway".into(),
        ));
    }
    Ok(())
}

/// The host's processors, whichever this process may run on itself. [sysfs-devices-system-cpu: a list as 0-3,6]
fn online_cpus() -> u64 {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(last.parse::<u64>().ok()?.checked_sub(first.parse().ok()?)? + 1)
    };
    list.trim().split(',').filter_map(range).sum::<u64>().max(1)
}

fn choose_streams(options: &RunOptions) -> Result<Option<Streams>, Error> {
    if options.tty { Ok(None) } else { streams::choose(options.interactive).map(Some) }
}

/// The OCI configuration, with what has to be looked up in the root.
fn configuration(
    options: &RunOptions,
    confines: &Confines,
    root: &Root,
    is_host_view: bool,
    hostname: &str,
) -> Result<Spec, Error> {
    let identity = user::resolve(root, options.user.as_deref())?;
    spec::spec(Parts {
        options,
        confines,
        hostname,
        identity: &identity,
        command: command(options, root)?,
        is_host_view,
        has_swap_limit: options.limits.memory.is_some() && has_swap_limit(),
    })
}

/// The words of the program: `--entrypoint` and COMMAND, else the root's best shell.
fn command(options: &RunOptions, root: &Root) -> Result<Vec<String>, Error> {
    let entrypoint = options.entrypoint.iter().filter(|program| !program.is_empty());
    let words: Vec<String> = entrypoint.chain(&options.command).cloned().collect();
    if !words.is_empty() {
        return Ok(words);
    }
    let shells = ["bash", "sh"];
    let places = ["bin", "usr/bin", "usr/local/bin"];
    let has = |shell: &&&str| places.iter().any(|dir| root.open(&Path::new(dir).join(shell), OFlags::PATH).is_ok());
    shells.iter().find(has).map(|shell| vec![(*shell).to_owned()]).ok_or(Error::NoShell)
}

/// Whether memory and swap together can be limited here: on v1 only where swap is accounted.
pub(crate) fn has_swap_limit() -> bool {
    let v1 = Path::new("/sys/fs/cgroup/memory");
    if v1.exists() { v1.join("memory.memsw.limit_in_bytes").exists() } else { Path::new("/proc/swaps").exists() }
}
