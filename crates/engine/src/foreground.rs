//! A process of a container in the foreground, for who runs one without the engine's other parts: signals go to it, its
//! terminal, if it has one, is this process's.

use crate::detach_keys::DetachKeys;
use crate::error::Error;
use crate::relay::{self, Left, Pump, Signals};
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
        attend(process, true, &self.0, &mut [])
    }

    /// Passes signals on until the process has ended; its terminal is another's.
    pub fn wait(&self, process: &Process) -> Result<(), Error> {
        relay::run(process, &self.0, &mut [], None).map(drop)
    }
}

/// Relays streams and signals until the end. Its terminal, if it has one, is this process's, and with `interactive` it is
/// typed into.
pub(crate) fn attend(process: &Process, interactive: bool, signals: &Signals, pumps: &mut [Pump]) -> Result<(), Error> {
    if process.terminal().is_none() {
        return relay::run(process, signals, pumps, None).map(drop);
    }
    attend_terminal(process, interactive, &DetachKeys::none(), signals).map(drop)
}

/// The same for one that has a terminal, until the keys are typed.
pub(crate) fn attend_terminal(
    process: &Process,
    interactive: bool,
    keys: &DetachKeys,
    signals: &Signals,
) -> Result<Left, Error> {
    let (mut console, mut pumps) = Console::connect(process, interactive, keys)?;
    let relayed = relay::run(process, signals, &mut pumps, Some(&mut console));
    console.leave();
    relayed
}

/// Columns and rows of this process's terminal, if it has one.
pub fn window() -> Option<(u16, u16)> {
    crate::tty::size()
}
