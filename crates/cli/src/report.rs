//! How failures read: one line for what failed, one for what to do.

use std::process::ExitCode;

/// Our own failure, as Docker numbers it.
const FAILED: u8 = 125;

/// Says what was wrong with the words, and what to do.
pub(crate) fn usage(what: &str, hint: &str) -> ExitCode {
    say(&format!("mycontainer: {what}\n  hint: {hint}\n"));
    ExitCode::from(FAILED)
}

/// Says what failed.
pub(crate) fn failure(error: &engine::Error) -> ExitCode {
    let hint = error.hint().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
    say(&format!("mycontainer: {error}\n{hint}"));
    ExitCode::from(error.exit_code())
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
    let near = known.map(|word| (strsim::damerau_levenshtein(typed, word), word)).min()?;
    // A third of the letters may be wrong; more is another word.
    let (distance, word) = near;
    (distance <= 1 + typed.len() / 4).then(|| format!("did you mean {dashes}{word}?"))
}
