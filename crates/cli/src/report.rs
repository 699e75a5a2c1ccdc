//! How failures read: one line for what failed, one for what to do.
//!
//! Exit codes are Docker's: 125 for words that are not understood and for `run` when it fails by itself, 1 for any other
//! verb that fails.

use std::fmt;
use std::process::ExitCode;

/// Words that are not understood, as Docker numbers them.
const MISUSE: u8 = 125;

/// Why a verb failed, what to do about it, and the exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    what: String,
    hint: Option<String>,
    code: u8,
}

/// A room's error, of which the room knows what to do.
pub(crate) trait Hinted: std::error::Error {
    /// What to do next, where we know.
    fn hint(&self) -> Option<String> {
        None
    }
}

impl Failure {
    /// A failure of the verb: exit code 1.
    pub(crate) fn new(what: impl Into<String>) -> Failure {
        Failure { what: what.into(), hint: None, code: 1 }
    }

    /// Words that are not understood: exit code 125.
    pub(crate) fn misuse(what: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure { what: what.into(), hint: Some(hint.into()), code: MISUSE }
    }

    /// A failure to run a container: exit code 125, or 126 or 127 where it is the command that cannot be executed.
    pub(crate) fn of_run(error: engine::Error) -> Failure {
        let code = error.exit_code();
        Failure::from(error).code(code)
    }

    /// With what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// With another exit code.
    pub(crate) fn code(mut self, code: u8) -> Failure {
        self.code = code;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  hint: {hint}"))
    }
}

impl<E: Hinted> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { what: error.to_string(), hint: error.hint(), code: 1 }
    }
}

impl Hinted for engine::Error {
    fn hint(&self) -> Option<String> {
        engine::Error::hint(self)
    }
}

/// Says what failed; returns the exit code.
pub(crate) fn failure(failure: &Failure) -> ExitCode {
    say(&format!("mycontainer: {failure}\n"));
    ExitCode::from(failure.code)
}

/// Says something that did not stop anything.
pub(crate) fn note(text: &str) {
    say(&format!("mycontainer: {text}\n"));
}

/// Writes to standard error, whether or not anybody reads it: the exit code must come out right all the same.
fn say(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// "did you mean", if a known word is near what was typed.
pub(crate) fn suggestion<'a>(typed: &str, known: impl Iterator<Item = &'a str>, dashes: &str) -> Option<String> {
    // Of two that are as near, the one of the same length: of `rum`, `run` and not `rm`.
    let rank = |word: &'a str| (strsim::damerau_levenshtein(typed, word), word.len().abs_diff(typed.len()), word);
    let (distance, _, word) = known.map(rank).min()?;
    // A third of the letters may be wrong; more is another word.
    (distance <= 1 + typed.len() / 4).then(|| format!("did you mean {dashes}{word}?"))
}
