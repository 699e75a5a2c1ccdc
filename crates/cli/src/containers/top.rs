//! `top`: the processes of a container, in the columns of ps(1). No ps is run: what it would say is read from /proc.

use crate::help::show;
use crate::report::Failure;
use crate::table;
use crate::verb::{About, Flags, Group, Verb, latest};
use engine::containers::{ProcessInfo, processes};
use engine::when::Time;
use std::process::ExitCode;

/// `mycontainer top`.
pub(crate) static TOP: Verb<()> = Verb {
    about: About {
        also: &["container top"],
        flags: Flags::First,
        intro: "Shows the processes of a container that runs, with their numbers on the host and times in UTC. No ps is run\n\
                for it: of the options of ps there are -ef, which is the default, and -o.",
        outro: "Columns for -o, as in -o pid,user,args: args (or cmd), c, comm, cputime (or time), etime, ni, nlwp, pcpu,\n\
                pgid, pid, ppid, rss, s, sid, stime, tty (or tt), uid, user, vsz.",
        example: "top NAME -o pid,cmd",
        ..About::new("top", "CONTAINER [OPTION...]", "Show the processes of a container")
    },
    groups: &[Group { heading: "Flags", flags: &[latest()] }],
    act: top,
};

fn top((): (), words: Vec<String>) -> Result<ExitCode, Failure> {
    let (container, options) = words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    shown(options, || Ok(processes(container)?))
}

/// Shows processes as options of ps want it. What is wrong with these is told first.
pub(crate) fn shown(
    options: &[String],
    processes: impl FnOnce() -> Result<Vec<ProcessInfo>, Failure>,
) -> Result<ExitCode, Failure> {
    let columns = columns(options)?;
    let processes = processes()?;
    let now = Time::now();
    let headings: Vec<&str> = columns.iter().map(|column| column.heading).collect();
    let line = |process: &ProcessInfo| {
        let cells: Vec<String> = columns.iter().map(|column| cell(&(column.show)(process, now))).collect();
        cells.join("\t")
    };
    let lines: Vec<String> = std::iter::once(headings.join("\t")).chain(processes.iter().map(line)).collect();
    Ok(show(&table::aligned_by(&(lines.join("\n") + "\n"), NARROWEST)))
}

/// As wide is a column of `docker top` at least.
const NARROWEST: usize = 20;

/// What a process calls itself may be anything: it stays in its line and its column, and controls no terminal.
fn cell(text: &str) -> String {
    table::harmless(&text.replace(['\t', '\n'], " "))
}

struct Column {
    names: &'static [&'static str],
    heading: &'static str,
    show: fn(&ProcessInfo, Time) -> String,
}

const fn column(
    names: &'static [&'static str],
    heading: &'static str,
    show: fn(&ProcessInfo, Time) -> String,
) -> Column {
    Column { names, heading, show }
}

const USUAL: &[&str] = &["uid-by-name", "pid", "ppid", "c", "stime", "tty-in-full", "time", "cmd"];

static COLUMNS: &[Column] = &[
    // Of -f alone, as the terminal's below: there UID is a name.
    column(&["uid-by-name"], "UID", |p, _| p.user.clone()),
    column(&["args", "command"], "COMMAND", |p, _| command(p)),
    column(&["c"], "C", |p, _| (p.cpu * 100).checked_div(p.elapsed).unwrap_or(0).min(99).to_string()),
    column(&["cmd"], "CMD", |p, _| command(p)),
    column(&["comm", "ucmd", "ucomm"], "COMMAND", |p, _| p.comm.clone()),
    column(&["cputime", "time"], "TIME", |p, _| clock(p.cpu, true)),
    column(&["etime"], "ELAPSED", |p, _| clock(p.elapsed, false)),
    column(&["ni", "nice"], "NI", |p, _| p.nice.to_string()),
    column(&["nlwp", "thcount"], "NLWP", |p, _| p.threads.to_string()),
    column(&["pcpu", "%cpu"], "%CPU", |p, _| {
        let tenths = (p.cpu * 1000).checked_div(p.elapsed).unwrap_or(0);
        format!("{}.{}", tenths / 10, tenths % 10)
    }),
    column(&["pgid", "pgrp"], "PGID", |p, _| p.pgid.to_string()),
    column(&["pid"], "PID", |p, _| p.pid.to_string()),
    column(&["ppid"], "PPID", |p, _| p.ppid.to_string()),
    column(&["rss", "rssize", "rsz"], "RSS", |p, _| p.rss.to_string()),
    column(&["s", "state"], "S", |p, _| p.state.to_string()),
    column(&["sid", "sess", "session"], "SID", |p, _| p.sid.to_string()),
    column(&["stime"], "STIME", |p, now| started(Time { seconds: p.started, nanoseconds: 0 }, now)),
    column(&["tt", "tty"], "TT", |p, _| p.tty.clone()),
    column(&["tty-in-full", "tname"], "TTY", |p, _| p.tty.clone()),
    column(&["uid", "euid"], "UID", |p, _| p.uid.to_string()),
    column(&["user", "euser", "uname"], "USER", |p, _| p.user.clone()),
    column(&["vsz", "vsize"], "VSZ", |p, _| p.vsz.to_string()),
];

/// The columns that options of ps ask for.
fn columns(options: &[String]) -> Result<Vec<&'static Column>, Failure> {
    let mut names: Vec<&str> = Vec::new();
    let mut words = options.iter().map(String::as_str);
    let wrong = |what: String| Failure::misuse(what, "see `mycontainer help top`");
    while let Some(word) = words.next() {
        let list = match word {
            "-ef" | "-e" | "-f" | "-A" => continue,
            "-o" | "-eo" | "-Ao" | "--format" => words.next().unwrap_or_default(),
            _ => match ["--format=", "-eo", "-Ao", "-o"].iter().find_map(|flag| word.strip_prefix(flag)) {
                Some(list) => list,
                None => {
                    return Err(wrong(format!("top has of ps only -ef and -o COLUMNS, and {word:?} is another one")));
                }
            },
        };
        names.extend(list.split([',', ' ']).filter(|name| !name.is_empty()));
        if names.is_empty() {
            return Err(wrong(format!("{word} needs columns")));
        }
    }
    let names = if names.is_empty() { USUAL } else { &names };
    let find = |name: &&str| {
        let known = COLUMNS.iter().find(|column| column.names.contains(name));
        known.ok_or_else(|| wrong(format!("top has no column {name:?}")))
    };
    names.iter().map(find).collect()
}

/// The words; of a process that has none its short name in brackets, as ps shows it.
fn command(process: &ProcessInfo) -> String {
    match process.words.is_empty() {
        true => format!("[{}]{}", process.comm, if process.state == 'Z' { " <defunct>" } else { "" }),
        false => process.words.join(" "),
    }
}

/// `01:02:03` with days before it where there are any; without hours when `in_full` is not asked for.
fn clock(seconds: u64, in_full: bool) -> String {
    let (days, hours, rest) = (seconds / 86_400, seconds / 3600 % 24, seconds % 3600);
    let minutes = format!("{:02}:{:02}", rest / 60, rest % 60);
    match (days, hours) {
        (0, 0) if !in_full => minutes,
        (0, _) => format!("{hours:02}:{minutes}"),
        _ => format!("{days:02}-{hours:02}:{minutes}"),
    }
}

/// The hour of one that began today, else the day, else the year.
fn started(then: Time, now: Time) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (then, now) = (then.rfc3339(), now.rfc3339());
    if then[..10] == now[..10] {
        return then[11..16].to_owned();
    }
    let month = then[5..7].parse::<usize>().ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    match month {
        Some(month) if then[..4] == now[..4] => format!("{month}{}", &then[8..10]),
        _ => then[..4].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(options: &str) -> Result<Vec<&'static str>, String> {
        let options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
        let columns = columns(&options).map_err(|failure| failure.to_string())?;
        Ok(columns.iter().map(|column| column.heading).collect())
    }

    #[test]
    fn options_of_ps() {
        let usual = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
        for (options, headings) in [
            ("", &usual[..]),
            ("-ef", &usual),
            ("-o pid,cmd", &["PID", "CMD"]),
            ("-eo pid,comm", &["PID", "COMMAND"]),
            ("-opid -o tt", &["PID", "TT"]),
            ("--format=uid,user,args", &["UID", "USER", "COMMAND"]),
        ] {
            assert_eq!(names(options).unwrap(), headings, "{options}");
        }
        for wrong in ["aux", "-o", "-o nonsense", "-o pid=", "-F", "--sort=pid", "-C sh"] {
            assert!(names(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_those_of_ps() {
        for (seconds, time, elapsed) in [
            (0, "00:00:00", "00:00"),
            (61, "00:01:01", "01:01"),
            (3_600, "01:00:00", "01:00:00"),
            (90_061, "01-01:01:01", "01-01:01:01"),
        ] {
            assert_eq!((clock(seconds, true).as_str(), clock(seconds, false).as_str()), (time, elapsed));
        }
        let at = |text| Time::parse(text).unwrap();
        for (then, expected) in
            [("2026-11-29T04:05:06Z", "04:05"), ("2026-11-28T04:05:06Z", "Nov28"), ("2025-11-29T04:05:06Z", "2025")]
        {
            assert_eq!(started(at(then), at("2026-11-29T16:00:00Z")), expected);
        }
    }
}
