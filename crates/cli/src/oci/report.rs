//! How a failure reaches the caller: a line on standard error, and one in the log, in the shape that its reader knows.
//!
//! containerd, Docker and Podman read the last line of the log with level `error`, and look in it for the words that runc
//! has for a program that is missing or may not be executed; Docker's exit codes 126 and 127 hang on them.

use super::global::Global;
use super::{Failure, NAME};
use std::io::Write;
use std::process::ExitCode;

/// Says what failed, and fails.
pub(crate) fn failure(global: &Global, failure: &Failure) -> ExitCode {
    let text = text(failure);
    log(global, "error", &text);
    let _ = writeln!(std::io::stderr(), "{NAME}: {text}");
    ExitCode::FAILURE
}

/// Says what did not stop anything.
pub(crate) fn warn(global: &Global, text: &str) {
    let text = &one_line(text);
    log(global, "warning", text);
    if global.log.is_none() {
        let _ = writeln!(std::io::stderr(), "{NAME}: {text}");
    }
}

fn text(failure: &Failure) -> String {
    one_line(&match failure {
        Failure::Usage(text) => text.clone(),
        Failure::Engine(error) => error.to_string(),
        Failure::Runtime(error) => as_runc(error),
    })
}

/// How many characters of a text are told at most, of its beginning and of its end, where the reason is.
const TOLD: (usize, usize) = (3000, 1000);

/// A text in which words of a configuration may stand, as one line of no endless length: what controls a terminal or
/// looks like another entry of the log is shown, not done.
fn one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let count = text.chars().count();
    if count <= TOLD.0 + TOLD.1 {
        return text.chars().map(shown).collect();
    }
    let head = text.chars().take(TOLD.0).map(shown).collect::<String>();
    let tail = text.chars().skip(count - TOLD.1).map(shown).collect::<String>();
    format!("{head} [...] {tail}")
}

/// Those of runc's words that callers look for, before ours.
fn as_runc(error: &runtime::Error) -> String {
    match error {
        runtime::Error::NotFound { program, reason } if program.contains('/') => {
            format!("exec: {program:?}: stat {program}: no such file or directory: {reason}")
        }
        runtime::Error::NotFound { program, reason } => {
            format!("exec: {program:?}: executable file not found in $PATH: {reason}")
        }
        runtime::Error::NotExecutable { program, reason } if reason.contains("exec format error") => {
            format!("exec {program}: {reason}")
        }
        runtime::Error::NotExecutable { program, reason } => {
            format!("exec: {program:?}: permission denied: {reason}")
        }
        other => other.to_string(),
    }
}

/// Has every step told from here on, in the log or on standard error. A log that cannot be written to is no reason to
/// fail.
pub(crate) fn tell_steps(global: &Global) {
    use std::os::fd::{AsFd, OwnedFd};
    // Far up, where it is none of the descriptors that a caller wants to have inherited.
    let held = |fd: std::os::fd::BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 512).ok();
    let to: Option<OwnedFd> = match &global.log {
        Some(path) => open(path).ok().and_then(|file| held(file.as_fd())),
        None => held(rustix::stdio::stderr()),
    };
    if let Some(to) = to {
        step::explain(if global.log_json { step::Format::LogJson } else { step::Format::LogText }, to);
    }
}

fn open(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().append(true).create(true).open(path)
}

/// Adds a line to the log. A log that cannot be written to is no reason to fail.
fn log(global: &Global, level: &str, text: &str) {
    let Some(path) = &global.log else { return };
    let time = runtime::now();
    let line = if global.log_json {
        serde_json::json!({ "level": level, "msg": text, "time": time }).to_string()
    } else {
        format!("time={time:?} level={level} msg={text:?}")
    };
    let _ = open(path).and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_of_no_endless_length() {
        assert_eq!(one_line("a\nb\u{1b}[31mé\u{85}"), "a\\nb\\u{1b}[31mé\\u{85}");
        let long = one_line(&format!("a{}z", "\0".repeat(1_000_000)));
        assert!(long.len() < 40_000 && long.starts_with('a') && long.ends_with('z'));
    }

    #[test]
    fn callers_find_the_words_they_look_for() {
        let missing = runtime::Error::NotFound { program: "nope".into(), reason: "why".into() };
        assert!(as_runc(&missing).contains("executable file not found in $PATH"));
        let missing = runtime::Error::NotFound { program: "/nope".into(), reason: "why".into() };
        assert!(as_runc(&missing).contains("no such file or directory"));
        let denied = runtime::Error::NotExecutable { program: "/etc/passwd".into(), reason: "why".into() };
        assert!(as_runc(&denied).contains("permission denied"));
        let stopped = runtime::Error::WrongStatus { what: "kill", id: "x".into(), status: runtime::Status::Stopped };
        assert!(as_runc(&stopped).contains("container not running"));
        assert!(as_runc(&runtime::Error::NoSuchContainer("x".into())).contains("does not exist"));
    }
}
