//! The reader's side: what has happened, then what happens, until a time or until nobody listens.

use super::{Event, before, path};
use crate::error::Error;
use crate::state;
use crate::when::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, SeekFrom, fstat, inotify, openat, seek, stat};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What is read at once.
const CHUNK: usize = 64 << 10;

/// What `events` is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventsOrder {
    /// What happened before that is left out. Without it, and without an end, all that has happened is.
    pub since: Option<Time>,
    /// When it ends; without it, never.
    pub until: Option<Time>,
}

/// Tells every event, as long as `told` says that it wants more.
pub fn follow(order: EventsOrder, told: &mut dyn FnMut(&Event) -> bool) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let path = path();
    // Watched before it is read: so nothing is missed between the two.
    let watch = watch(&path)?;
    let wants_past = order.since.is_some() || order.until.is_some();
    let mut files = Files::open(path, wants_past)?;
    let mut goes_on = true;
    loop {
        files.read(&mut |event: &Event| {
            let at = event.at();
            let is_meant = order.since.is_none_or(|since| at >= since) && order.until.is_none_or(|until| at <= until);
            if is_meant && goes_on {
                goes_on = told(event);
            }
        })?;
        let left = order.until.map(|until| until.from_now().ok_or(()));
        if !goes_on || left == Some(Err(())) {
            return Ok(());
        }
        let time = left
            .and_then(Result::ok)
            .map(|left| Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() });
        match poll(&mut [PollFd::new(&watch, PollFlags::IN)], time.as_ref()) {
            Ok(_) => clear(&watch),
            Err(Errno::INTR) => {}
            Err(error) => return Err(Error::file("wait for events in", &files.path)(error)),
        }
    }
}

/// Hears of every change of the directory. One of another file costs a look at ours.
fn watch(path: &Path) -> Result<OwnedFd, Error> {
    let dir = path.parent().unwrap_or(path);
    let watch = || {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let changes = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        state::with_directory(dir, || inotify::add_watch(&watch, dir, changes | inotify::WatchFlags::ONLYDIR))?;
        Ok(watch)
    };
    watch().map_err(Error::file("watch", dir))
}

/// What was heard is that something happened; what, the files say.
fn clear(watch: &OwnedFd) {
    let mut space = [0u8; 4096];
    while rustix::io::read(watch, &mut space[..]).is_ok_and(|got| got > 0) {}
}

/// The file that is written to, and the one before: who had that open still writes there.
struct Files {
    path: PathBuf,
    before: Option<Lines>,
    current: Option<Lines>,
}

/// A file, as far as it has been read.
struct Lines {
    file: OwnedFd,
    /// What came after the last end of a line.
    rest: Vec<u8>,
}

impl Files {
    fn open(path: PathBuf, from_the_beginning: bool) -> Result<Files, Error> {
        // First the one that moves: should it move now, it is read by the name that it has then.
        let current = Lines::open(&path)?;
        let before = Lines::open(&before(&path))?.filter(|before| !current.as_ref().is_some_and(|one| one.is(before)));
        if !from_the_beginning {
            for lines in [&before, &current].into_iter().flatten() {
                seek(&lines.file, SeekFrom::End(0)).map_err(Error::file("read", &path))?;
            }
        }
        Ok(Files { path, before, current })
    }

    /// Reads what has come.
    fn read(&mut self, told: &mut dyn FnMut(&Event)) -> Result<(), Error> {
        if let Some(before) = &mut self.before {
            before.read(&self.path, told)?;
        }
        loop {
            if let Some(current) = &mut self.current {
                current.read(&self.path, told)?;
            }
            if self.current.as_ref().is_some_and(|current| current.is_called(&self.path)) {
                return Ok(());
            }
            // It has moved, or there was none. More than one may have come since we looked: the last but one is read, too.
            let moved = self.current.take();
            let old = before(&self.path);
            let missed = Lines::open(&old)?
                .filter(|lines| ![&moved, &self.before].into_iter().flatten().any(|known| known.is(lines)));
            self.current = Lines::open(&self.path)?;
            self.before = moved.or(self.before.take());
            if let Some(mut missed) = missed.filter(|missed| !self.current.as_ref().is_some_and(|one| one.is(missed))) {
                missed.read(&self.path, told)?;
                self.before = Some(missed);
            }
            if self.current.is_none() {
                return Ok(());
            }
        }
    }
}

impl Lines {
    fn open(path: &Path) -> Result<Option<Lines>, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat(CWD, path, flags, Mode::empty()) {
            Ok(file) => Ok(Some(Lines { file, rest: Vec::new() })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::file("read", path)(error)),
        }
    }

    /// Whether both are the same file.
    fn is(&self, other: &Lines) -> bool {
        let place = |lines: &Lines| fstat(&lines.file).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        place(self) == place(other)
    }

    /// Whether it has this name.
    fn is_called(&self, path: &Path) -> bool {
        let own = fstat(&self.file).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        own.is_some() && own == stat(path).map(|stat| (stat.st_dev, stat.st_ino)).ok()
    }

    /// Reads to the end. What is no event is left out: a disk that was full has cut it off.
    fn read(&mut self, path: &Path, told: &mut dyn FnMut(&Event)) -> Result<(), Error> {
        loop {
            let had = self.rest.len();
            self.rest.resize(had + CHUNK, 0);
            let got = rustix::io::retry_on_intr(|| rustix::io::read(&self.file, &mut self.rest[had..]));
            self.rest.truncate(had + *got.as_ref().unwrap_or(&0));
            if got.map_err(Error::file("read", path))? == 0 {
                return Ok(());
            }
            let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { continue };
            let rest = self.rest.split_off(end + 1);
            let whole = std::mem::replace(&mut self.rest, rest);
            whole
                .split(|byte| *byte == b'\n')
                .filter_map(|line| serde_json::from_slice(line).ok())
                .for_each(|event| told(&event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::add;

    #[test]
    fn nothing_is_missed_when_files_move() {
        let dir = std::env::temp_dir().join(format!("mycontainer-follow-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("events");
        let line = |n: i64| {
            let event = Event { time: n, kind: "x".repeat(1000), ..Event::default() };
            serde_json::to_string(&event).unwrap() + "\n"
        };
        let mut files = Files::open(path.clone(), false).unwrap();
        let (mut seen, mut written) = (Vec::new(), 0);
        // Nothing; a few; a file that moved; one and a half; two and a half.
        for more in [0, 3, 1200, 1500, 2500, 1] {
            for _ in 0..more {
                add(&path, line(written).as_bytes()).unwrap();
                written += 1;
            }
            files.read(&mut |event| seen.push(event.time)).unwrap();
            // Of more than two files that came at once the first is gone, but for what was open.
            if more < 2000 {
                assert_eq!(seen, (0..written).collect::<Vec<i64>>(), "{more}");
            } else {
                assert!(seen.is_sorted() && seen.last() == Some(&(written - 1)), "{more}");
                seen = (0..written).collect();
            }
        }
        // Who begins now, with the past: two files.
        let mut all = Vec::new();
        Files::open(path.clone(), true).unwrap().read(&mut |event| all.push(event.time)).unwrap();
        assert!(
            all.len() > 900 && all.windows(2).all(|pair| pair[0] + 1 == pair[1]) && all.last() == Some(&(written - 1))
        );
        // A line that was cut off, and one that is not whole as yet.
        std::fs::write(&path, format!("{{\"Typ\n{}{}", line(1), &line(2)[..20])).unwrap();
        let mut some = Vec::new();
        Files::open(path, true).unwrap().read(&mut |event| some.push(event.time)).unwrap();
        assert_eq!(some.last(), Some(&1));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
