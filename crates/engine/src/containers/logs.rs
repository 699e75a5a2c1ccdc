//! `logs`: what a container has printed.

use super::{Found, alive, get};
use crate::error::Error;
use crate::log::{self, LogDriver, LogOptions, LogQuery, Source};
use crate::state;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// Writes what a container, running or not, has printed to this process's standard output and standard error; tells of
/// records that cannot be read.
pub fn logs(words: &str, query: &LogQuery, note: &mut dyn FnMut(&str)) -> Result<(), Error> {
    LogSource::of(words)?.read(query, [rustix::stdio::stdout(), rustix::stdio::stderr()], note)
}

/// The log of a container.
pub(crate) struct LogSource {
    dir: PathBuf,
    is_k8s: bool,
    /// Who writes it.
    tool: Option<OwnedFd>,
}

impl LogSource {
    pub(crate) fn of(words: &str) -> Result<LogSource, Error> {
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
        Ok(LogSource { dir: state::layer_path(&found.id), is_k8s: driver == LogDriver::K8sFile, tool })
    }

    /// Writes it to these two; tells of records that cannot be read.
    pub(crate) fn read(
        &self,
        query: &LogQuery,
        to: [BorrowedFd<'_>; 2],
        note: &mut dyn FnMut(&str),
    ) -> Result<(), Error> {
        let ended = self.tool.as_ref().map(AsFd::as_fd);
        log::read(&Source { dir: &self.dir, is_k8s: self.is_k8s, ended }, query, to, note)
    }
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
    Ok(facts.options.as_deref().map(|options| options.log.clone()).unwrap_or_default())
}
