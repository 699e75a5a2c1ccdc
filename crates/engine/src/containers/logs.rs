//! `logs`: what a container has printed.

use super::{Found, alive, get};
use crate::error::Error;
use crate::log::{self, JournalSource, LogDriver, LogOptions, LogQuery, Source};
use crate::state::{self, Id};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Writes what a container, running or not, has printed to this process's standard output and standard error; tells of
/// records that cannot be read.
pub fn logs(words: &str, query: &LogQuery, note: &mut dyn FnMut(&str)) -> Result<(), Error> {
    LogSource::of(words)?.read(query, [rustix::stdio::stdout(), rustix::stdio::stderr()], note)
}

/// The log of a container.
pub(crate) struct LogSource {
    id: Id,
    driver: LogDriver,
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
        if driver == LogDriver::None {
            return Err(Error::LogUnreadable { container: found.shown().to_owned(), driver: driver.name() });
        }
        let tool = writer(&found)?;
        Ok(LogSource { id: found.id, driver, tool })
    }

    /// Writes it to these two; tells of records that cannot be read.
    pub(crate) fn read(
        &self,
        query: &LogQuery,
        to: [BorrowedFd<'_>; 2],
        note: &mut dyn FnMut(&str),
    ) -> Result<(), Error> {
        let ended = self.tool.as_ref().map(AsFd::as_fd);
        if self.driver == LogDriver::Journald {
            return log::read_journal(&JournalSource { id: self.id.as_str(), ended }, query, to);
        }
        let (dir, is_k8s) = (state::layer_path(&self.id), self.driver == LogDriver::K8sFile);
        log::read(&Source { dir: &dir, is_k8s, ended }, query, to, note)
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
