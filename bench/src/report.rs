//! The figures as Markdown: a table for the terminal, and a page for the documentation.

use crate::contenders::{Absent, Contender, Count, OF_IMAGE};
use crate::machine::Machine;
use crate::timer::{Mode, Samples};
use crate::worker::View;
use std::fmt::Write;

/// Everything that was found out.
pub(crate) struct Report {
    /// Where.
    pub(crate) machine: Machine,
    /// Who and how fast, the floor first.
    pub(crate) rows: Vec<Row>,
    /// Who was not measured.
    pub(crate) absent: Vec<Absent>,
    /// How many were asked for.
    pub(crate) rounds: usize,
}

/// One contender's figures.
pub(crate) struct Row {
    /// Who.
    pub(crate) contender: Contender,
    /// Back to back.
    pub(crate) hot: Samples,
    /// With idleness before each run.
    pub(crate) idle: Samples,
}

/// Puts the contenders and their samples together.
pub(crate) fn rows(contenders: Vec<Contender>, hot: Vec<Samples>, idle: Vec<Samples>) -> Vec<Row> {
    let samples = hot.into_iter().zip(idle);
    contenders.into_iter().zip(samples).map(|(contender, (hot, idle))| Row { contender, hot, idle }).collect()
}

const HEADER: &str = "\
| | back to back, ms | p10 to p90 | × floor | after 50 ms idle, ms | p10 to p90 | × floor | peak RSS, MiB | system calls | instructions | failed |
|---|--:|:-:|--:|--:|:-:|--:|--:|--:|--:|--:|
";

const HOW_TO_READ: &str = "\
Each figure is a whole command as a person types it, from its start to its end, running a static `/bin/true`: medians
of wall-clock times. All commands take turns in a shuffled order, so that a noisy moment is noisy for all of them. The
*floor* ([floor.c](../../bench/floor.c)) is a static C program that does the work of the OCI default isolation and
nothing else: what the kernel itself charges here. What ends in *v2* runs where cgroup v2 alone is mounted, and is held
against a floor there. `mycontainer-runtime` runs the same bundle as crun and runc do; `mycontainer` uses a directory as the root, without a network;
what ends in *user* is run by an ordinary user;
what the others do otherwise stands beside their names. The second half waits 50 ms before each run, for
some costs (moving a process between cgroups, above all) only show on a machine that was idle. Runs that failed are
counted, not timed. Peak RSS is that of the largest process among the command and the descendants it waited for: a
daemon or a detached monitor is not in it. How fast images are moved stands in [images.md](images.md).
";

impl Report {
    /// The table alone.
    pub(crate) fn table(&self) -> String {
        let mut table = HEADER.to_owned();
        for Row { contender, hot, idle } in &self.rows {
            let (floor_hot, floor_idle) =
                self.floor_of(contender).map_or((None, None), |row| (row.hot.median_ms(), row.idle.median_ms()));
            let differs = if contender.differs.is_empty() { "" } else { &format!(" ({})", contender.differs) };
            let _ = writeln!(
                table,
                "| **{}**{differs} | {} | {} | {} | {} | {} | {} |",
                contender.name,
                times(hot, floor_hot),
                times(idle, floor_idle),
                in_mib(contender.peak_kib),
                counted(contender.calls),
                counted(contender.instructions),
                failures(hot, idle),
            );
        }
        table
    }

    /// The floor in the same view: on cgroup v2 there is another.
    fn floor_of(&self, contender: &Contender) -> Option<&Row> {
        let is_v2 = |contender: &Contender| contender.view == View::Unified;
        self.rows.iter().find(|row| is_v2(&row.contender) == is_v2(contender))
    }

    /// What is asked of the medians, as far as there are any.
    fn asked(&self) -> Vec<Asked> {
        let mut asked = Vec::new();
        for mode in ["back to back", "after 50 ms of idleness"] {
            let is_hot = mode == "back to back";
            let of = |row: &'_ Row| if is_hot { row.hot.median_ms() } else { row.idle.median_ms() };
            let median = |name: &str| of(self.rows.iter().find(|row| row.contender.name == name)?);
            let fastest_crun = |is_v2: bool| {
                let named = |row: &&Row| {
                    row.contender.name.starts_with("crun") && row.contender.name.ends_with(", v2") == is_v2
                };
                self.rows.iter().filter(named).filter_map(of).reduce(f64::min)
            };
            let (v1, v2, image) = (median("mycontainer-runtime"), median("mycontainer-runtime, v2"), median(OF_IMAGE));
            let mut most = |what: &str, bound, pair: Option<(f64, f64)>| {
                asked.extend(pair.map(|(own, base)| Asked::at_most(format!("{what}, {mode}"), bound, own / base)));
            };
            most("mycontainer-runtime: times the floor", 1.25, v1.zip(median("floor")));
            most("mycontainer-runtime, v2: times the floor", 1.25, v2.zip(median("floor, v2")));
            most("an image with overlay and bridge: times the floor", 2.0, image.zip(median("floor")));
            let mut least = |what: &str, bound, pair: Option<(f64, f64)>| {
                asked.extend(pair.map(|(own, peer)| Asked::at_least(format!("{what}, {mode}"), bound, peer / own)));
            };
            least("mycontainer-runtime, v2: times as fast as the fastest crun", 2.0, v2.zip(fastest_crun(true)));
            // Where nothing was idle, what crun waits for is hidden.
            if !is_hot {
                least("mycontainer-runtime: times as fast as the fastest crun", 5.0, v1.zip(fastest_crun(false)));
            }
            for peer in ["podman+bridge", "docker+bridge"] {
                least(
                    &format!("an image with overlay and bridge: times as fast as {peer}"),
                    30.0,
                    image.zip(median(peer)),
                );
            }
        }
        asked
    }

    /// The page that holds table, chart and what a reader must know beside them.
    pub(crate) fn page(&self) -> String {
        let mut page = format!(
            "# A whole run of `/bin/true`\n\nWritten by `make bench`, on {}.\n\n{}\n{}\n{HOW_TO_READ}\n![the table as a \
             chart](run.svg)\n\n",
            self.machine,
            asked_table(&self.asked().iter().collect::<Vec<_>>()),
            self.table()
        );
        let runs = |mode: Mode, is_slow| mode.runs(self.rounds, is_slow);
        let _ = writeln!(
            page,
            "There were {} runs back to back and {} after idleness, of those that take long {} and {}.\n",
            runs(Mode::Hot, false),
            runs(Mode::Idle, false),
            runs(Mode::Hot, true),
            runs(Mode::Idle, true),
        );
        let mut versions: Vec<&str> = self.rows.iter().map(|row| &*row.contender.version).collect();
        versions.retain(|version| !version.is_empty());
        versions.dedup();
        if !versions.is_empty() {
            let _ = writeln!(page, "Versions: {}.\n", versions.join("; "));
        }
        if !self.absent.is_empty() {
            page += "Not measured:\n\n";
            for Absent { name, why } in &self.absent {
                let _ = writeln!(page, "- {name}: {why}");
            }
        }
        page.truncate(page.trim_end().len());
        page + "\n"
    }
}

/// A figure that is asked for, and what it is.
pub(crate) struct Asked {
    what: String,
    bound: f64,
    is_least: bool,
    is: f64,
}

impl Asked {
    pub(crate) fn at_least(what: String, bound: f64, is: f64) -> Asked {
        Asked { what, bound, is_least: true, is }
    }

    pub(crate) fn at_most(what: String, bound: f64, is: f64) -> Asked {
        Asked { what, bound, is_least: false, is }
    }

    fn row(&self) -> String {
        let Asked { what, bound, is_least, is } = self;
        let (word, reached) = if *is_least { ("or more", is >= bound) } else { ("or less", is <= bound) };
        let reached = if reached { "yes" } else { "**no**" };
        format!("| {what} | {bound} {word} | {} | {reached} |", three_digits(*is))
    }
}

/// All that is asked for, and nothing where nothing is.
pub(crate) fn asked_table(asked: &[&Asked]) -> String {
    if asked.is_empty() {
        return String::new();
    }
    let rows: String = asked.iter().map(|asked| asked.row() + "\n").collect();
    format!("| asked for | | is | |\n|---|:-:|--:|---|\n{rows}")
}

/// The three columns of one mode.
fn times(samples: &Samples, floor_ms: Option<f64>) -> String {
    let ms = |share| samples.quantile_ms(share).map_or("-".to_owned(), three_digits);
    let ratio = samples.median_ms().zip(floor_ms).map_or("-".to_owned(), |(own, floor)| format!("{:.2}", own / floor));
    format!("{} | {} to {} | {ratio}", ms(0.5), ms(0.1), ms(0.9))
}

/// A figure with three significant digits, or two places when it is small.
pub(crate) fn three_digits(value: f64) -> String {
    let places = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.places$}")
}

/// The kernel counts pages by 32 and more at a time on each CPU, so what is smaller than that cannot be told.
pub(crate) fn in_mib(kib: u64) -> String {
    if kib < 256 { "< 0.25".to_owned() } else { three_digits(kib as f64 / 1024.0) }
}

fn counted(count: Option<Count>) -> String {
    match count {
        Some(Count::Exactly(count)) => thousands(count),
        Some(Count::MoreThan(most)) => format!("> {}", thousands(most)),
        None => "-".to_owned(),
    }
}

/// A count with a comma before each three digits.
fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn failures(hot: &Samples, idle: &Samples) -> String {
    match hot.failed + idle.failed {
        0 => "0".to_owned(),
        failed => format!("**{failed}** of {}", hot.runs() + idle.runs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        for (ms, expected) in [(2.341, "2.34"), (9.996, "10.0"), (34.56, "34.6"), (307.4, "307"), (0.047, "0.05")] {
            assert_eq!(three_digits(ms), expected);
        }
    }

    #[test]
    fn memory_is_in_mib_as_far_as_it_can_be_told() {
        for (kib, expected) in [(0, "< 0.25"), (255, "< 0.25"), (1843, "1.80"), (36_700, "35.8")] {
            assert_eq!(in_mib(kib), expected);
        }
    }

    #[test]
    fn what_is_asked_is_reached_or_not() {
        let row = |asked: Asked| asked_table(&[&asked]).lines().last().unwrap_or_default().to_owned();
        assert_eq!(row(Asked::at_least("a".to_owned(), 20.0, 21.0)), "| a | 20 or more | 21.0 | yes |");
        assert_eq!(row(Asked::at_most("a".to_owned(), 1.1, 1.2)), "| a | 1.1 or less | 1.20 | **no** |");
    }

    #[test]
    fn counts_have_commas() {
        for (count, expected) in [
            (Some(Count::Exactly(0)), "0"),
            (Some(Count::Exactly(645)), "645"),
            (Some(Count::Exactly(685_169)), "685,169"),
            (Some(Count::MoreThan(2_000_000)), "> 2,000,000"),
            (None, "-"),
        ] {
            assert_eq!(counted(count), expected);
        }
    }

    #[test]
    fn a_contender_whose_every_run_failed_has_no_times() {
        let failed = Samples { failed: 3, ..Samples::default() };
        assert_eq!(times(&failed, Some(2.0)), "- | - to - | -");
        assert_eq!(failures(&failed, &Samples::default()), "**3** of 3");
    }
}
