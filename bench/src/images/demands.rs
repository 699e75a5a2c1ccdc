//! What is asked of the tool, held against what was measured.

use super::Report;
use super::rounds::Outcome;
use super::tasks::Who;
use crate::report::three_digits;
use crate::timer::Samples;
use crate::worker::Until;

/// One demand.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Demand {
    /// Of what.
    pub(crate) what: String,
    /// What is asked for.
    pub(crate) asked: &'static str,
    /// What it is.
    pub(crate) is: String,
    /// Whether that is enough.
    pub(crate) met: bool,
}

impl Report {
    /// All whose figures there are.
    pub(crate) fn demands(&self) -> Vec<Demand> {
        let groups = |verb: &'static str| self.groups().into_iter().filter(move |group| group.starts_with(verb));
        let mut demands = Vec::new();
        for group in groups("pull ") {
            let outcomes = self.outcomes_of(&group);
            let peer = fastest_peer(&outcomes);
            let ours = median(&outcomes, Who::Ours);
            if let (Some(ours), Some((peer, name))) = (ours, peer) {
                let what = format!("{group}: times as fast as the fastest peer ({name})");
                demands.push(at_least(what, "4 or more", peer / ours, 4.0));
            }
            if let (Some(ours), Some((stage, name))) = (ours, slowest_stage(&outcomes)) {
                let what = format!("{group}: times as long as the slowest stage ({name})");
                demands.push(at_most(what, "1.3 or less", ours / stage, 1.3));
            }
            if let (Some(ours), Some((peer, name))) = (median(&outcomes, Who::Directories), peer) {
                let what = format!("{group}, directories: times as fast as the fastest peer ({name})");
                demands.push(at_least(what, "1.5 or more", peer / ours, 1.5));
            }
            for outcome in outcomes.iter().filter(|outcome| matches!(outcome.who, Who::Ours | Who::Directories)) {
                let what = format!("{group}: peak memory of {}, MiB", outcome.who.name());
                demands.push(at_most(what, "less than 64", outcome.peak_kib as f64 / 1024.0, 64.0));
            }
        }
        demands.extend(self.start_demands());
        for group in groups("rmi ") {
            for who in [Who::Ours, Who::Directories] {
                if let Some(ms) = median(&self.outcomes_of(&group), who) {
                    // What a person takes for at once.
                    demands.push(at_most(format!("{group}: {}, ms", who.name()), "at once: 100 or less", ms, 100.0));
                }
            }
        }
        for group in groups("push ").chain(groups("copy ")) {
            let outcomes = self.outcomes_of(&group);
            if let (Some(ours), Some((peer, name))) = (median(&outcomes, Who::Ours), fastest_peer(&outcomes)) {
                demands.push(at_most(format!("{group}: times as long as {name}"), "1 or less", ours / peer, 1.0));
            }
        }
        demands
    }

    fn start_demands(&self) -> Vec<Demand> {
        let Some(directory) = self.starts.first() else { return Vec::new() };
        let images = self.starts.iter().filter(|s| s.until == Until::Output && s.name.starts_with("an image"));
        let mut demands = Vec::new();
        for start in images {
            for (when, own, base) in [
                ("back to back", &start.hot, &directory.hot),
                ("after 50 ms of idleness", &start.idle, &directory.idle),
            ] {
                if let Some((own, base)) = own.median_ms().zip(base.median_ms()) {
                    let what = format!("run of {} to its first word, {when}: ms more than of a directory", start.name);
                    demands.push(at_most(what, "0.3 or less", own - base, 0.3));
                }
            }
        }
        demands
    }

    /// The tables, in the order of their first lines.
    pub(crate) fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = Vec::new();
        for outcome in &self.outcomes {
            if !groups.contains(&outcome.group) {
                groups.push(outcome.group.clone());
            }
        }
        groups
    }

    /// The lines of a table.
    pub(crate) fn outcomes_of(&self, group: &str) -> Vec<&Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.group == group).collect()
    }
}

/// The median of one line in ms.
fn median(outcomes: &[&Outcome], who: Who) -> Option<f64> {
    outcomes.iter().find(|outcome| outcome.who == who).and_then(|outcome| outcome.samples.median_ms())
}

/// The median of the fastest peer, and its name.
pub(crate) fn fastest_peer(outcomes: &[&Outcome]) -> Option<(f64, &'static str)> {
    let peers = outcomes.iter().filter(|outcome| matches!(outcome.who, Who::Peer(..)));
    named(peers).min_by(|a, b| a.0.total_cmp(&b.0))
}

/// The median of the slowest stage, and its name.
pub(crate) fn slowest_stage(outcomes: &[&Outcome]) -> Option<(f64, &'static str)> {
    let stages = outcomes.iter().filter(|outcome| matches!(outcome.who, Who::Stage(_)));
    named(stages).max_by(|a, b| a.0.total_cmp(&b.0))
}

fn named<'a>(outcomes: impl Iterator<Item = &'a &'a Outcome>) -> impl Iterator<Item = (f64, &'static str)> {
    outcomes.filter_map(|outcome| Some((Samples::median_ms(&outcome.samples)?, outcome.who.name())))
}

fn at_least(what: String, asked: &'static str, value: f64, limit: f64) -> Demand {
    Demand { what, asked, is: three_digits(value), met: value >= limit }
}

fn at_most(what: String, asked: &'static str, value: f64, limit: f64) -> Demand {
    Demand { what, asked, is: three_digits(value), met: value <= limit }
}
