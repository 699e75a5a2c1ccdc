//! How failures read: one line for what failed, one for what to do.

use std::process::ExitCode;

/// Our own failure, as Docker numbers it.
const FAILED: u8 = 125;

/// Says what was wrong with the words, and what to do.
pub(crate) fn usage(what: &str, hint: &str) -> ExitCode {
    eprintln!("mycontainer: {what}\n  hint: {hint}");
    ExitCode::from(FAILED)
}

/// Says what failed.
pub(crate) fn failure(error: &engine::Error) -> ExitCode {
    eprintln!("mycontainer: {error}");
    if let Some(hint) = error.hint() {
        eprintln!("  hint: {hint}");
    }
    ExitCode::from(error.exit_code())
}

/// Says something that did not stop anything.
pub(crate) fn note(text: &str) {
    eprintln!("mycontainer: {text}");
}

/// "did you mean", if a known word is near what was typed.
pub(crate) fn suggestion<'a>(typed: &str, known: impl Iterator<Item = &'a str>, dashes: &str) -> Option<String> {
    let near = known.map(|word| (strsim::damerau_levenshtein(typed, word), word)).min()?;
    // A third of the letters may be wrong; more is another word.
    let (distance, word) = near;
    (distance <= 1 + typed.len() / 4).then(|| format!("did you mean {dashes}{word}?"))
}
