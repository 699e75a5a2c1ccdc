//! Containers that live in the background, on a [`Host`] of the test's own, which ends without a trace of them.

use super::host::{Host, control_groups};
use super::pty::Session;
use super::{busybox_root, code, stderr, stdout, tool, wait_until, without_network};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;

/// A host with such containers. All of them are removed at its end, and must have left nothing then.
pub struct Life {
    pub host: Host,
    /// The ids of all that there were.
    seen: Mutex<BTreeSet<String>>,
}

impl Life {
    /// `None` where this test cannot run.
    pub fn new(test: &str) -> Option<Life> {
        Life::prepared(test, "")
    }

    /// As [`Life::new`], on a host prepared by a script.
    pub fn prepared(test: &str, setup: &str) -> Option<Life> {
        Some(Life { host: Host::new(test, setup)?, seen: Mutex::new(BTreeSet::new()) })
    }

    /// `mycontainer WORDS...` with empty standard input, to be changed and run.
    pub fn command(&self, words: &[impl AsRef<str>]) -> Command {
        self.host.command(tool(), &words.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    /// `mycontainer WORDS...`, to its end.
    pub fn tool(&self, words: &[impl AsRef<str>]) -> Output {
        self.command(words).output().expect("nsenter (util-linux) is there")
    }

    /// As [`Life::tool`], and it must end with 0: its standard output, without the line's end.
    #[track_caller]
    pub fn ok(&self, words: &[impl AsRef<str>]) -> String {
        let output = self.tool(words);
        let words = shown(words);
        assert!(output.status.success(), "{words}: {}\n{}{}", output.status, stdout(&output), stderr(&output));
        stdout(&output).trim_end_matches('\n').to_owned()
    }

    /// It must end with this code: its standard error.
    #[track_caller]
    pub fn fails(&self, expected: i32, words: &[impl AsRef<str>]) -> String {
        let output = self.tool(words);
        let words = shown(words);
        assert_eq!(code(output.status), expected, "{words}: {}{}", stdout(&output), stderr(&output));
        stderr(&output)
    }

    /// A command that goes on meanwhile; its streams are pipes.
    pub fn meanwhile(&self, words: &[impl AsRef<str>]) -> Child {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("nsenter (util-linux) is there")
    }

    /// As [`Life::meanwhile`], on a terminal.
    pub fn on_terminal(&self, words: &[impl AsRef<str>]) -> Session {
        let words: Vec<&str> = std::iter::once(tool()).chain(words.iter().map(AsRef::as_ref)).collect();
        let words = self.host.words(&words);
        Session::of(&words.iter().map(String::as_str).collect::<Vec<_>>(), (24, 80), "")
    }

    /// `run -d --network none FLAGS... ROOT sh -c SCRIPT` with a busybox root: the id.
    #[track_caller]
    pub fn detached(&self, flags: &[&str], script: &str) -> String {
        self.note(self.ok(&self.words(&["run", "-d"], flags, script)))
    }

    /// The words of `BEFORE... --network none --ephemeral FLAGS... ROOT sh -c SCRIPT`.
    #[track_caller]
    pub fn words(&self, before: &[&str], flags: &[&str], script: &str) -> Vec<String> {
        let root = busybox_root().to_str().unwrap();
        let words = [before, without_network(flags), &["--ephemeral"], flags, &[root, "sh", "-c", script]].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    /// Remembers an id, so that what the container leaves is looked for.
    pub fn note(&self, id: String) -> String {
        assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "no id: {id:?}");
        self.seen.lock().unwrap().insert(id.clone());
        id
    }

    /// What `inspect` says of a container.
    #[track_caller]
    pub fn inspect(&self, words: &str) -> Value {
        let shown: Value = serde_json::from_str(&self.ok(&["inspect", words])).expect("inspect tells JSON");
        shown[0].clone()
    }

    /// A field of what `inspect` says, as text.
    #[track_caller]
    pub fn field(&self, words: &str, field: &str) -> String {
        self.ok(&["inspect", "--format", &format!("{{{{.{field}}}}}"), words])
    }

    /// Its status, exit code and reason.
    #[track_caller]
    pub fn state(&self, words: &str) -> (String, i64, String) {
        let state = &self.inspect(words)["State"];
        let text = |field: &str| state[field].as_str().expect("a text").to_owned();
        (text("Status"), state["ExitCode"].as_i64().expect("a number"), text("Error"))
    }

    /// Waits until it has this status.
    #[track_caller]
    pub fn until(&self, words: &str, status: &str) {
        let is_so = wait_until(10, || self.state(words).0 == status);
        assert!(is_so, "{words} does not become {status}, but is {:?}", self.state(words));
    }

    /// Its first process, as the host sees it.
    #[track_caller]
    pub fn pid(&self, words: &str) -> u32 {
        let pid = self.field(words, "State.Pid").parse().expect("a number");
        assert_ne!(pid, 0, "{words} does not run");
        pid
    }

    /// Its monitor.
    #[track_caller]
    pub fn monitor(&self, words: &str) -> u32 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid(words))).expect("it runs");
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("it has a parent");
        let pid = parent.trim().parse().expect("a number");
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it runs");
        assert_eq!(comm, "mc-monitor\n");
        pid
    }

    /// A file of its host, as this process sees it: the mounts there are its own.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.host.keeper()))
    }

    /// The names in a directory of its host.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(directory)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// What a container has of the host while it runs, and of what must be nothing when it does not: record, socket,
    /// control group, lease.
    pub fn running_parts(&self, id: &str) -> Vec<String> {
        let mut found = Vec::new();
        for directory in ["/run/mycontainer/containers", "/run/mycontainer/attach"] {
            found.extend(self.names(directory).into_iter().filter(|name| name == id).map(|_| directory.to_owned()));
        }
        found.extend(control_groups(&id[..8]));
        let leases = std::fs::read_to_string(self.path("/run/mycontainer/network/leases")).unwrap_or_default();
        found.extend(leases.lines().filter(|line| line.contains(id)).map(str::to_owned));
        found
    }

    /// Asserts that it has none of these.
    #[track_caller]
    pub fn assert_at_rest(&self, id: &str) {
        let is_so = wait_until(5, || self.running_parts(id).is_empty());
        assert!(is_so, "of one that does not run: {:#?}", self.running_parts(id));
    }
}

fn shown(words: &[impl AsRef<str>]) -> String {
    words.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(" ")
}

impl Drop for Life {
    fn drop(&mut self) {
        // Also after a failure: a container in the background has nobody else.
        let ids = stdout(&self.tool(&["ps", "-aq", "--no-trunc"]));
        let ids: Vec<&str> = ids.split_whitespace().collect();
        self.seen.lock().unwrap_or_else(|e| e.into_inner()).extend(ids.iter().map(|id| (*id).to_owned()));
        let removed = if ids.is_empty() { None } else { Some(self.tool(&[&["rm", "-f"], &ids[..]].concat())) };
        if std::thread::panicking() {
            return;
        }
        if let Some(output) = removed {
            assert!(output.status.success() && output.stderr.is_empty(), "rm -f {ids:?}: {}", stderr(&output));
        }
        for id in self.seen.lock().unwrap().iter() {
            self.assert_at_rest(id);
        }
        let left = self.names("/var/lib/mycontainer/containers");
        assert!(left.is_empty(), "removed, and still there: {left:?}");
        assert_eq!(self.names("/var/lib/mycontainer/names"), [""; 0], "names of containers that were removed");
    }
}
