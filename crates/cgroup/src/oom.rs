//! Hearing of an out-of-memory kill when it happens.
//!
//! On v2 memory.events changes, which inotify(7) tells. On v1 the kernel writes to an eventfd that is registered for
//! memory.oom_control, when the group is out of memory and also when it is removed.

use crate::{Error, file};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Readable when something happened to the memory of a group: poll it, then ask [`OomWatch::next`].
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    V1 {
        /// There as long as the group is.
        control: String,
    },
    V2 {
        events: String,
        /// Kills that were told.
        told: u64,
    },
}

impl OomWatch {
    /// Watches the v1 group in the memory hierarchy.
    pub(crate) fn v1(path: &str) -> Result<Self, Error> {
        let failed = |path: &str| {
            let path = path.into();
            move |source| Error::Watch { path, source }
        };
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed(path))?;
        let file = format!("{path}/memory.oom_control");
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let watched = rustix::fs::open(&file, flags, rustix::fs::Mode::empty()).map_err(failed(&file))?;
        let control = format!("{path}/cgroup.event_control");
        let line = format!("{} {}", fd.as_raw_fd(), watched.as_raw_fd());
        file::write(&control, &line).map_err(failed(&control))?;
        Ok(Self { fd, kind: Kind::V1 { control } })
    }

    /// Watches the v2 group.
    pub(crate) fn v2(path: &str) -> Result<Self, Error> {
        let events = format!("{path}/memory.events");
        let failed = |source| Error::Watch { path: events.clone().into(), source };
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let fd = inotify::init(flags).map_err(failed)?;
        match inotify::add_watch(&fd, &events, inotify::WatchFlags::MODIFY) {
            // Without a memory controller it never is out of memory.
            Ok(_) | Err(Errno::NOENT) => {}
            Err(source) => return Err(failed(source)),
        }
        let told = kills(&events)?;
        Ok(Self { fd, kind: Kind::V2 { events, told } })
    }

    /// Watches nothing.
    pub(crate) fn never() -> Result<Self, Error> {
        let failed = |source| Error::Watch { path: "no group".into(), source };
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
        Ok(Self { fd, kind: Kind::V1 { control: String::new() } })
    }

    /// What happened since the last call: true when the kernel found the group out of memory. Does not wait.
    // Not an iterator: there is no end, and `false` is an answer.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<bool, Error> {
        let heard = drain(self.fd.as_fd());
        match &mut self.kind {
            Kind::V1 { control } => Ok(heard && rustix::fs::access(&*control, rustix::fs::Access::EXISTS).is_ok()),
            Kind::V2 { events, told } => {
                let now = kills(events)?;
                let more = now > *told;
                *told = now.max(*told);
                Ok(more)
            }
        }
    }
}

/// Reads what waits; true when there was something.
fn drain(fd: BorrowedFd<'_>) -> bool {
    let mut heard = false;
    let mut buffer = [0; 4096];
    while matches!(rustix::io::read(fd, &mut buffer), Ok(1..)) {
        heard = true;
    }
    heard
}

fn kills(events: &str) -> Result<u64, Error> {
    Ok(file::counter(events, "oom_kill")?.unwrap_or(0))
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
