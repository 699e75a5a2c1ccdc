//! How a container came to be, for who wants to make one like it.

use super::get;
use crate::error::Error;
use crate::restart::RestartPolicy;
use std::time::Duration;

/// What a container was made by, and what is asked of its end.
#[derive(Clone, Debug)]
pub struct Origin {
    /// In full.
    pub id: String,
    /// What it is called now.
    pub name: String,
    /// It is still there when it has ended.
    pub stays: bool,
    /// The words after the tool's name, from `run` or `create` on, as they were typed; none in what another release wrote.
    pub words: Option<Vec<String>>,
    /// The directory that they were typed in.
    pub dir: String,
    /// Its variables, `NAME=VALUE`, as they were given to it.
    pub env: Vec<String>,
    /// What `stop` sends.
    pub stop_signal: i32,
    /// How long `stop` waits; none is for ever.
    pub stop_timeout: Option<Duration>,
    /// Its own policy.
    pub restart: RestartPolicy,
}

/// Finds it out. One in the foreground of another command is that one's own, and has no such record.
pub fn origin(words: &str) -> Result<Origin, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let found = get(words)?;
    let options = super::start::options_of(&found)?;
    if !found.has_monitor() {
        return Err(Error::InForeground { container: found.shown().to_owned() });
    }
    let facts = found.facts()?;
    let (stop_signal, stop_timeout) = super::stop_by(facts);
    let (words, dir) = facts.made_by.clone().map(|by| (by.words, by.dir)).unzip();
    Ok(Origin {
        id: facts.id.clone(),
        name: found.shown().to_owned(),
        stays: found.stays && !options.auto_remove,
        words: words.filter(|words| !words.is_empty()),
        dir: dir.unwrap_or_default(),
        env: options.env.clone(),
        stop_signal,
        stop_timeout,
        restart: options.restart,
    })
}
