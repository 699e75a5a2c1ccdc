//! `stats`: what containers use, once or again and again.

use crate::help::show;
use crate::report::Failure;
use crate::table::{binary_size, short_size};
use crate::template::{Data, List, Row};
use crate::verb::{About, Group, Verb, also, latest, switch, value};
use engine::containers::{Usage, Watched};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) once: bool,
    pub(crate) in_full: bool,
    pub(crate) format: Option<String>,
}

/// The ids of pods, by those of their containers.
pub(crate) type Pods = BTreeMap<String, String>;

/// `mycontainer stats`.
pub(crate) static STATS: Verb<Request> = Verb {
    about: About {
        also: &["container stats"],
        intro: "Shows what containers use, again each second, until they have ended or you press Ctrl-C. Without words it is\n\
                those that run when this begins. 100% of CPU is one processor.",
        outro: "Fields for --format: Container ID Name CPUPerc MemUsage MemPerc NetIO BlockIO PIDs.",
        ..About::new("stats", "[CONTAINER...]", "Show what containers use")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("format", None, "FORMAT", "`table`, `json`, or a template as '{{.Name}} {{.CPUPerc}}'", |r, v| {
                r.format = Some(v.to_owned());
                Ok(())
            }),
            switch("no-stream", None, "Show it once, over half a second", |r: &mut Request| &mut r.once),
            also(&["notrunc"], switch("no-trunc", None, "Show ids in full", |r| &mut r.in_full)),
            latest(),
        ],
    }],
    act: |request, words| watch(&request, DEFAULT, &Watched::new(&words)?, &Pods::new()),
};

/// As it is of pods.
pub(crate) const OF_PODS: &str = "table {{.Pod}}\t{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t\
                                  {{.PIDs}}";
const DEFAULT: &str =
    "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
const HEADINGS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Pod", "POD"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];
const ONCE: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_secs(1);
/// To the beginning of the screen, of which the rest is cleared. [ECMA-48]
const CLEAR: &str = "\x1b[H\x1b[J";

/// Shows what is watched, once or again and again.
pub(crate) fn watch(request: &Request, default: &str, watched: &Watched, pods: &Pods) -> Result<ExitCode, Failure> {
    let list = List::parse(request.format.as_deref(), default)?;
    // Templates are right or wrong whatever runs.
    let like = row(&any(), &any(), pods, request.in_full);
    list.render(std::slice::from_ref(&like), &like, HEADINGS)?;
    let mut before = watched.look()?;
    loop {
        if !before.is_empty() {
            std::thread::sleep(if request.once { ONCE } else { AGAIN });
        }
        let now = watched.look()?;
        let pairs = now.iter().filter_map(|now| Some((before.iter().find(|before| before.id == now.id)?, now)));
        let rows: Vec<Row> = pairs.map(|(before, now)| row(before, now, pods, request.in_full)).collect();
        let text = list.render(&rows, &like, HEADINGS)?;
        if request.once {
            return Ok(show(&text));
        }
        // Nobody reads any more, or there is nothing left to be seen.
        let told = std::io::stdout().write_all([CLEAR, &text].concat().as_bytes());
        if told.is_err() || now.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        before = now;
    }
}

fn any() -> Usage {
    let (id, name, at) = (String::new(), None, Instant::now());
    Usage { id, name, at, cpu: 0, memory: None, network: (0, 0), disk: (0, 0), pids: 0 }
}

/// The fields, in the order of the JSON.
fn row(before: &Usage, now: &Usage, pods: &Pods, in_full: bool) -> Row {
    let cut = |id: &str| if in_full { id.to_owned() } else { id.get(..12).unwrap_or(id).to_owned() };
    let id = cut(&now.id);
    let pod = pods.get(&now.id).map(|pod| cut(pod)).unwrap_or_default();
    let pair = |(one, other): (u64, u64)| format!("{} / {}", short_size(one), short_size(other));
    let memory = now.memory.map_or_else(
        || "-- / --".to_owned(),
        |(used, limit)| format!("{} / {}", binary_size(used), binary_size(limit)),
    );
    let share = now.memory.map_or_else(|| "--".to_owned(), |(used, limit)| percent(used as f64, limit as f64));
    let spent = now.cpu.saturating_sub(before.cpu) as f64;
    Data::row()
        .with("BlockIO", pair(now.disk))
        .with("CPUPerc", percent(spent, now.at.duration_since(before.at).as_nanos() as f64))
        .with("Container", id.as_str())
        .with("ID", id.as_str())
        .with("MemPerc", share)
        .with("MemUsage", memory)
        .with("Name", now.name.as_deref().unwrap_or_default())
        .with("NetIO", pair(now.network))
        .with("PIDs", now.pids.to_string())
        .with("Pod", pod)
}

fn percent(part: f64, whole: f64) -> String {
    format!("{:.2}%", if whole > 0.0 { part / whole * 100.0 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_of_one_processor_and_of_the_limit() {
        let before = any();
        let now = Usage {
            at: before.at + Duration::from_secs(2),
            cpu: 3_000_000_000,
            memory: Some((3 << 20, 12 << 20)),
            network: (1000, 20),
            pids: 7,
            ..any()
        };
        let json = row(&before, &now, &Pods::new(), false).json();
        for expected in [
            "\"CPUPerc\":\"150.00%\"",
            "\"MemPerc\":\"25.00%\"",
            "\"MemUsage\":\"3MiB / 12MiB\"",
            "\"NetIO\":\"1kB / 20B\"",
            "\"PIDs\":\"7\"",
        ] {
            assert!(json.contains(expected), "{json}");
        }
        assert!(row(&before, &before, &Pods::new(), false).json().contains("\"CPUPerc\":\"0.00%\""));
    }
}
