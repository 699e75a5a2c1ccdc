//! networks.md.

use super::flows::{Figures, Flow, SECONDS};
use super::starts::{BESIDE, FIRST, Start};
use crate::machine::Machine;
use crate::report::three_digits;
use crate::timer::{Mode, Samples};
use std::fmt::Write as _;

const HOW_TO_READ: &str = "\
Each tool has a host of its own: namespaces for the network, mounts and processes, so that its bridges and rules are the only
ones. Three containers stay on it, one on the default bridge, two on a named network with names. All commands take turns in a
shuffled order. mycontainer and podman run a directory, docker an image of it.
";
const BUSY: &str = "\
It was busy with something else, so that differences of a few milliseconds, or of a fifth of a rate, say little.
";
const STARTS: &str = "\
`run --rm` of a static `true`, from its start to its end, in ms: the median, the 10th and the 90th percentile, and what the
median has more than that without a network.
";
const NAMES: &str = "\
dnsperf in a container's network, for a container's name, at the name server that the container is told: answers a second
with 100 questions under way from 4 sockets, and how long an answer takes when there is one question at a time. The median,
the least and the most.
";

/// What there is to tell.
pub(crate) struct Page {
    pub(crate) machine: Machine,
    pub(crate) versions: Vec<String>,
    pub(crate) starts: Vec<Start>,
    pub(crate) flows: Vec<Figures>,
    pub(crate) rounds: usize,
    pub(crate) rounds_of_flows: usize,
}

impl Page {
    /// The page.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("# Networks\n\n{HOW_TO_READ}\n{}; {}.\n", self.machine, self.versions.join(", "));
        if self.machine.is_busy() {
            text += BUSY;
        }
        text += &self.asked();
        let _ = write!(text, "\n## What a network adds to a start\n\n{STARTS}");
        for (mode, title) in [(Mode::Hot, "Back to back"), (Mode::Idle, "After 50 ms of idleness")] {
            let (fast, slow) = (mode.runs(self.rounds, false), mode.runs(self.rounds, true));
            let _ =
                write!(text, "\n{title}, {fast} runs ({slow} of what takes long):\n\n{}", self.table_of_starts(mode));
        }
        let _ = write!(
            text,
            "\n## What passes through\n\niperf3, one TCP stream for {SECONDS} s, {} rounds, in Gbit/s: the median, the \
             least and the most. The port is reached at 127.0.0.1 from the host.\n\n{}",
            self.rounds_of_flows,
            self.table_of_flows(&[
                ("container to container", Flow::Between),
                ("host to published port", Flow::FromHost),
                ("outside to published port", Flow::FromOutside),
            ])
        );
        let names = [("answers a second", Flow::Questions), ("one answer, µs", Flow::Latency)];
        let _ = write!(text, "\n## Names\n\n{NAMES}\n{}", self.table_of_flows(&names));
        let _ = writeln!(text, "\nMade by `target/release/mycontainer-bench networks --rounds {}`.", self.rounds);
        text
    }

    /// What was asked for, and what came of it.
    fn asked(&self) -> String {
        let mut text = String::from("\n| asked | reached |\n|---|---|\n");
        let added = |mode| self.added(self.start("mycontainer", "default bridge")?, mode);
        let both = |of: &dyn Fn(Mode) -> Option<f64>| {
            let [hot, idle] = [Mode::Hot, Mode::Idle].map(|mode| of(mode).map_or("-".to_owned(), three_digits));
            format!("{hot} back to back, {idle} after idleness")
        };
        let _ = writeln!(text, "| bridge, address and NAT add less than 1.5 ms to a start | {} |", both(&added));
        let beside = |mode| {
            let [few, many] = BESIDE.map(|(what, _)| median(self.start("mycontainer", what)?, mode));
            Some(many? / few?)
        };
        let _ = writeln!(
            text,
            "| a start that publishes takes as long beside 1000 published ports as beside 10 | times as long: {} |",
            both(&beside)
        );
        let between = |tool| self.flows.iter().find(|f| f.tool == tool && f.flow == Flow::Between)?.quantile(0.5);
        let share = between("mycontainer").zip(between("two bare namespaces")).map(|(ours, bare)| 100.0 * ours / bare);
        let share = share.map_or("-".to_owned(), |share| format!("{share:.0} %"));
        let _ = writeln!(
            text,
            "| container to container within 5 % of two bare namespaces with a link | {share} of them |"
        );
        text
    }

    fn start(&self, tool: &str, what: &str) -> Option<&Start> {
        self.starts.iter().find(|start| start.tool == tool && start.what == what)
    }

    /// In ms more than without a network.
    fn added(&self, start: &Start, mode: Mode) -> Option<f64> {
        let base = self.starts.iter().find(|base| base.is_base && base.tool == start.tool)?;
        Some(median(start, mode)? - median(base, mode)?)
    }

    fn table_of_starts(&self, mode: Mode) -> String {
        let tools = in_order(self.starts.iter().map(|start| start.tool));
        let mut text = header(&tools);
        for what in in_order(self.starts.iter().map(|start| start.what)) {
            if mode == Mode::Hot && what == FIRST {
                continue;
            }
            let _ = write!(text, "| {what} |");
            for tool in &tools {
                let cell = self.start(tool, what).map(|start| self.cell(start, mode)).unwrap_or_default();
                let _ = write!(text, " {cell} |");
            }
            text += "\n";
        }
        text
    }

    fn cell(&self, start: &Start, mode: Mode) -> String {
        let samples = samples(start, mode);
        let [low, mid, high] = [0.1, 0.5, 0.9].map(|share| samples.quantile_ms(share).map_or("-".into(), three_digits));
        let added = self.added(start, mode).filter(|_| !start.is_base);
        let added = added.map(|more| format!(", {more:+.2}")).unwrap_or_default();
        format!("{mid} ({low}–{high}){added}{}", failures(samples.failed))
    }

    fn table_of_flows(&self, rows: &[(&str, Flow)]) -> String {
        let wanted = self.flows.iter().filter(|figures| rows.iter().any(|(_, flow)| *flow == figures.flow));
        let tools = in_order(wanted.map(|figures| figures.tool));
        let mut text = header(&tools);
        for (what, flow) in rows {
            let _ = write!(text, "| {what} |");
            for tool in &tools {
                let figures = self.flows.iter().find(|figures| figures.tool == *tool && figures.flow == *flow);
                let _ = write!(text, " {} |", figures.map(Figures::cell).unwrap_or_default());
            }
            text += "\n";
        }
        text
    }
}

impl Figures {
    fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get((share * sorted.len().saturating_sub(1) as f64).round() as usize).copied()
    }

    fn cell(&self) -> String {
        let shown = |share| {
            let value = self.quantile(share)?;
            Some(match self.flow {
                Flow::Questions => format!("{value:.0}"),
                Flow::Latency => three_digits(value * 1e6),
                _ => three_digits(value / 1e9),
            })
        };
        let failed = failures(self.failed);
        match (shown(0.0), shown(0.5), shown(1.0)) {
            (Some(least), Some(median), Some(most)) => format!("{median} ({least}–{most}){failed}"),
            _ => "failed".to_owned(),
        }
    }
}

fn samples(start: &Start, mode: Mode) -> &Samples {
    if mode == Mode::Hot { &start.hot } else { &start.idle }
}

fn median(start: &Start, mode: Mode) -> Option<f64> {
    samples(start, mode).median_ms()
}

fn failures(failed: usize) -> String {
    if failed > 0 { format!(", {failed} failed") } else { String::new() }
}

fn header(columns: &[&str]) -> String {
    format!("| | {} |\n|---|{}\n", columns.join(" | "), "---|".repeat(columns.len()))
}

/// Each once, in the order of their first.
fn in_order<'a>(all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut once = Vec::new();
    all.for_each(|one| {
        if !once.contains(&one) {
            once.push(one);
        }
    });
    once
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_the_median_between_the_least_and_the_most() {
        let figures = |flow, values: &[f64], failed| Figures { values: values.to_vec(), failed, ..Figures::none(flow) };
        for (figures, expected) in [
            (figures(Flow::Between, &[3e9, 1e9, 20e9], 0), "3.00 (1.00–20.0)"),
            (figures(Flow::Questions, &[70_000.4], 2), "70000 (70000–70000), 2 failed"),
            (figures(Flow::Latency, &[2e-5, 3e-5, 4e-5], 0), "30.0 (20.0–40.0)"),
            (figures(Flow::Between, &[], 5), "failed"),
        ] {
            assert_eq!(figures.cell(), expected);
        }
    }

    #[test]
    fn a_column_stands_where_its_first_figure_does() {
        assert_eq!(in_order(["b", "a", "b", "c", "a"].into_iter()), ["b", "a", "c"]);
    }
}
