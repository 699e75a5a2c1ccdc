//! When each contender runs, and what its times come to.
//!
//! In every round each contender runs once, in an order that is shuffled anew, so that a noisy moment is noisy for all
//! and nobody always runs in the wake of the same neighbour. A slow contender takes part in every nth round only.

use crate::contenders::Contender;
use crate::worker::{Request, Until, View, Worker};
use anyhow::Result;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// A run that takes longer than this many µs makes its contender a slow one.
pub(crate) const SLOW_US: u64 = 60_000;
/// A slow contender runs in one round of so many, but at least [`FEWEST`] times.
const SLOW_SHARE: usize = 6;
const FEWEST: usize = 10;
/// After a slow contender its daemon or monitor still cleans up; the next one must not pay for that.
pub(crate) const SETTLE: Duration = Duration::from_millis(300);
const TIMEOUT_S: u16 = 20;

/// What happens before each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing: one run follows the other.
    Hot,
    /// 50 ms of idleness, after which the kernel's RCU sleeps and what waits for it is slow.
    Idle,
}

impl Mode {
    /// How long that is.
    pub(crate) fn pause(self) -> Duration {
        match self {
            Mode::Hot => Duration::ZERO,
            Mode::Idle => Duration::from_millis(50),
        }
    }

    /// How often a contender runs, of the `rounds` asked for: fewer times where each takes longer.
    pub(crate) fn runs(self, rounds: usize, is_slow: bool) -> usize {
        let rounds = match self {
            Mode::Hot => rounds,
            Mode::Idle => (rounds * 3).div_ceil(5),
        };
        if is_slow { (rounds / SLOW_SHARE).max(FEWEST).min(rounds) } else { rounds }
    }
}

/// The workers that are needed, one a view.
#[derive(Default)]
pub(crate) struct Workers(HashMap<View, Worker>);

impl Workers {
    /// The worker with this view, started when it is first asked for.
    pub(crate) fn with(&mut self, view: View) -> Result<&mut Worker> {
        use std::collections::hash_map::Entry;
        Ok(match self.0.entry(view) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Worker::start(view)?),
        })
    }

    /// Takes a worker that was started otherwise as the one with this view.
    pub(crate) fn insert(&mut self, view: View, worker: Worker) {
        self.0.insert(view, worker);
    }

    /// Runs a command once in `view`, untimed, and says on failure what it wrote to stderr last.
    pub(crate) fn try_once(&mut self, view: View, argv: &[String], stderr: &Path) -> Result<Result<u64, String>> {
        let stderr = Some(stderr.to_owned());
        let (argv, setup) = (argv.to_vec(), String::new());
        self.try_request(view, &Request { argv, timeout_s: 120, stderr, setup, until: Until::End, crowd: None })
    }

    /// As [`Workers::try_once`], with all that can be asked.
    pub(crate) fn try_request(&mut self, view: View, request: &Request) -> Result<Result<u64, String>> {
        let timing = self.with(view)?.time(request)?;
        let Some(failure) = timing.failure else { return Ok(Ok(timing.micros)) };
        let said = request.stderr.as_ref().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        Ok(Err(last.map_or(failure, |line| line.trim().to_owned())))
    }
}

/// The times of one contender in one mode.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    /// The time of each run that succeeded.
    pub(crate) micros: Vec<u64>,
    /// Runs that failed or hung; they are not among the times.
    pub(crate) failed: usize,
}

impl Samples {
    /// The time in ms below which `share` of the runs lie (0.5: the median), if any succeeded.
    pub(crate) fn quantile_ms(&self, share: f64) -> Option<f64> {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let at = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
        sorted.get(at).map(|us| *us as f64 / 1000.0)
    }

    /// The middle time in ms.
    pub(crate) fn median_ms(&self) -> Option<f64> {
        self.quantile_ms(0.5)
    }

    /// Takes others in.
    pub(crate) fn add(&mut self, more: Samples) {
        self.micros.extend(more.micros);
        self.failed += more.failed;
    }

    /// How many runs there were, good and bad.
    pub(crate) fn runs(&self) -> usize {
        self.micros.len() + self.failed
    }
}

/// Times all contenders in one mode; the samples stand in their order.
pub(crate) fn measure(
    contenders: &[Contender],
    mode: Mode,
    until: Until,
    rounds: usize,
    workers: &mut Workers,
) -> Result<Vec<Samples>> {
    let rounds_of_all = mode.runs(rounds, false);
    let mut samples = vec![Samples::default(); contenders.len()];
    let mut order: Vec<usize> = (0..contenders.len()).collect();
    let mut dice = Dice::new();
    // The round before the first is the warm-up: every contender runs, nobody is timed.
    for round in std::iter::once(None).chain((0..rounds_of_all).map(Some)) {
        dice.shuffle(&mut order);
        for &index in &order {
            let contender = &contenders[index];
            let is_slow = contender.is_slow;
            if round.is_some_and(|round| !takes_part(round, rounds_of_all, mode.runs(rounds, is_slow))) {
                continue;
            }
            std::thread::sleep(mode.pause());
            let (argv, setup) = (contender.argv.clone(), String::new());
            let request = Request { argv, timeout_s: TIMEOUT_S, stderr: None, setup, until, crowd: None };
            let timing = workers.with(contender.view)?.time(&request)?;
            if round.is_some() {
                let samples = &mut samples[index];
                match timing.failure {
                    None => samples.micros.push(timing.micros),
                    Some(_) => samples.failed += 1,
                }
            }
            if is_slow {
                std::thread::sleep(SETTLE);
            }
        }
    }
    Ok(samples)
}

/// Whether a contender runs in this round, when its `wanted` runs are spread evenly over all `rounds`.
pub(crate) fn takes_part(round: usize, rounds: usize, wanted: usize) -> bool {
    round * wanted / rounds != (round + 1) * wanted / rounds
}

/// A small random number generator with a fixed seed (xorshift64): enough to shuffle with, and the same every time.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Dice {
        Dice(0x9e37_79b9_7f4a_7c15)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    /// Puts the numbers into another order.
    pub(crate) fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            order.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_runs_that_succeeded() {
        let samples = Samples { micros: vec![5000, 1000, 3000, 2000, 4000], failed: 2 };
        for (share, expected) in [(0.0, 1.0), (0.1, 1.0), (0.5, 3.0), (0.9, 5.0), (1.0, 5.0)] {
            assert_eq!(samples.quantile_ms(share), Some(expected), "{share}");
        }
        assert_eq!(samples.runs(), 7);
        assert_eq!(Samples::default().median_ms(), None);
    }

    #[test]
    fn a_slow_contender_runs_less_often_but_enough() {
        for (mode, rounds, is_slow, expected) in [
            (Mode::Hot, 100, false, 100),
            (Mode::Hot, 100, true, 16),
            (Mode::Idle, 100, false, 60),
            (Mode::Idle, 100, true, 10),
            (Mode::Idle, 1, true, 1),
        ] {
            let (all, wanted) = (mode.runs(rounds, false), mode.runs(rounds, is_slow));
            let taken = (0..all).filter(|round| takes_part(*round, all, wanted)).count();
            assert_eq!(taken, expected, "{mode:?}, {rounds} rounds, slow: {is_slow}");
        }
    }

    #[test]
    fn a_shuffled_order_still_has_everyone() {
        let mut dice = Dice::new();
        let mut order: Vec<usize> = (0..20).collect();
        dice.shuffle(&mut order);
        assert_ne!(order, (0..20).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..20).collect::<Vec<_>>());
    }
}
