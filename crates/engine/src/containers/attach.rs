//! `attach`: to the streams of a container that runs in the background.

use super::start::options_of;
use super::{alive, get};
use crate::attach::{self, Attachment};
use crate::detach_keys::DetachKeys;
use crate::error::Error;
use crate::events;
use crate::options::RunOptions;
use crate::relay::Signals;
use crate::state;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::path::Path;

/// What `attach` is asked for.
#[derive(Clone, Debug, Default)]
pub struct AttachOrder {
    /// Standard input is connected, if the container has one.
    pub input: bool,
    /// Signals to this process go to the program.
    pub sig_proxy: bool,
    /// What ends it.
    pub detach_keys: DetachKeys,
}

impl AttachOrder {
    /// To a container that was made with these options.
    pub(super) fn to(&self, options: &RunOptions) -> Attachment {
        Attachment {
            input: self.input && options.interactive,
            output: true,
            error: true,
            tty: options.tty,
            sig_proxy: self.sig_proxy,
            detach_keys: self.detach_keys.clone(),
        }
    }
}

/// Attends to a container until it has ended, whose exit code is returned, or by keys.
pub fn attach(words: &str, order: &AttachOrder) -> Result<Option<i32>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let found = get(words)?;
    if !found.is_running {
        return Err(Error::NotRunning { container: found.shown().to_owned() });
    }
    let options = options_of(&found)?;
    if order.input {
        crate::run::check_terminal(options)?;
    }
    let signals = Signals::hold()?;
    let line = connect(&state::socket_path(&found.id)).map_err(|error| match error {
        // Its tool has made none.
        Errno::NOENT => Error::InForeground { container: found.shown().to_owned() },
        // Its monitor is ending.
        Errno::CONNREFUSED => Error::NotRunning { container: found.shown().to_owned() },
        error => Error::process("attach to", found.shown())(error),
    })?;
    let attachment = order.to(options);
    // The program is told of by the first word of the monitor; until then a signal has nobody to go to.
    drop(alive::tool(&found)?);
    events::container("attach", found.facts()?, &[]);
    Ok(attach::attend(&line, None, &attachment, &signals)?.exit_code())
}

fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let line = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&line, &SocketAddrUnix::new(path)?)?;
    Ok(line)
}
