//! The container's terminal: a pseudo terminal of its own devpts.
//!
//! The other end is opened by descriptor (TIOCGPTPEER), never by its name in a /dev that the root may have prepared, and
//! /dev/console is bound from that descriptor. (CVE-2025-52565: a console bound onto something else.)

use crate::error::Error;
use crate::mounts::attach;
use crate::root::{Kind, Root};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use step::step;

/// File system type of devpts. [linux/magic.h]
const DEVPTS_SUPER_MAGIC: rustix::fs::FsWord = 0x1cd1;

/// A terminal's two sides.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// For the tool: what is written here is typed, what is read here was printed.
    pub(crate) controlling: OwnedFd,
    /// For the program: its standard streams.
    pub(crate) user: OwnedFd,
}

/// Opens a new terminal on the root's devpts and makes it /dev/console.
pub(crate) fn open(root: &Root, size: Option<(u16, u16)>) -> Result<Terminal, Error> {
    step(
        "open-terminal",
        "line editing and job control need one",
        || "open a pseudo terminal".into(),
        || {
            let terminal = open_sized(root, size)?;
            let console = root.target(Path::new("dev/console"), Kind::File)?;
            let flags =
                OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
            let bound = open_tree(&terminal.user, c"", flags).map_err(Error::Terminal)?;
            attach(bound.as_fd(), console.as_fd()).map_err(Error::Terminal)?;
            Ok(terminal)
        },
    )
}

/// As [`open`], without a /dev/console: for a process that joins, or whose mounts are those of others.
pub(crate) fn open_unnamed(root: &Root, size: Option<(u16, u16)>) -> Result<Terminal, Error> {
    let why = "line editing and job control need one";
    step("open-terminal", why, || "open a pseudo terminal".into(), || open_sized(root, size))
}

fn open_sized(root: &Root, size: Option<(u16, u16)>) -> Result<Terminal, Error> {
    let terminal = open_pair(root).map_err(Error::Terminal)?;
    if let Some((columns, rows)) = size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal.user, size).map_err(Error::Terminal)?;
    }
    Ok(terminal)
}

fn open_pair(root: &Root) -> Result<Terminal, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let controlling = root.open(Path::new("dev/pts/ptmx"), flags)?;
    if rustix::fs::fstatfs(&controlling)?.f_type != DEVPTS_SUPER_MAGIC {
        return Err(Errno::NODEV);
    }
    unlockpt(&controlling)?;
    let user = ioctl_tiocgptpeer(&controlling, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    Ok(Terminal { controlling, user })
}

/// Makes the terminal this session's own. The caller is the leader of a new session.
pub(crate) fn take(terminal: &OwnedFd) -> Result<(), Error> {
    rustix::process::ioctl_tiocsctty(terminal).map_err(Error::Terminal)
}
