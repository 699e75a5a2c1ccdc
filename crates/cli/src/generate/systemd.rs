//! `generate systemd`: a unit by which systemd runs a container, as Podman's.
//!
//! The unit's main process is a command in the foreground, attached to the container: `start --attach`, or with --new the
//! `run` that made it. What systemd reads is not what a shell reads: words go through [`word`], by systemd.service(5),
//! "Command lines", and systemd.unit(5), "Specifiers".

use crate::images::say;
use crate::parse;
use crate::report::{Failure, note};
use crate::run::{CREATE, RUN};
use crate::verb::{About, Group, Verb, also, switch, value};
use crate::verbs::{self, Asked};
use engine::containers::{self, Origin};
use engine::{ParseError, RestartPolicy, RunOptions};
use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// What the flags ask for.
#[derive(Debug, Default)]
pub(crate) struct Request {
    new: bool,
    files: bool,
    by_name: bool,
    no_header: bool,
    prefix: Option<String>,
    separator: Option<String>,
    restart: Option<String>,
    restart_sec: Option<u32>,
    start_timeout: Option<u32>,
    stop_timeout: Option<u32>,
    after: Vec<String>,
    wants: Vec<String>,
    requires: Vec<String>,
    env: Vec<String>,
}

/// systemd's. [systemd.service(5)]
const POLICIES: &[&str] = &["no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always"];
/// How much longer systemd waits than `stop` does, in seconds.
const SLACK: u64 = 60;
/// What a `run` of the unit does without: it is in the foreground of systemd, without a terminal to type at, under the
/// unit's own name and policy.
const NOT_OF_A_UNIT: &[&str] = &[
    "attach",
    "cidfile",
    "detach",
    "detach-keys",
    "interactive",
    "name",
    "pidfile",
    "quiet",
    "replace",
    "restart",
    "rm",
    "sig-proxy",
];

/// `mycontainer generate systemd`.
pub(crate) static SYSTEMD: Verb<Request> = Verb {
    about: About {
        intro: "Prints a systemd unit that starts and stops a container, or with --new makes it anew at each start, by the\n\
                words that it was made with, and removes it at its end. What `update` has changed is not in those words.",
        outro: "With --files it is a file here; move it to /etc/systemd/system, run `systemctl daemon-reload`, and\n\
                `systemctl enable --now` starts it. Where systemd restarts a container it needs no --restart of its own.",
        example: "generate systemd --new --files --name NAME",
        ..About::new("generate systemd", "CONTAINER", "Write a systemd unit that runs a container")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("new", None, "Make the container anew at each start, and remove it", |r: &mut Request| &mut r.new),
            switch("name", Some('n'), "Call unit and container by its name, and not by its id", |r| &mut r.by_name),
            switch("files", Some('f'), "Write the unit into a file here, and print its path", |r| &mut r.files),
            value("restart-policy", None, "POLICY", "When systemd restarts it (default: on-failure)", |r, v| {
                if !POLICIES.contains(&v) {
                    return Err(ParseError::new(v, format!("it is one of {}", POLICIES.join(", "))));
                }
                r.restart = Some(v.to_owned());
                Ok(())
            }),
            value("restart-sec", None, "SECONDS", "How long systemd waits before that", |r, v| {
                r.restart_sec = Some(seconds(v)?);
                Ok(())
            }),
            also(
                &["stop-timeout"],
                value(
                    "time",
                    Some('t'),
                    "SECONDS",
                    "How long it may take to end (default: its --stop-timeout)",
                    |r, v| {
                        r.stop_timeout = Some(seconds(v)?);
                        Ok(())
                    },
                ),
            ),
            value("start-timeout", None, "SECONDS", "How long it may take to start", |r, v| {
                r.start_timeout = Some(seconds(v)?);
                Ok(())
            }),
            value("container-prefix", None, "TEXT", "What the unit's name begins with (default: container)", |r, v| {
                r.prefix = Some(of_unit_name(v)?);
                Ok(())
            }),
            value("separator", None, "TEXT", "What stands after that (default: -)", |r, v| {
                r.separator = Some(of_unit_name(v)?);
                Ok(())
            }),
            value("after", None, "UNIT", "Start it after this unit", |r, v| {
                r.after.push(of_unit_name(v)?);
                Ok(())
            }),
            value("wants", None, "UNIT", "Start this unit, too", |r, v| {
                r.wants.push(of_unit_name(v)?);
                Ok(())
            }),
            value("requires", None, "UNIT", "Start this unit, too, and end when it ends", |r, v| {
                r.requires.push(of_unit_name(v)?);
                Ok(())
            }),
            value(
                "env",
                Some('e'),
                "NAME[=VALUE]",
                "Set a variable of the command, or pass on the tool's own",
                |r, v| {
                    let mut read = RunOptions::default();
                    read.add_env(v)?;
                    r.env.append(&mut read.env);
                    Ok(())
                },
            ),
            switch("no-header", None, "Leave away the lines that say where it comes from", |r| &mut r.no_header),
        ],
    }],
    act: |request, words| generate(&request, words.first().map_or("", String::as_str)),
};

fn seconds(text: &str) -> Result<u32, ParseError> {
    text.parse().map_err(|_| ParseError::new(text, "it is no number of seconds"))
}

/// A unit's name, or a part of one. [systemd.unit(5)]
fn of_unit_name(text: &str) -> Result<String, ParseError> {
    let is_fit = text.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b));
    if is_fit {
        Ok(text.to_owned())
    } else {
        Err(ParseError::new(text, "a unit's name has of a-z A-Z 0-9 : - _ . \\ @"))
    }
}

fn generate(request: &Request, container: &str) -> Result<ExitCode, Failure> {
    let origin = containers::origin(container)?;
    if !origin.stays && !request.new {
        let what = format!("the container {} goes when it ends, and no unit can start it again", origin.name);
        return Err(Failure::new(what).hint("with --new the unit makes it anew each time"));
    }
    if origin.restart != RestartPolicy::No && !request.new {
        let name = &origin.name;
        note(&format!(
            "{name} has --restart {}, and systemd its own policy: `mycontainer update --restart no {name}` leaves it to that",
            origin.restart
        ));
    }
    let tool = own_path().ok_or_else(|| Failure::new("cannot tell the path of this program"))?;
    let unit = unit(request, &origin, &tool)?;
    if !request.files {
        say(unit.text.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let failed = |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", unit.name));
    let path = std::env::current_dir().map_err(failed)?.join(&unit.name);
    std::fs::write(&path, &unit.text).map_err(failed)?;
    say(&path.to_string_lossy());
    Ok(ExitCode::SUCCESS)
}

/// Where this program is. An ordinary user's tool runs from a clone of the mount that it is on, whose own path says nothing;
/// there the word that it was called by leads to the file.
fn own_path() -> Option<String> {
    let own = std::fs::metadata("/proc/self/exe").ok()?;
    let is_own = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino()))
    };
    let called = PathBuf::from(std::env::args_os().next()?);
    let of_path = std::env::var_os("PATH").filter(|_| called.components().count() == 1);
    let of_path: Vec<PathBuf> = of_path.iter().flat_map(std::env::split_paths).map(|dir| dir.join(&called)).collect();
    let candidates = std::env::current_exe().into_iter().chain(of_path).chain([called]);
    let path = candidates.filter(is_own).find_map(|path| std::fs::canonicalize(path).ok())?;
    path.into_os_string().into_string().ok()
}

/// A unit and its file's name.
#[derive(Debug)]
struct Unit {
    name: String,
    text: String,
}

fn unit(request: &Request, origin: &Origin, tool: &str) -> Result<Unit, Failure> {
    let shown = if request.by_name { &origin.name } else { &origin.id };
    let prefix = request.prefix.as_deref().unwrap_or("container");
    let separator = if prefix.is_empty() { "" } else { request.separator.as_deref().unwrap_or("-") };
    let name = format!("{prefix}{separator}{shown}.service");
    let mut text = String::new();
    if !request.no_header {
        let _ = write!(text, "# {name}\n# Written by mycontainer {}, generate systemd.\n\n", env!("CARGO_PKG_VERSION"));
    }
    let units = |key: &str, more: &[String]| more.iter().map(|unit| format!("{key}={unit}\n")).collect::<String>();
    let _ = write!(
        text,
        "[Unit]\nDescription=Container {shown}\nDocumentation=man:mycontainer-generate-systemd(1)\n\
         Wants=network-online.target\nAfter=network-online.target\n{}{}{}RequiresMountsFor={}\n\n",
        units("Wants", &request.wants),
        units("Requires", &request.requires),
        units("After", &request.after),
        word(&engine::data_dir().to_string_lossy(), Dollar::Plain),
    );
    let command = if request.new { anew(origin)? } else { Command::of(&["start", "--attach", shown]) };
    // A new one has another id each time.
    let shown = if request.new { &origin.name } else { shown };
    let timeout = request.stop_timeout.map(u64::from).or(origin.stop_timeout.map(|time| time.as_secs()));
    let patience = timeout.map_or_else(|| "infinity".to_owned(), |seconds| (seconds + SLACK).to_string());
    let mut stop = Command::of(&["stop", "--ignore"]);
    stop.words.extend(request.stop_timeout.map(|seconds| format!("--timeout={seconds}")));
    stop.words.push(shown.clone());
    let _ = writeln!(text, "[Service]\nType=exec\nRestart={}", request.restart.as_deref().unwrap_or("on-failure"));
    let _ = request.restart_sec.map_or(Ok(()), |seconds| writeln!(text, "RestartSec={seconds}"));
    let _ = request.start_timeout.map_or(Ok(()), |seconds| writeln!(text, "TimeoutStartSec={seconds}"));
    let _ = writeln!(text, "TimeoutStopSec={patience}");
    for variable in &request.env {
        let _ = writeln!(text, "Environment={}", word(variable, Dollar::Plain));
    }
    if request.new && origin.dir != "/" {
        let _ = writeln!(text, "WorkingDirectory={}", directory(&origin.dir)?);
    }
    let _ = writeln!(text, "ExecStart={}", command.line(tool));
    let _ = writeln!(text, "ExecStop={}", stop.line(tool));
    let _ = write!(
        text,
        "KillMode=mixed\nSuccessExitStatus={}\n\n[Install]\nWantedBy={}\n",
        128 + origin.stop_signal,
        // A user's own systemd has no other. [systemd.special(7)]
        if engine::is_rootless() { "default.target" } else { "multi-user.target" }
    );
    Ok(Unit { name, text })
}

/// The `run` that makes such a container.
fn anew(origin: &Origin) -> Result<Command, Failure> {
    let unknown = || {
        Failure::new(format!("nobody wrote down how the container {} was made", origin.name))
            .hint("another release made it: without --new the unit starts it as it is")
    };
    let words = origin.words.as_ref().ok_or_else(unknown)?;
    let typed: Vec<OsString> = words.iter().map(OsString::from).collect();
    let Ok(Asked::Verb(verb, taken)) = verbs::find(&typed) else { return Err(unknown()) };
    if ![RUN.about.name, CREATE.about.name].contains(&verb.about().name) {
        return Err(unknown());
    }
    let mut command = Command::of(&["run", "--rm", "--replace"]);
    command.words.push(format!("--name={}", origin.name));
    let mut take = |place, value: &str| {
        verb.each_flag(&mut |_, other, face| {
            if other == place && !NOT_OF_A_UNIT.contains(&face.long) {
                command.words.extend(flag(face.long, face.value.is_some(), value, &origin.env));
            }
        });
        Ok(())
    };
    let Some(read) = parse::again(verb, &typed[taken..], &mut take)? else { return Err(unknown()) };
    if read.operands.first().is_some_and(|root| root.starts_with('-')) {
        command.words.push("--".to_owned());
    }
    command.words.extend(read.operands);
    Ok(command)
}

/// One flag as a word. A variable that was passed on has the value that it had then: systemd has none.
fn flag(long: &str, has_value: bool, value: &str, env: &[String]) -> Option<String> {
    if long == "env" && !value.contains('=') {
        let is_it = |set: &&String| set.split_once('=').is_some_and(|(name, _)| name == value);
        return env.iter().rfind(is_it).map(|set| format!("--env={set}"));
    }
    Some(match (has_value, value) {
        (false, "true") => format!("--{long}"),
        _ => format!("--{long}={value}"),
    })
}

/// The words after the tool's path.
struct Command {
    words: Vec<String>,
}

impl Command {
    fn of(words: &[&str]) -> Command {
        Command { words: words.iter().map(|word| (*word).to_owned()).collect() }
    }

    fn line(&self, tool: &str) -> String {
        // In the path itself systemd looks for no variables.
        let words = self.words.iter().map(|one| word(one, Dollar::Doubled));
        std::iter::once(word(tool, Dollar::Plain)).chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// What a dollar is where a word stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dollar {
    /// The beginning of a variable's name, but where there are two.
    Doubled,
    /// A dollar.
    Plain,
}

/// A word as systemd reads it back.
fn word(text: &str, dollar: Dollar) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_plain = !text.is_empty();
    for c in text.chars() {
        is_plain &= c.is_ascii_alphanumeric() || "%$_-./:=,@+".contains(c);
        match c {
            '%' => out.push_str("%%"),
            '$' if dollar == Dollar::Doubled => out.push_str("$$"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    if is_plain { out } else { format!("\"{out}\"") }
}

/// A path that stands for itself to the end of the line: there is no way to write every one.
fn directory(path: &str) -> Result<String, Failure> {
    let is_fit = path.starts_with('/') && !path.chars().any(char::is_control) && !path.ends_with([' ', '\\']);
    if !is_fit {
        return Err(Failure::new(format!("a unit cannot have the working directory {path:?}"))
            .hint("make the container elsewhere"));
    }
    Ok(path.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_as_systemd_reads_them() {
        for (text, expected) in [
            ("--name=web", "--name=web"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("100%", "100%%"),
            ("$HOME", "$$HOME"),
            ("a\"b'c\\d", "\"a\\\"b'c\\\\d\""),
            ("a\nb\tc\u{1}\u{7f}", "\"a\\nb\\tc\\x01\\x7f\""),
            (";", "\";\""),
            ("#x", "\"#x\""),
            ("ä", "\"ä\""),
        ] {
            assert_eq!(word(text, Dollar::Doubled), expected, "{text:?}");
        }
        assert_eq!(word("$x", Dollar::Plain), "$x");
    }

    #[test]
    fn directories_that_a_unit_can_have() {
        for (path, expected) in [
            ("/a b", Some("/a b")),
            ("/50%", Some("/50%%")),
            ("a", None),
            ("", None),
            ("/a\n", None),
            ("/a ", None),
            ("/a\\", None),
        ] {
            assert_eq!(directory(path).ok().as_deref(), expected, "{path:?}");
        }
    }
}
