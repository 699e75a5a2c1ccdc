//! The figures of images as Markdown: tables for the terminal, and a page for the documentation.

use super::demands::{fastest_peer, slowest_stage};
use super::rounds::{Absent, Outcome};
use super::tasks::Who;
use super::{Report, STARTS};
use crate::report::{in_mib, three_digits};
use crate::timer::{Mode, Samples};
use crate::worker::Until;
use std::fmt::Write;

const HOW_TO_READ: &str = "\
Each figure is a whole command as a person types it, from its start to its end. All commands take turns in a shuffled
order, so that a noisy moment is noisy for all of them; the first round is not timed, and leaves what the registry reads
in the page cache. The registry is Debian's docker-registry, on the loopback.

A *pull* begins with nothing: what any tool has kept is removed before, and the disk has nothing left to write. podman
has a store of its own with its default driver; `skopeo copy` to an OCI layout is followed by `umoci unpack`; docker is a
daemon of the bench's own. *Directories* is MYCONTAINER_LAYERS=directories: what is done where the kernel has no EROFS.
A *stage alone* is what no pull can do without: the blobs read from the registry to nowhere; decompressed to nowhere with
the libraries that mycontainer uses, a layer on one core and of several two at a time; one file of the size of
mycontainer's own written, with fdatasync. `rmi` removes what was pulled before, after a `sync`.

A *push* goes to a registry that has nothing, from the store (mycontainer) or an OCI layout (skopeo). `copy` is
`mycontainer image copy` and `skopeo copy`.

A *run* is `run --rm --network none ROOT echo`: of an image of busybox in one layer, of one in sixty, and of the same tree
in a directory, which a container uses as it is (`--ephemeral`: under an overlay, as an image is). It is timed to the
first byte of its output, and in other runs to its end, when nothing of the container is left.

Runs that failed are counted, not timed. Peak RSS is that of the largest process among the command and the descendants it
waited for, in any run.
";

impl Report {
    /// The page.
    pub(crate) fn page(&self) -> String {
        let mut page = format!(
            "# Images\n\nWritten by `make bench` (`mycontainer-bench images{}`) on {}, on {}.\n\n\
             The image is Debian 12 with a compiler, Python, git and systemd: {}; as one layer and as twelve.\n\n{}\n\
             {HOW_TO_READ}\n",
            self.flags,
            self.date,
            self.machine,
            self.image,
            self.tables(),
        );
        let starts = self.rounds * STARTS;
        let _ = writeln!(
            page,
            "There were {} rounds; containers were started {} times back to back and {} times after idleness.\n",
            self.rounds,
            Mode::Hot.runs(starts, false),
            Mode::Idle.runs(starts, false),
        );
        let _ = writeln!(page, "Versions: {}.\n", self.versions.join("; "));
        if !self.absent.is_empty() {
            page += "Not measured:\n\n";
            for Absent { what, why } in &self.absent {
                let _ = writeln!(page, "- {what}: {why}");
            }
        }
        page.truncate(page.trim_end().len());
        page + "\n"
    }

    /// What is asked for, then every figure.
    pub(crate) fn tables(&self) -> String {
        let mut text = "## What is asked for\n\n| | asked | is | |\n|---|:-:|--:|:-:|\n".to_owned();
        for demand in self.demands() {
            let met = if demand.met { "yes" } else { "**no**" };
            let _ = writeln!(text, "| {} | {} | {} | {met} |", demand.what, demand.asked, demand.is);
        }
        let groups = self.groups();
        for (verb, title) in [("pull ", "Pull"), ("rmi ", "Remove"), ("push ", "Push"), ("copy ", "Copy")] {
            let of_verb: Vec<_> = groups.iter().filter(|group| group.starts_with(verb)).collect();
            if !of_verb.is_empty() {
                let _ = writeln!(text, "\n## {title}");
            }
            for group in of_verb {
                text += &self.table(group);
            }
        }
        if !self.starts.is_empty() {
            text += &self.starts_table();
        }
        text
    }

    fn table(&self, group: &str) -> String {
        let outcomes = self.outcomes_of(group);
        let unit = if group.starts_with("rmi") { (1.0, "ms") } else { (1000.0, "s") };
        let has_stages = slowest_stage(&outcomes).is_some();
        let mut table = format!("\n| `{group}` | median, {0} | least, {0} | × fastest peer |", unit.1);
        table += if has_stages { " × slowest stage |" } else { "" };
        table += " peak RSS, MiB | failed |\n|---|--:|--:|--:|--:|--:|";
        table += if has_stages { "--:|\n" } else { "\n" };
        let (peer, stage) = (fastest_peer(&outcomes), slowest_stage(&outcomes));
        for outcome in &outcomes {
            table += &line(outcome, unit.0, peer.map(|peer| peer.0), stage.map(|stage| stage.0));
        }
        table
    }

    fn starts_table(&self) -> String {
        let mut table = "\n## Run\n".to_owned();
        for (until, what) in [(Until::Output, "to its program's first word"), (Until::End, "to the end")] {
            let of_this: Vec<_> = self.starts.iter().filter(|start| start.until == until).collect();
            let Some(base) = of_this.first() else { continue };
            let _ = writeln!(
                table,
                "\n| `run`, {what}, of | back to back, ms | p10 to p90 | more | after 50 ms idle, ms | p10 to p90 \
                 | more | failed |\n|---|--:|:-:|--:|--:|:-:|--:|--:|"
            );
            for start in &of_this {
                let _ = writeln!(
                    table,
                    "| **{}** | {} | {} | {} |",
                    start.name,
                    times(&start.hot, &base.hot),
                    times(&start.idle, &base.idle),
                    start.hot.failed + start.idle.failed
                );
            }
        }
        table
    }
}

fn line(outcome: &Outcome, per: f64, peer: Option<f64>, stage: Option<f64>) -> String {
    let ms = |share| outcome.samples.quantile_ms(share);
    let figure = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| three_digits(ms / per));
    let ratio = |to: Option<f64>| ms(0.5).zip(to).map_or("-".to_owned(), |(own, to)| format!("{:.2}", own / to));
    let differs = outcome.who.differs();
    let differs = if differs.is_empty() { "" } else { &format!(" ({differs})") };
    let (to_peer, peak) = match outcome.who {
        Who::Stage(_) => ("-".to_owned(), "-".to_owned()),
        _ => (ratio(peer), in_mib(outcome.peak_kib)),
    };
    let to_stage = if stage.is_some() { format!(" {} |", ratio(stage)) } else { String::new() };
    let failed = match outcome.samples.failed {
        0 => "0".to_owned(),
        failed => format!("**{failed}** of {}", outcome.samples.runs()),
    };
    format!(
        "| **{}**{differs} | {} | {} | {to_peer} |{to_stage} {peak} | {failed} |\n",
        outcome.who.name(),
        figure(ms(0.5)),
        figure(ms(0.0)),
    )
}

/// The three columns of one mode.
fn times(samples: &Samples, base: &Samples) -> String {
    let ms = |share| samples.quantile_ms(share).map_or("-".to_owned(), three_digits);
    let more =
        samples.median_ms().zip(base.median_ms()).map_or("-".to_owned(), |(own, base)| format!("{:+.2}", own - base));
    format!("{} | {} to {} | {more}", ms(0.5), ms(0.1), ms(0.9))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(who: Who, ms: u64) -> Outcome {
        let samples = Samples { micros: vec![ms * 1000], failed: 0 };
        Outcome { group: "pull 1-gzip".to_owned(), who, samples, peak_kib: 2048 }
    }

    fn report() -> Report {
        Report {
            machine: crate::machine::Machine::here(),
            flags: " --rounds 1".to_owned(),
            date: "2026-01-02".to_owned(),
            image: "2 entries".to_owned(),
            versions: vec!["mycontainer 1".to_owned()],
            rounds: 1,
            outcomes: vec![
                outcome(Who::Ours, 1000),
                outcome(Who::Peer("slow", ""), 9000),
                outcome(Who::Peer("fast", "in part"), 3000),
                outcome(Who::Stage("read"), 100),
                outcome(Who::Stage("write"), 800),
            ],
            starts: Vec::new(),
            absent: vec![Absent { what: "pull 1-gzip: other".to_owned(), why: "not installed".to_owned() }],
        }
    }

    #[test]
    fn demands_are_held_against_the_fastest_peer_and_the_slowest_stage() {
        let demands = report().demands();
        let told: Vec<_> = demands.iter().map(|demand| (&*demand.what, &*demand.is, demand.met)).collect();
        assert_eq!(
            told,
            [
                ("pull 1-gzip: times as fast as the fastest peer (fast)", "3.00", false),
                ("pull 1-gzip: times as long as the slowest stage (write)", "1.25", true),
                ("pull 1-gzip: peak memory of mycontainer, MiB", "2.00", true),
            ]
        );
    }

    #[test]
    fn the_page_has_every_figure_and_who_is_missing() {
        let page = report().page();
        for line in [
            "Written by `make bench` (`mycontainer-bench images --rounds 1`) on 2026-01-02, on ",
            "| **fast** (in part) | 3.00 | 3.00 | 1.00 | 3.75 | 2.00 | 0 |\n",
            "| **write** | 0.80 | 0.80 | - | 1.00 | - | 0 |\n",
            "- pull 1-gzip: other: not installed\n",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }
}
