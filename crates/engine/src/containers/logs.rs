//! `logs`: what a container has printed.

use super::{Found, alive, get};
use crate::error::Error;
use crate::log::{self, LogDriver, LogOptions, LogQuery, Source};
use crate::state;
use std::os::fd::{AsFd, OwnedFd};

/// Writes what a container, running or not, has printed to this process's standard output and standard error; tells of
/// records that cannot be read.
pub fn logs(words: &str, query: &LogQuery, note: &mut dyn FnMut(&str)) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let found = get(words)?;
    let driver = log_options(&found)?.driver;
    if matches!(driver, LogDriver::Journald | LogDriver::None) {
        let container = found.shown().to_owned();
        return Err(Error::LogUnreadable { container, id: found.id.as_str().to_owned(), driver: driver.name() });
    }
    let tool = writer(&found)?;
    let dir = state::layer_path(&found.id);
    let source =
        Source { dir: &dir, is_k8s: driver == LogDriver::K8sFile, ended: tool.as_ref().map(|tool| tool.as_fd()) };
    log::read(&source, query, [rustix::stdio::stdout(), rustix::stdio::stderr()], note)
}

/// Who writes the log, if anybody does.
fn writer(found: &Found) -> Result<Option<OwnedFd>, Error> {
    if !found.is_running {
        return Ok(None);
    }
    match alive::tool(found) {
        Ok(tool) => Ok(Some(tool)),
        // It has ended meanwhile.
        Err(Error::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How the output of a container is kept. One in the foreground of another command keeps none.
fn log_options(found: &Found) -> Result<LogOptions, Error> {
    let facts = found.facts()?;
    if !found.has_monitor() {
        return Err(Error::InForeground { container: found.shown().to_owned() });
    }
    Ok(facts.options.as_ref().map(|options| options.log.clone()).unwrap_or_default())
}
