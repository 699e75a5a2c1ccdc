//! What happens to containers, images, volumes and networks, for who watches.
//!
//! There is no daemon that could tell: each command, and each monitor, adds a line of JSON to `/run/mycontainer/events` for
//! what it has done, and `events` reads that file and waits at it (`follow`). The line is Docker's message, in one write
//! to the end of the file (0600), so that lines of many processes do not mix. What was done counts, and not that it is
//! told: an event that cannot be written is lost, and nobody fails for it.
//!
//! A file that has grown to 1 MiB becomes `events.1`, in place of the one before, and a new one begins. Who does that holds
//! the lock of the file that moves, and looks whether it still has its name: so of two only one does. A line of a process
//! that had the file open before goes to `events.1`; whoever follows reads both. All of it is gone with the next boot.
//!
//! A tool that is killed has told nothing of the end of its container: the sweep that removes what it left does.

mod follow;

pub use follow::{EventsOrder, follow};

use crate::state::{self, Facts, Id, run_dir};
use crate::when::Time;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, openat, rename, stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file that is this long becomes the one before.
const LONGEST: i64 = 1 << 20;

/// Something that happened: a line of the file, and Docker's message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// As [`Event::action`], for programs that are older than that; of containers and images only, as the next two.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// The id or name of what it happened to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// What the container is made of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// `container`, `image`, `volume` or `network`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What happened.
    #[serde(rename = "Action")]
    pub action: String,
    /// What it happened to.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// `local`.
    pub scope: String,
    /// Seconds since 1970.
    pub time: i64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// What something happened to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Its id, or its name where it has no other.
    #[serde(rename = "ID")]
    pub id: String,
    /// Name, labels and what belongs to the action.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// When it happened.
    pub fn at(&self) -> Time {
        const SECOND: i64 = 1_000_000_000;
        let nanoseconds = u32::try_from(self.time_nano.rem_euclid(SECOND)).unwrap_or_default();
        Time { seconds: self.time_nano.div_euclid(SECOND), nanoseconds }
    }
}

/// Tells of a container: its labels, its name, what it is made of, and `more`.
pub(crate) fn container(action: &str, facts: &Facts, more: &[(&str, &str)]) {
    let mut attributes = facts.labels.clone();
    let own = [("image", facts.root.as_str()), ("name", facts.name.as_deref().unwrap_or_default())];
    attributes.extend(own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    tell("container", action, &facts.id, attributes);
}

/// Tells that a container's program has ended.
pub(crate) fn died(facts: &Facts, exit_code: i32, oom_killed: bool) {
    if oom_killed {
        container("oom", facts, &[]);
    }
    container("die", facts, &[("exitCode", &exit_code.to_string())]);
}

/// Tells of a container that may be gone by now: nothing, when nothing is known of it.
pub(crate) fn of_gone(action: &str, facts: Option<&Facts>, more: &[(&str, &str)]) {
    if let Some(facts) = facts {
        container(action, facts, more);
    }
}

/// Tells of an image by its id, or by the name that it goes by.
pub(crate) fn image(action: &str, id: &str, name: &str, labels: &BTreeMap<String, String>) {
    let mut attributes = labels.clone();
    attributes.insert("name".into(), name.to_owned());
    tell("image", action, id, attributes);
}

/// Tells of a volume.
pub(crate) fn volume(action: &str, name: &str) {
    tell("volume", action, name, BTreeMap::from([("driver".into(), "local".into())]));
}

/// Tells of a network.
pub(crate) fn network(action: &str, config: &network::Config) {
    tell("network", action, &config.id, of_network(config).into());
}

/// Tells of a container that joins or leaves a network.
pub(crate) fn joined(action: &str, config: &network::Config, container: &Id) {
    let mut attributes = BTreeMap::from(of_network(config));
    attributes.insert("container".to_owned(), container.as_str().to_owned());
    tell("network", action, &config.id, attributes);
}

fn of_network(config: &network::Config) -> [(String, String); 2] {
    let attributes = [("name", config.name.as_str()), ("type", config.driver.name())];
    attributes.map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// A name for one program of an `exec`, as Docker has it: nothing can be done with it but to see what belongs together.
pub(crate) fn exec_id() -> String {
    Id::random().map(|id| id.as_str().to_owned()).unwrap_or_default()
}

fn tell(kind: &str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
    let Time { seconds, nanoseconds } = Time::now();
    let is_old_form = !matches!(kind, "volume" | "network");
    let event = Event {
        status: if is_old_form { action.to_owned() } else { String::new() },
        id: if is_old_form { id.to_owned() } else { String::new() },
        from: attributes.get("image").filter(|_| kind == "container").cloned().unwrap_or_default(),
        kind: kind.to_owned(),
        action: action.to_owned(),
        actor: Actor { id: id.to_owned(), attributes },
        scope: "local".to_owned(),
        time: seconds,
        time_nano: seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds.into()),
    };
    let Ok(mut line) = serde_json::to_vec(&event) else { return };
    line.push(b'\n');
    // A command does not fail because nobody can be told of what it has done.
    let _ = add(&path(), &line);
}

/// Adds a line, and sees to the length of the file.
fn add(path: &Path, line: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let dir = path.parent().unwrap_or(path);
    let file = state::with_directory(dir, || openat(CWD, path, flags, Mode::RUSR | Mode::WUSR))?;
    rustix::io::write(&file, line)?;
    let own = fstat(&file)?;
    if own.st_size < LONGEST {
        return Ok(());
    }
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let is_current = stat(path).is_ok_and(|now| (now.st_dev, now.st_ino) == (own.st_dev, own.st_ino));
    if is_current { rename(path, before(path)) } else { Ok(()) }
}

fn path() -> PathBuf {
    run_dir().join("events")
}

/// The file before this one.
fn before(path: &Path) -> PathBuf {
    path.with_extension("1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn lines_are_added_whole_and_a_long_file_moves_away() {
        let dir = std::env::temp_dir().join(format!("mycontainer-events-{}", std::process::id()));
        let path = dir.join("events");
        let line = [b"x".repeat(1023).as_slice(), b"\n"].concat();
        for _ in 0..1023 {
            add(&path, &line).unwrap();
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!before(&path).exists());
        add(&path, &line).unwrap();
        assert!(!path.exists() && std::fs::metadata(before(&path)).unwrap().len() == 1 << 20);
        // Another one that had it open moves nothing.
        add(&path, b"next\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"next\n");
        assert_eq!(std::fs::metadata(before(&path)).unwrap().len(), 1 << 20);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_time_of_an_event() {
        let event = Event { time: 1, time_nano: 1_500_000_000, ..Event::default() };
        assert_eq!(event.at(), Time { seconds: 1, nanoseconds: 500_000_000 });
    }
}
