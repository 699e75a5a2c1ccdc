//! What a network adds to a start: whole runs of `true`, all commands in a shuffled order, as in the bench of runs.

use super::Hosts;
use super::interrupt::Interrupt;
use crate::timer::{Dice, Mode, SETTLE, SLOW_US, Samples, takes_part};
use anyhow::{Result, bail};

/// Waits until the bridge and all that belongs to it is gone, as it is a second after its last container.
const UNTIL_GONE: &str = "for try in $(seq 100); do ip link show mycontainer0 || exit 0; sleep 0.1; done; exit 1";

/// One command.
pub(crate) struct Start {
    /// On which host, by its number.
    host: usize,
    /// Whose command.
    pub(crate) tool: &'static str,
    /// With which network.
    pub(crate) what: &'static str,
    /// Whether it is held against another: the same tool's without a network.
    pub(crate) is_base: bool,
    argv: Vec<String>,
    setup: &'static str,
    is_slow: bool,
    /// Back to back.
    pub(crate) hot: Samples,
    /// After idleness.
    pub(crate) idle: Samples,
}

/// What each tool starts on its host, where other containers are on both of its networks.
const KINDS: [(&str, &[&str]); 5] = [
    ("no network", &["--network", "none"]),
    ("default bridge", &[]),
    ("default bridge, a port", &["-p", "8080:80"]),
    ("named network", &["--network", "net"]),
    ("named network, a port", &["--network", "net", "-p", "8080:80"]),
];
/// The first container of a bridge.
pub(crate) const FIRST: &str = "default bridge, made for it";
/// Beside how many published ports.
pub(crate) const BESIDE: [(&str, u16); 2] =
    [("a port, 10 others published", 10), ("a port, 1000 others published", 1000)];

/// All commands, on these hosts.
pub(crate) fn all(hosts: &Hosts) -> Vec<Start> {
    let mut starts = Vec::new();
    let mut add = |host: usize, what, flags: &[&str], setup| {
        let argv = hosts.0[host].run(&[&["--rm"], flags].concat(), &["true"]);
        let (hot, idle) = (Samples::default(), Samples::default());
        let (tool, is_base) = (hosts.0[host].name, what == KINDS[0].0);
        starts.push(Start { host, tool, what, is_base, argv, setup, is_slow: false, hot, idle });
    };
    for host in hosts.of_tools() {
        KINDS.iter().for_each(|(what, flags)| add(host, what, flags, ""));
    }
    add(Hosts::FIRST, FIRST, &[], UNTIL_GONE);
    for (host, (what, _)) in Hosts::BESIDE.into_iter().zip(BESIDE) {
        add(host, what, &["-p", "8080:80"], "");
    }
    starts
}

/// Times all.
pub(crate) fn measure(starts: &mut [Start], hosts: &mut Hosts, rounds: usize, interrupt: &Interrupt) -> Result<()> {
    for start in starts.iter_mut() {
        // The second run tells how slow it is: the first finds cold caches.
        for _ in 0..2 {
            interrupt.check()?;
            let timing = hosts.0[start.host].time(&start.argv, start.setup)?;
            if let Some(failure) = timing.failure {
                bail!("{}, {}: {failure}", start.tool, start.what);
            }
            start.is_slow = timing.micros > SLOW_US;
        }
    }
    let mut dice = Dice::new();
    let mut order: Vec<usize> = (0..starts.len()).collect();
    for mode in [Mode::Hot, Mode::Idle] {
        let all = mode.runs(rounds, false);
        for round in 0..all {
            dice.shuffle(&mut order);
            for &index in &order {
                interrupt.check()?;
                once(&mut starts[index], hosts, mode, |is_slow| takes_part(round, all, mode.runs(rounds, is_slow)))?;
            }
        }
    }
    Ok(())
}

fn once(start: &mut Start, hosts: &mut Hosts, mode: Mode, takes_part: impl Fn(bool) -> bool) -> Result<()> {
    // What has to wait first is never back to back.
    let is_apart = mode == Mode::Hot && !start.setup.is_empty();
    if is_apart || !takes_part(start.is_slow) {
        return Ok(());
    }
    std::thread::sleep(mode.pause());
    let timing = hosts.0[start.host].time(&start.argv, start.setup)?;
    let samples = if mode == Mode::Hot { &mut start.hot } else { &mut start.idle };
    match timing.failure {
        None => samples.micros.push(timing.micros),
        Some(_) => samples.failed += 1,
    }
    if start.is_slow {
        std::thread::sleep(SETTLE);
    }
    Ok(())
}
