//! `start`, `kill`, `delete`, `pause` and `resume`.

use super::global::Global;
use super::words::{Flag, Words, switch};
use super::{Failure, report, usage};
use engine::signal_number;
use runtime::{Error, Known, Runtime};

pub(crate) const KILL_FLAGS: &[Flag] = &[
    switch("all", Some('a'), "Signal every process of the container"),
    switch("regex", Some('r'), "The id is a regular expression; every container that it matches is meant"),
];

pub(crate) const DELETE_FLAGS: &[Flag] = &[
    switch("force", Some('f'), "End it first; that it is not there is no error"),
    switch("regex", Some('r'), "The id is a regular expression; every container that it matches is meant"),
];

/// `start ID`
pub(crate) fn start(global: &Global, words: &Words) -> Result<i32, Failure> {
    global.runtime()?.find(words.id()?)?.start()?;
    Ok(0)
}

/// `kill ID [SIGNAL]`
pub(crate) fn kill(global: &Global, words: &Words) -> Result<i32, Failure> {
    let (id, signal) = match words.operands() {
        [id] => (id, "TERM"),
        [id, signal] => (id, signal.as_str()),
        _ => return Err(usage("it needs the id of a container, and takes a signal")),
    };
    let signal = signal_number(signal).ok_or_else(|| usage(format!("there is no signal {signal:?}")))?;
    each(global, words, id, |mut known| if words.has("all") { known.kill_all(signal) } else { known.kill(signal) })
}

/// `delete ID`
pub(crate) fn delete(global: &Global, words: &Words) -> Result<i32, Failure> {
    let force = words.has("force");
    let deleted = each(global, words, words.id()?, |known| {
        for note in known.delete(force)? {
            report::warn(global, &note.to_string());
        }
        Ok(())
    });
    match deleted {
        Err(Failure::Runtime(Error::NoSuchContainer(_))) if force => Ok(0),
        done => done,
    }
}

/// `pause ID`
pub(crate) fn pause(global: &Global, words: &Words) -> Result<i32, Failure> {
    global.runtime()?.find(words.id()?)?.pause()?;
    Ok(0)
}

/// `resume ID`
pub(crate) fn resume(global: &Global, words: &Words) -> Result<i32, Failure> {
    global.runtime()?.find(words.id()?)?.resume()?;
    Ok(0)
}

/// Acts on the one container, or with --regex on all that match, of which the first failure is told at the end.
fn each(global: &Global, words: &Words, id: &str, act: impl Fn(Known) -> Result<(), Error>) -> Result<i32, Failure> {
    let runtime = global.runtime()?;
    if !words.has("regex") {
        act(runtime.find(id)?)?;
        return Ok(0);
    }
    let mut first = None;
    for id in matching(&runtime, id)? {
        match runtime.find(&id).and_then(&act) {
            // Gone since it was listed.
            Ok(()) | Err(Error::NoSuchContainer(_)) => {}
            Err(error) if first.is_some() => report::warn(global, &error.to_string()),
            Err(error) => first = Some(error),
        }
    }
    first.map_or(Ok(0), |error| Err(error.into()))
}

fn matching(runtime: &Runtime, expression: &str) -> Result<Vec<String>, Failure> {
    let wanted = regex_lite::Regex::new(expression).map_err(|e| usage(format!("{expression:?}: {e}")))?;
    Ok(runtime.ids()?.into_iter().filter(|id| wanted.is_match(id)).collect())
}
