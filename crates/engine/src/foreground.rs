//! A process of a container in the foreground, for who runs one without the engine's other parts: signals go to it, its
//! terminal, if it has one, is this process's.

use crate::error::Error;
use crate::relay::{self, Signals};
use crate::tty::Console;
use runtime::Process;

/// Signals that are held back from before the process is made, so that none is lost.
#[derive(Debug)]
pub struct Foreground(Signals);

impl Foreground {
    /// Holds back every signal that is passed on, from here on.
    pub fn hold() -> Result<Foreground, Error> {
        Signals::hold().map(Foreground)
    }

    /// Passes signals on until the process has ended; relays its terminal.
    pub fn attend(&self, process: &Process) -> Result<(), Error> {
        if process.terminal().is_none() {
            return self.wait(process);
        }
        let (mut console, mut pumps) = Console::connect(process, true)?;
        let relayed = relay::run(process, &self.0, &mut pumps, Some(&mut console));
        console.leave();
        relayed
    }

    /// Passes signals on until the process has ended; its terminal is another's.
    pub fn wait(&self, process: &Process) -> Result<(), Error> {
        relay::run(process, &self.0, &mut [], None)
    }
}

/// Columns and rows of this process's terminal, if it has one.
pub fn window() -> Option<(u16, u16)> {
    crate::tty::size()
}
