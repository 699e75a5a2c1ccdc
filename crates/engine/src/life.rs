//! What has become of a container that stays: `DATA/containers/ID/life.json`, and the mark that somebody has stopped it.
//!
//! Its monitor writes it when the program is started and when it has ended, each time beside and renamed; on a disk that is
//! full over what is there, which has room for it ([`ROOM`]): how a container ended shall not be lost with its log. It is not
//! synced: what a failure of power takes is how it ended, and that it was started is enough to know that it has. Nobody
//! guesses: a container that was started, did not end by the word of its monitor and has none that lives, was killed with
//! its monitor (its processes die with that, see [`crate::monitor`]) or went with the machine.

use crate::error::Error;
use crate::state::{self, Id, News};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is known of its last run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Life {
    /// When its program was started last, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finished: Option<String>,
    /// How, as a shell says it; of one that could not be started what the tool ended with.
    pub(crate) exit_code: i32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) oom_killed: bool,
    /// Why it could not be started, or what ended it beside itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) error: String,
    /// How often its policy has started it again.
    pub(crate) restarts: u32,
    /// While it runs: the boot that it runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) boot: Option<String>,
}

/// What a shell says of a program that SIGKILL has ended.
pub(crate) const KILLED: i32 = 137;
/// What Docker says of one that went with the machine.
const WENT_WITH_MACHINE: i32 = 255;

/// This boot of the machine. [proc_sys_kernel(5)]
pub(crate) fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// What is known of one that does not run; nothing of one that was never started.
pub(crate) fn of_stopped(id: &Id) -> Option<Life> {
    read(id).map(ended)
}

/// The same of one whose monitor did not say how it ended.
fn ended(life: Life) -> Life {
    let Some(then) = &life.boot else { return life };
    let (exit_code, error) = if *then == boot() {
        (KILLED, "its monitor was killed, and the container with it")
    } else {
        (WENT_WITH_MACHINE, "the machine went down while it ran")
    };
    Life { exit_code, error: error.to_owned(), boot: None, ..life }
}

/// Notes that a container's monitor was killed, if that is so: its processes have been ended. What it ended with. The
/// caller holds its record, which says `news`: a start stands there before it stands here.
pub(crate) fn killed(id: &Id, news: &News) -> Result<Option<i32>, Error> {
    let mut life = read(id).unwrap_or_default();
    if news.started.is_some() && news.started != life.started {
        let restarts = news.restarts.unwrap_or_default();
        life = Life { started: news.started.clone(), restarts, boot: Some(boot()), ..Life::default() };
    }
    if life.boot.is_none() {
        return Ok(None);
    }
    let finished = Some(image::archive::timestamp(std::time::SystemTime::now()));
    let life = Life { finished, ..ended(life) };
    write(id, &life).map(|()| Some(life.exit_code))
}

/// As it was written last, of a container by its id in full.
pub(crate) fn read_of(id: &str) -> Option<Life> {
    read(&Id::from_file_name(id.as_bytes())?)
}

pub(crate) fn read(id: &Id) -> Option<Life> {
    state::with_text(&path(id, "life.json"), |text| serde_json::from_slice(text).ok()).ok()?
}

/// So long is the file at least, with spaces at its end: any other end can be written over it, but for one with a long reason.
const ROOM: usize = 512;

pub(crate) fn write(id: &Id, life: &Life) -> Result<(), Error> {
    let text = serde_json::to_vec(life).unwrap_or_default();
    let mut long = text.clone();
    long.resize(text.len().max(ROOM), b' ');
    match replace(id, "life.json", &long) {
        Err(Error::File { source, .. }) if is_full(&source) => write_over(&path(id, "life.json"), text),
        done => done,
    }
}

fn is_full(error: &std::io::Error) -> bool {
    [Errno::NOSPC, Errno::DQUOT].iter().any(|full| error.raw_os_error() == Some(full.raw_os_error()))
}

/// Writes over a file that has room for it, at once: it takes no space that it has not already.
fn write_over(path: &Path, mut text: Vec<u8>) -> Result<(), Error> {
    let mut write = || {
        let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
        let size = usize::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or_default();
        if text.len() > size {
            return Err(Errno::NOSPC);
        }
        text.resize(size, b' ');
        if rustix::io::pwrite(&file, &text, 0)? < size { Err(Errno::NOSPC) } else { Ok(()) }
    };
    write().map_err(Error::file("write", path))
}

/// Writes a file of the container's directory beside, and renames it into its place: it is the old one or the new one at
/// any time, but for a failure of power.
pub(crate) fn replace(id: &Id, file: &str, text: &[u8]) -> Result<(), Error> {
    let (path, draft) = (path(id, file), path(id, &format!("{file}.new")));
    let write = || {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(CWD, &draft, flags, Mode::RUSR | Mode::WUSR)?;
        if rustix::io::write(&file, text)? < text.len() {
            return Err(Errno::NOSPC);
        }
        rustix::fs::rename(&draft, &path)
    };
    write().map_err(Error::file("write", &path))
}

/// Marks that somebody wants it not to run, before it is brought to an end.
pub(crate) fn mark_stopped(id: &Id) -> Result<(), Error> {
    let path = path(id, "stopped");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(()),
        // It was removed meanwhile.
        Err(Errno::NOENT) => Err(Error::NoSuchContainer { words: id.host_name().to_owned() }),
        Err(error) => Err(Error::file("write", &path)(error)),
    }
}

/// Somebody wants it to run.
pub(crate) fn unmark_stopped(id: &Id) -> Result<(), Error> {
    let path = path(id, "stopped");
    match unlinkat(CWD, &path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::file("remove", path)(error)),
    }
}

/// Whether somebody has stopped it.
pub(crate) fn is_stopped(id: &Id) -> bool {
    rustix::fs::statat(CWD, path(id, "stopped"), AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

fn path(id: &Id, file: &str) -> PathBuf {
    state::layer_path(id).join(file)
}
