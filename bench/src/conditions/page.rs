//! The figures as Markdown.

use super::Line;
use crate::contenders::Absent;
use crate::machine::Machine;
use crate::report::{Asked, asked_table, three_digits};
use crate::timer::{Mode, Samples};
use std::fmt::Write;

/// What a section found.
pub(crate) struct Found {
    /// Its text with its table.
    pub(crate) text: String,
    /// What is asked for in it.
    pub(crate) asked: Vec<Asked>,
}

/// All of it.
pub(crate) struct Page {
    pub(crate) machine: Machine,
    pub(crate) versions: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) only: Vec<String>,
    pub(crate) found: Vec<(&'static str, Found)>,
    pub(crate) absent: Vec<Absent>,
}

impl Page {
    pub(crate) fn text(&self) -> String {
        let only = if self.only.is_empty() { String::new() } else { format!(" --only \"{}\"", self.only.join(",")) };
        let mut page = format!(
            "# The same under other conditions\n\nWritten by `make bench` (`mycontainer-bench conditions --rounds {}{only}`), on \
             {}.\n\n",
            self.rounds, self.machine
        );
        let asked: Vec<&Asked> = self.found.iter().flat_map(|(_, found)| &found.asked).collect();
        page += &asked_table(&asked);
        for (title, found) in &self.found {
            let _ = write!(page, "\n## {title}\n\n{}", found.text);
        }
        let _ = write!(
            page,
            "\nEach figure is a whole command from its start to its end: medians in ms of {} runs back to back and {} after 50 ms of \
             idleness, of what takes long fewer, all in a shuffled order. The root has a static `/bin/true`. Runs that failed \
             are counted, not timed. podman and docker run an image. What the *floor* is stands in [README.md](README.md).\n\n\
             Versions: {}.\n",
            Mode::Hot.runs(self.rounds, false),
            Mode::Idle.runs(self.rounds, false),
            self.versions.join("; ")
        );
        if !self.absent.is_empty() {
            page += "\nNot measured:\n\n";
            let mut rows: Vec<String> =
                self.absent.iter().map(|Absent { name, why }| format!("- {name}: {why}\n")).collect();
            rows.dedup();
            page += &rows.concat();
        }
        page
    }
}

/// A table of lines, each against the line of the name that `base_of` says.
pub(crate) fn times<'a>(lines: &'a [Line], base_of: impl Fn(&'a Line) -> &'a str) -> String {
    let mut table =
        "| | back to back, ms | p10 to p90 | × floor | after 50 ms idle, ms | p10 to p90 | × floor | failed |\n\
                     |---|--:|:-:|--:|--:|:-:|--:|--:|\n"
            .to_owned();
    for line in lines {
        let base = lines.iter().find(|base| base.name == base_of(line));
        let cells = |samples: &Samples, base: Option<f64>| {
            let ms = |share| samples.quantile_ms(share).map_or("-".to_owned(), three_digits);
            let ratio =
                samples.median_ms().zip(base).map_or("-".to_owned(), |(own, base)| format!("{:.2}", own / base));
            format!("{} | {} to {} | {ratio}", ms(0.5), ms(0.1), ms(0.9))
        };
        let _ = writeln!(
            table,
            "| **{}** | {} | {} | {} |",
            line.name,
            cells(&line.hot, base.and_then(|base| base.hot.median_ms())),
            cells(&line.idle, base.and_then(|base| base.idle.median_ms())),
            line.hot.failed + line.idle.failed
        );
    }
    table
}

/// How many times as long the one whose name ends in the second word is as the one that ends in the first.
pub(crate) fn pairs(lines: &[Line], ends: [&str; 2], units: [&str; 2]) -> Found {
    let mut text = "| |".to_owned();
    for mode in ["back to back", "after 50 ms idle"] {
        let _ = write!(text, " {} {}, {mode}, ms | {} {}, ms | × | ", ends[0], units[0], ends[1], units[1]);
    }
    text += "failed |\n|---|--:|--:|--:|--:|--:|--:|--:|\n";
    let mut asked = Vec::new();
    for few in lines {
        let Some(name) = few.name.strip_suffix(&format!(" {}", ends[0])) else { continue };
        let Some(many) = lines.iter().find(|line| line.name == format!("{name} {}", ends[1])) else { continue };
        let _ = write!(text, "| **{name}** |");
        for (mode, [few, many]) in
            [("back to back", [&few.hot, &many.hot]), ("after 50 ms of idleness", [&few.idle, &many.idle])]
        {
            let cell = |samples: &Samples| samples.median_ms().map_or("-".to_owned(), three_digits);
            let ratio = many.median_ms().zip(few.median_ms()).map(|(many, few)| many / few);
            let _ = write!(text, " {} | {} | {} |", cell(few), cell(many), ratio.map_or("-".to_owned(), three_digits));
            if let (true, Some(ratio)) = (name.starts_with("mycontainer"), ratio) {
                let what =
                    format!("{name} beside {} {}, {mode}: times as long as beside {}", ends[1], units[1], ends[0]);
                asked.push(Asked::at_most(what, 1.1, ratio));
            }
        }
        let _ = writeln!(
            text,
            " {} |",
            [&few.hot, &few.idle, &many.hot, &many.idle].iter().map(|s| s.failed).sum::<usize>()
        );
    }
    Found { text, asked }
}

/// A table of runs a second; the samples are of one run each.
pub(crate) fn crowds<const N: usize>(names: &[&str], at_once: [usize; N], all: &[[Samples; N]]) -> String {
    let mut table = "| |".to_owned();
    at_once.iter().for_each(|count| table += &format!(" {count} at once | × podman |"));
    table += " failed |\n|---|";
    table += &"--:|--:|".repeat(N);
    table += "--:|\n";
    let podman = names.iter().position(|name| *name == "podman, image");
    for (name, samples) in names.iter().zip(all) {
        let _ = write!(table, "| **{name}** |");
        for (at, samples) in samples.iter().enumerate() {
            let rate = |samples: &Samples| samples.median_ms().map(|ms| 1000.0 / ms);
            let own = rate(samples);
            let ratio = own.zip(podman.and_then(|podman| rate(&all[podman][at]))).map(|(own, podman)| own / podman);
            let cell = |value: Option<f64>| value.map_or("-".to_owned(), three_digits);
            let _ = write!(table, " {} | {} |", cell(own), cell(ratio));
        }
        let _ = writeln!(table, " {} |", samples.iter().map(|samples| samples.failed).sum::<usize>());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, micros: u64) -> Line {
        let samples = Samples { micros: vec![micros], failed: 0 };
        Line { name: name.to_owned(), hot: samples.clone(), idle: samples }
    }

    #[test]
    fn pairs_belong_together_by_their_names() {
        let lines = [line("floor 20", 2000), line("mycontainer 20", 4000), line("mycontainer 500", 5000)];
        let found = pairs(&lines, ["20", "500"], ["mounts"; 2]);
        assert!(
            found.text.ends_with("| **mycontainer** | 4.00 | 5.00 | 1.25 | 4.00 | 5.00 | 1.25 | 0 |\n"),
            "{}",
            found.text
        );
        assert!(!found.text.contains("floor") && found.asked.len() == 2);
    }

    #[test]
    fn a_crowd_is_told_as_a_rate() {
        let samples = |micros| [Samples { micros: vec![micros], failed: 0 }];
        let table = crowds(&["mycontainer", "podman, image"], [50], &[samples(2000), samples(100_000)]);
        assert!(table.contains("| **mycontainer** | 500 | 50.0 | 0 |"), "{table}");
    }
}
