//! Ctrl-C as an answer to a question: the bench asks before each step, and ends as after an error, so that everything is
//! removed on the way out.

use anyhow::{Context, Result, bail};
use sys::signal::{SignalFd, SignalSet, block};

/// SIGHUP, SIGINT and SIGTERM.
const ENDS: [i32; 3] = [1, 2, 15];

/// Whether somebody wants the bench to end.
pub(crate) struct Interrupt(SignalFd);

impl Interrupt {
    /// From now on signals wait. (Programs that are started get them as ever.)
    pub(crate) fn new() -> Result<Interrupt> {
        let signals = SignalSet::of(&ENDS);
        block(signals).context("cannot block signals")?;
        Ok(Interrupt(SignalFd::new(signals).context("cannot make a signalfd")?))
    }

    /// An error if one has come.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.next().context("cannot read a signal")? {
            Some(signal) => bail!("ended by signal {signal}"),
            None => Ok(()),
        }
    }
}
