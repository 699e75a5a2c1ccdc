//! `run` in the foreground of a container that goes when it ends: from the flags to the exit code. The order of things
//! stands in [`run`]; read it first. No monitor is needed: the tool itself holds the container, and ends with it.

use crate::begin::{self, Beginning, Begun};
use crate::confines::Confines;
use crate::containers;
use crate::error::Error;
use crate::events;
use crate::foreground;
use crate::image_config;
use crate::more_limits::{self, MoreLimits};
use crate::options::{Limits, RunOptions};
use crate::publish;
use crate::relay::Signals;
use crate::restart::RestartPolicy;
use crate::rootfs::Meant;
use crate::rootless;
use crate::spare;
use crate::state::{self, Facts, Id, Record};
use crate::streams::{self, Streams};
use crate::sweep::network;
use crate::tty;
use crate::userns;
use network::Network;
use runtime::{Container, Exit, Stdio};
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

/// Runs a container in the foreground and removes it. The caller has found out what it is made of, and
/// [checked](check) the options.
pub(crate) fn run(options: &RunOptions, meant: &Meant) -> Result<Outcome, Error> {
    let of_image = match meant {
        Meant::Image(_, image) => Some(image_config::with_image(options, &image.config)),
        _ => None,
    };
    let id = Id::random()?;
    let confines = Confines::of(options)?;
    let chosen = userns::choose(options, meant)?;
    let facts = Facts { maps: chosen.maps, ..containers::facts(options, meant, &id, confines.clone()) };
    let options = of_image.as_ref().unwrap_or(options);
    let record = step(
        "write-record",
        "the next command finds what a killed tool leaves",
        || told(&id),
        || Record::claim(id.clone(), &facts),
    )?;
    drop(chosen.held);
    events::container("create", &facts, &[]);
    let network = network();
    let ports = publish::wishes(options, &facts.config);
    let beginning = Beginning {
        id: &id,
        name: facts.name.as_deref(),
        options,
        confines: &confines,
        meant,
        network: &network,
        ports: &ports,
        stays: false,
        maps: facts.maps.as_ref(),
    };
    let takes_spare = beginning.takes_spare();
    let ran = live(&beginning, &facts).map_err(|error| begin::or_damaged(error, meant));
    record.ended(ran.as_ref().map_or_else(|error| error.exit_code().into(), |outcome| outcome.exit_code));
    let facts = record.facts(facts);
    if let Ok(outcome) = &ran {
        events::died(&facts, outcome.exit_code, outcome.oom_killed);
    }
    let mut errors = begin::end(&id, options, &network);
    if takes_spare {
        errors.extend(spare::set_aside(&id).err());
    }
    errors.extend(forget(&record));
    let mut notes: Vec<String> = errors.iter().map(ToString::to_string).collect();
    events::container("destroy", &facts, &[]);
    let mut outcome = ran?;
    outcome.notes.append(&mut notes);
    Ok(outcome)
}

fn told(id: &Id) -> String {
    format!("record container {}", id.host_name())
}

/// Everything between the record and the removal.
fn live(beginning: &Beginning<'_>, facts: &Facts) -> Result<Outcome, Error> {
    let options = beginning.options;
    let streams = choose_streams(options)?;
    let signals = Signals::hold()?;
    let (stdio, mut pumps) = match streams {
        Some(Streams { fds, pumps }) => (Stdio::Fds(fds), pumps),
        None => (Stdio::Terminal { size: tty::size() }, Vec::new()),
    };
    let Begun { container, mut notes, held } = begin::begin(beginning, stdio)?;
    events::container("start", facts, &[]);
    // While the program runs, what others left behind is cleared away.
    notes.extend(crate::sweep::sweep(Some(beginning.id)).iter().map(|e| format!("cannot clean up: {e}")));
    if let Meant::Image(images, image) = beginning.meant
        && beginning.takes_spare()
    {
        notes.extend(spare::let_go(&state::layer_path(beginning.id)).err().map(|error| error.to_string()));
        spare::prepare(images, image);
    }
    let relayed = foreground::attend(container.process(), options.interactive, &signals, &mut pumps);
    let outcome = finish(container, relayed, notes);
    drop(held);
    outcome
}

fn finish(container: Container, relayed: Result<(), Error>, mut notes: Vec<String>) -> Result<Outcome, Error> {
    if let Err(error) = relayed {
        container.abandon();
        return Err(error);
    }
    let exit = container.wait()?;
    let oom_killed = oom_killed(&container, exit).unwrap_or_else(|error| {
        notes.push(format!("cannot tell whether memory ran out: {error}"));
        false
    });
    notes.extend(container.remove().iter().map(ToString::to_string));
    Ok(Outcome { exit_code: exit.shell_status(), oom_killed, notes })
}

/// Whether the program ended for want of memory: only a death by SIGKILL can be that.
pub(crate) fn oom_killed(container: &Container, exit: Exit) -> Result<bool, Error> {
    Ok(container.oom_killed()? && matches!(exit, Exit::Signal(9) | Exit::Code(137)))
}

/// Takes back what was made for the container, in the reverse order; goes on after an error.
pub(crate) fn tear_down(options: &RunOptions, record: &Record, network: &Network) -> Vec<Error> {
    let mut errors = begin::end(&record.id, options, network);
    errors.extend(forget(record));
    errors
}

/// Removes what it wrote, unless that was [set aside](spare::set_aside), and last its record.
fn forget(record: &Record) -> Vec<Error> {
    let mut errors: Vec<Error> = crate::overlay::remove_layer(&record.id).err().into_iter().collect();
    let forget = || -> Result<(), std::convert::Infallible> {
        errors.extend(record.remove());
        Ok(())
    };
    let _ = step("remove-record", "the container is gone", || "remove record and name".into(), forget);
    errors
}

/// Whether the flags can be meant. Before anything is looked for.
pub(crate) fn check(options: &RunOptions) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    if needs_group(options) {
        rootless::groups::need()?;
    }
    check_limits(&options.limits)?;
    more_limits::check(options)?;
    if options.no_hosts && !options.add_hosts.is_empty() {
        return Err(Error::Conflict("--add-host says what to write, and --no-hosts that nothing is written".into()));
    }
    options.health.check()?;
    options.log.check()?;
    if let Some(path) = options.unspeakable_path() {
        return Err(Error::NotText { path: path.to_owned() });
    }
    for volume in options.volumes.iter().filter(|volume| volume.name.is_none()) {
        rustix::fs::stat(&volume.source).map_err(Error::file("use the volume", &volume.source))?;
    }
    publish::check(options)?;
    userns::check(options)?;
    if options.auto_remove && options.restart != RestartPolicy::No {
        return Err(Error::Conflict(
            "--restart cannot be used with --rm: what is removed cannot be started again".into(),
        ));
    }
    if options.ephemeral && options.root == "host" {
        return Err(Error::Conflict(
            "--ephemeral is for a directory: a view of the host is copy-on-write anyway".into(),
        ));
    }
    Ok(())
}

/// Whether it asks for what only a control group can do.
pub(crate) fn needs_group(options: &RunOptions) -> bool {
    let is_limited = options.limits != Limits::default() || options.more_limits != MoreLimits::default();
    is_limited || options.cgroup_parent.is_some()
}

/// Whether limits can be, together and on this host.
pub(crate) fn check_limits(limits: &Limits) -> Result<(), Error> {
    if let Some(nano) = limits.nano_cpus {
        let cpus = online_cpus();
        if nano > cpus * 1_000_000_000 {
            let value = format!("{}", nano as f64 / 1e9);
            return Err(Error::BadValue { flag: "--cpus", value, reason: format!("this host has {cpus}") });
        }
    }
    if let (Some(Some(total)), Some(memory)) = (limits.memory_swap, limits.memory)
        && total < memory
    {
        let reason = "it counts memory and swap together, so it cannot be below --memory".into();
        return Err(Error::BadValue { flag: "--memory-swap", value: total.to_string(), reason });
    }
    if limits.memory_swap.is_some_and(|swap| swap.is_some()) && limits.memory.is_none() {
        return Err(Error::Conflict("--memory-swap needs --memory beside it".into()));
    }
    Ok(())
}

/// That what is typed comes from a terminal, where it goes to one.
pub(crate) fn check_terminal(options: &RunOptions) -> Result<(), Error> {
    let is_wrong = options.tty && options.interactive && !rustix::termios::isatty(rustix::stdio::stdin());
    if is_wrong { Err(Error::NotATerminal) } else { Ok(()) }
}

/// The host's processors, whichever this process may run on itself.
pub(crate) fn online_cpus() -> u64 {
    online().iter().map(|(first, last)| last - first + 1).sum::<u64>().max(1)
}

/// Whether the host has all processors of a list.
pub(crate) fn is_online(list: &str) -> bool {
    let online = online();
    let is_there = |cpu| online.iter().any(|(first, last)| (*first..=*last).contains(&cpu));
    // Both ends before what lies between them: a list may be any person's.
    let all = |(first, last): (u64, u64)| is_there(first) && is_there(last) && (first..=last).all(is_there);
    list.split(',').all(|part| range(part.trim()).is_some_and(all))
}

/// [sysfs-devices-system-cpu: a list as 0-3,6]
fn online() -> Vec<(u64, u64)> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    list.trim().split(',').filter_map(range).collect()
}

/// `0-3`, or `6`.
fn range(part: &str) -> Option<(u64, u64)> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

fn choose_streams(options: &RunOptions) -> Result<Option<Streams>, Error> {
    if options.tty { Ok(None) } else { streams::choose(options.interactive).map(Some) }
}
