//! One named step of a container's life.
//!
//! Whatever the tool does to make, run or remove a container it does inside [`step`]: `step("mount-proc", ...)`.
//! `--explain` prints these steps as they are taken, and the fault-injection tests kill the tool at each of them, so
//! neither can drift from what really happens: a step that is not wrapped here does not exist for them, and a step
//! that is wrapped cannot be forgotten.
//!
//! The recorder is one process-wide value, set once by [`explain`] before the first step. The process cloned for the
//! container inherits it with the rest of the memory and calls [`enter_container`], so both sides write to one
//! stream, each step as one `write`, in the order in which they end. When nothing was asked for, a step costs one
//! atomic load: the texts are closures that are not called.

#[cfg(feature = "fault-injection")]
mod fault;

use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How [`explain`] writes steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One line a step for a person to read.
    Text,
    /// One JSON object a line: `at_us took_us side step what why error`, the first two in microseconds.
    Json,
    /// A line of a log, of level debug: `level=debug msg="..."`.
    LogText,
    /// The same as JSON: `level` and `msg`, and `step` and `side` for programs.
    LogJson,
}

struct Recorder {
    format: Format,
    to: OwnedFd,
    started: Instant,
}

static RECORDER: OnceLock<Recorder> = OnceLock::new();
static IN_CONTAINER: AtomicBool = AtomicBool::new(false);

/// Turns `--explain` on: from now on every step of this process, and of those cloned from it, is written to `to`.
/// The descriptor must be close-on-exec, or the container's program inherits it. A second call changes nothing.
pub fn explain(format: Format, to: OwnedFd) {
    let _ = RECORDER.set(Recorder { format, to, started: Instant::now() });
}

/// True when steps are being told.
pub fn is_explained() -> bool {
    RECORDER.get().is_some()
}

/// Where steps are told, if they are: for a process that closes all else.
pub fn descriptor() -> Option<std::os::fd::BorrowedFd<'static>> {
    RECORDER.get().map(|recorder| recorder.to.as_fd())
}

/// Every descriptor that steps need: for a process that goes on by itself.
pub fn descriptors() -> Vec<std::os::fd::BorrowedFd<'static>> {
    let of_fault = None;
    #[cfg(feature = "fault-injection")]
    let of_fault = of_fault.or_else(fault::descriptor);
    descriptor().into_iter().chain(of_fault).collect()
}

/// Says that this process is the container's side from here on: its steps are labelled so.
pub fn enter_container() {
    IN_CONTAINER.store(true, Ordering::Relaxed);
}

/// Prepares fault injection: must run in the tool, before it clones. Does nothing in a released binary.
pub fn arm_faults() {
    #[cfg(feature = "fault-injection")]
    fault::arm();
}

/// Takes one step: runs `act` and returns what it returns.
///
/// `name` is the step's stable, unique name in kebab-case (`mount-proc`), `what` says what is done to which thing
/// ("mount proc on /proc"), `why` the reason in a few words. Both texts are only used when somebody listens.
pub fn step<T, E: Display>(
    name: &'static str,
    why: &'static str,
    what: impl FnOnce() -> String,
    act: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    #[cfg(feature = "fault-injection")]
    fault::strike(name, fault::When::Before);
    let Some(recorder) = RECORDER.get() else {
        let done = act();
        #[cfg(feature = "fault-injection")]
        fault::strike(name, fault::When::After);
        return done;
    };
    let from = Instant::now();
    let done = act();
    let to = Instant::now();
    recorder.tell(&Told {
        name,
        why,
        what: what(),
        at_us: to.duration_since(recorder.started).as_micros(),
        took_us: to.duration_since(from).as_micros(),
        error: done.as_ref().err().map(ToString::to_string),
    });
    #[cfg(feature = "fault-injection")]
    fault::strike(name, fault::When::After);
    done
}

/// Tells a step from which there is no coming back, before it is taken: an exec. That it failed is told by its error.
pub fn last_step(name: &'static str, why: &'static str, what: impl FnOnce() -> String) {
    #[cfg(feature = "fault-injection")]
    fault::strike(name, fault::When::Before);
    if let Some(recorder) = RECORDER.get() {
        let at_us = recorder.started.elapsed().as_micros();
        recorder.tell(&Told { name, why, what: what(), at_us, took_us: 0, error: None });
    }
}

struct Told {
    name: &'static str,
    why: &'static str,
    what: String,
    at_us: u128,
    took_us: u128,
    error: Option<String>,
}

impl Recorder {
    fn tell(&self, told: &Told) {
        let side = if IN_CONTAINER.load(Ordering::Relaxed) { "container" } else { "tool" };
        let line = match self.format {
            Format::Text => told.as_text(side),
            Format::Json => told.as_json(side),
            Format::LogText => format!("level=debug msg={:?}\n", told.in_words(side)),
            Format::LogJson => {
                let (msg, step) = (told.in_words(side), told.name);
                format!("{}\n", serde_json::json!({ "level": "debug", "msg": msg, "side": side, "step": step }))
            }
        };
        // One write a line, so that the two sides never tear each other's; a reader that went away is not our failure.
        let _ = rustix::io::write(self.to.as_fd(), line.as_bytes());
    }
}

impl Told {
    fn in_words(&self, side: &str) -> String {
        let failed = self.error.as_ref().map(|e| format!(": {e}")).unwrap_or_default();
        format!("{side}: {}: {} ({}){failed}", self.name, self.what, self.why)
    }

    fn as_text(&self, side: &str) -> String {
        let Told { name, why, what, at_us, took_us, error } = self;
        let failed = error.as_ref().map(|e| format!(" FAILED: {e}")).unwrap_or_default();
        format!("{at_us:>7} us {took_us:>6} us  {side:<9}  {name:<22} {what} ({why}){failed}\n")
    }

    fn as_json(&self, side: &str) -> String {
        let Told { name, why, what, at_us, took_us, error } = self;
        let value = serde_json::json!({
            "at_us": *at_us as u64,
            "took_us": *took_us as u64,
            "side": side,
            "step": name,
            "what": what,
            "why": why,
            "error": error,
        });
        format!("{value}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: Option<&str>) -> Told {
        Told {
            name: "mount-proc",
            why: "ps sees only its own",
            what: "mount proc on \"/proc\"".into(),
            at_us: 12,
            took_us: 3,
            error: error.map(Into::into),
        }
    }

    #[test]
    fn json_lines_are_one_valid_object_each() {
        for error in [None, Some("no\nway")] {
            let line = told(error).as_json("tool");
            assert_eq!(line.matches('\n').count(), 1);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["step"], "mount-proc");
            assert_eq!(value["what"], "mount proc on \"/proc\"");
            assert_eq!(value["error"].as_str(), error);
        }
    }

    #[test]
    fn a_failed_step_says_so_in_text() {
        assert!(told(Some("permission denied")).as_text("tool").contains("FAILED: permission denied"));
        assert!(!told(None).as_text("tool").contains("FAILED"));
    }

    #[test]
    fn a_step_returns_what_it_did_when_nobody_listens() {
        let done: Result<u8, String> = step("x", "y", || unreachable!("nobody listens"), || Ok(7));
        assert_eq!(done, Ok(7));
    }
}
