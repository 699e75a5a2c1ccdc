//! Settings below /proc/sys/net, those of the network namespace in which the caller is.

use crate::error::Error;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read, write};

/// True when a setting is 1.
pub(crate) fn is_on(path: &str) -> Result<bool, Error> {
    get(path).map(|first| first == b'1').map_err(|source| fail(path, source))
}

/// Makes a setting 1.
pub(crate) fn turn_on(path: &str) -> Result<(), Error> {
    set(path, "1").map_err(|source| fail(path, source))
}

fn fail(path: &str, source: Errno) -> Error {
    Error::Sysctl { path: path.to_owned(), value: "1", source }
}

/// Writes a setting.
pub(crate) fn set(path: &str, value: &'static str) -> Result<(), Errno> {
    let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    write(&file, value.as_bytes()).map(|_| ())
}

/// The first byte of a setting.
fn get(path: &str) -> Result<u8, Errno> {
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut byte = [0];
    read(&file, &mut byte)?;
    Ok(byte[0])
}
