//! `checkpoint` and `restore`: a container that counts goes on where it was.
//!
//! Most of it needs a criu that works on this kernel, which is asked by `criu check`. Where it does not, a test says so in
//! one line; the virtual machine has a kernel that it works on, and there nothing is skipped. What a criu that fails, lies
//! or says nonsense comes to is tried everywhere.

use crate::common::{
    Scratch, busybox_root, can_run, criu_works, in_vm, need, stderr, stdout, tool, unique, wait_until,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";

/// A place for one test: a bundle, records and images, and at its end nothing of them.
struct Place {
    scratch: Scratch,
    id: String,
}

/// A pipe, and the file in which what comes through it ends up.
struct Sink {
    cat: Child,
    file: String,
}

impl Sink {
    fn new(scratch: &Scratch, name: &str) -> Sink {
        let file = scratch.path(name);
        let mut command = Command::new("cat");
        let cat = command.stdin(Stdio::piped()).stdout(File::create(&file).unwrap()).spawn().unwrap();
        Sink { cat, file }
    }

    /// The side to write to. There is one.
    fn pipe(&mut self) -> Stdio {
        self.cat.stdin.take().unwrap().into()
    }

    fn numbers(&self) -> Vec<u64> {
        let text = std::fs::read_to_string(&self.file).unwrap();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Waits until some numbers are there.
    fn wait_for(&self, count: usize) -> Vec<u64> {
        assert!(wait_until(10, || self.numbers().len() >= count), "no {count} numbers: {:?}", self.numbers());
        self.numbers()
    }

    /// All numbers, when nobody writes any more.
    fn end(mut self) -> Vec<u64> {
        self.cat.wait().unwrap();
        self.numbers()
    }
}

impl Place {
    fn new(what: &str, script: &str, change: impl FnOnce(&mut Value)) -> Place {
        let place = Place { scratch: Scratch::new(what), id: unique(what) };
        copy(busybox_root(), &place.scratch.0.join("rootfs"));
        place.write_config("config.json", script, change);
        place
    }

    fn write_config(&self, name: &str, script: &str, change: impl FnOnce(&mut Value)) {
        let file = self.scratch.path("spec");
        std::fs::create_dir_all(&file).unwrap();
        let spec = Command::new(tool()).args(["runtime", "spec", "--bundle", &file]).output().unwrap();
        assert!(spec.status.success(), "{}", stderr(&spec));
        let text = std::fs::read(format!("{file}/config.json")).unwrap();
        std::fs::remove_dir_all(&file).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["linux"]["cgroupsPath"] = json!(format!("/{}", self.id));
        change(&mut config);
        std::fs::write(self.scratch.0.join(name), config.to_string()).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        self.command_of(Path::new(tool()), words)
    }

    fn command_of(&self, tool: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(tool);
        command.args(["runtime", "--root", &self.scratch.path("records")]).args(words).stdin(Stdio::null());
        command.current_dir(&self.scratch.0);
        command
    }

    fn call(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.call(words);
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// The reason why it failed.
    fn fails(&self, words: &[&str]) -> String {
        let output = self.call(words);
        assert!(!output.status.success(), "{words:?} is no success");
        stderr(&output)
    }

    /// With a pipe as standard output. What goes wrong is told in a file, since a container keeps a pipe open.
    fn writing_to(&self, sink: &mut Sink, words: &[&str]) {
        let status = self.command(words).stdout(sink.pipe()).stderr(self.errors()).status().unwrap();
        let errors = std::fs::read_to_string(self.scratch.path("errors")).unwrap();
        assert!(status.success(), "{words:?}: {errors}");
    }

    /// A file of the host, which every process of the test can add to.
    fn errors(&self) -> File {
        File::options().append(true).create(true).open(self.scratch.path("errors")).unwrap()
    }

    /// Starts the container, and waits until it counts.
    fn start(&self) -> Sink {
        let mut sink = Sink::new(&self.scratch, "before");
        self.writing_to(&mut sink, &["run", "--detach", "--bundle", &self.scratch.path(""), &self.id]);
        sink.wait_for(3);
        sink
    }

    /// Restores it from `images` in this bundle.
    fn restore(&self, images: &str, more: &[&str]) -> Sink {
        let mut sink = Sink::new(&self.scratch, "after");
        let bundle = self.scratch.path("");
        let words = [&["restore", "--detach", "--bundle", &bundle, "--image-path", images], more, &[&self.id]].concat();
        self.writing_to(&mut sink, &words);
        sink
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", &self.id])).unwrap()
    }

    fn exec(&self, script: &str) -> String {
        self.ok(&["exec", &self.id, "sh", "-c", script])
    }

    /// What would be there if something had been left.
    fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = self.ok(&["list", "-q"]).lines().map(|id| format!("record {id}")).collect();
        let groups = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", &self.id]).output().unwrap();
        left.extend(stdout(&groups).lines().map(str::to_owned));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(&self.scratch.path(""))).map(str::to_owned));
        left.extend(crate::common::traces::processes_with(&self.id).iter().map(|pid| format!("process {pid}")));
        left
    }

    fn delete_all(&self) {
        self.ok(&["delete", "--force", &self.id]);
        assert!(wait_until(3, || self.left().is_empty()), "left: {:?}", self.left());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.call(&["delete", "--force", &self.id]);
            for log in ["errors", "img/dump.log", "img/restore.log"] {
                let text = std::fs::read_to_string(self.scratch.0.join(log)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("{log}: ...\n{}", lines[lines.len().saturating_sub(15)..].join("\n"));
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a"]).args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[test]
fn a_counter_goes_on_where_it_was() {
    if !criu_works("a_counter_goes_on_where_it_was") {
        return;
    }
    let place = Place::new("counter", COUNTER, |_| {});
    let before = place.start();
    let first_pid = place.state()["pid"].clone();
    place.ok(&["checkpoint", "--image-path", "img", "--work-path", "work", &place.id]);
    let before = before.end();
    assert!(place.left().is_empty(), "a checkpoint deletes the container: {:?}", place.left());
    assert!(place.scratch.0.join("work/dump.log").exists() && place.scratch.0.join("img/inventory.img").exists());
    let descriptors = std::fs::read_to_string(place.scratch.0.join("img/descriptors.json")).unwrap();
    let descriptors: Vec<String> = serde_json::from_str(&descriptors).unwrap();
    assert_eq!(descriptors[0], "/dev/null");
    assert!(descriptors[1].starts_with("pipe:["), "{descriptors:?}");

    let after = place.restore("img", &["--work-path", "work", "--pid-file", "pid", "--no-pivot"]);
    let numbers = after.wait_for(3);
    assert_eq!(numbers[0], before.last().unwrap() + 1, "{before:?} {numbers:?}");
    let state = place.state();
    assert_eq!(state["status"], "running");
    assert_ne!(state["pid"], first_pid);
    assert_eq!(std::fs::read_to_string(place.scratch.0.join("pid")).unwrap(), state["pid"].to_string());
    // Who joins is in all namespaces of it, and in its group.
    let script =
        "for ns in cgroup ipc mnt net pid time uts; do readlink /proc/self/ns/$ns; done; cat /proc/self/cgroup";
    let joined = place.exec(script);
    let own = place.exec(&script.replace("self", "1"));
    assert_eq!(joined, own);
    assert_eq!(place.exec("tr '\\0' ' ' < /proc/1/cmdline").trim(), format!("sh -c {COUNTER}"));

    // It can be done again, and a paused container can be, too.
    place.ok(&["checkpoint", "--image-path", "again", &place.id]);
    let after = after.end();
    let third = place.restore("again", &[]);
    assert_eq!(third.wait_for(2)[0], after.last().unwrap() + 1);
    place.ok(&["kill", &place.id, "KILL"]);
    assert!(wait_until(5, || place.state()["status"] == "stopped"));
    place.ok(&["delete", &place.id]);
    assert!(place.left().is_empty(), "{:?}", place.left());
}

#[test]
fn one_that_runs_on_and_its_copy_both_count() {
    if !criu_works("one_that_runs_on_and_its_copy_both_count") {
        return;
    }
    let writable = |config: &mut Value| config["root"]["readonly"] = json!(false);
    let place = Place::new("copy", COUNTER, writable);
    let before = place.start();
    place.ok(&["checkpoint", "--leave-running", "--image-path", "img", &place.id]);
    let until = before.numbers().len();
    before.wait_for(until + 3);
    assert_eq!(place.state()["status"], "running");
    // The copy has another name, group, root and streams.
    let copy = Place::new("copied", COUNTER, writable);
    let after = copy.restore(&place.scratch.path("img"), &["--work-path", "work"]);
    let numbers = after.wait_for(3);
    assert!(before.numbers().contains(&numbers[0]), "it counts from the checkpoint on: {numbers:?}");
    copy.exec("touch /here");
    assert!(copy.scratch.0.join("rootfs/here").exists() && !place.scratch.0.join("rootfs/here").exists());
    place.delete_all();
    copy.delete_all();
}

#[test]
fn memory_goes_ahead_in_a_pre_dump() {
    if !criu_works("memory_goes_ahead_in_a_pre_dump") {
        return;
    }
    let place = Place::new("predump", COUNTER, |_| {});
    let before = place.start();
    place.ok(&["checkpoint", "--pre-dump", "--image-path", "first", &place.id]);
    let until = before.numbers().len();
    before.wait_for(until + 2);
    assert!(!place.scratch.0.join("first/descriptors.json").exists(), "a pre-dump is no checkpoint yet");
    place.ok(&["checkpoint", "--pre-dump", "--image-path", "second", "--parent-path", "../first", &place.id]);
    place.ok(&["checkpoint", "--image-path", "img", "--parent-path", "../second", &place.id]);
    let parent = std::fs::read_link(place.scratch.0.join("img/parent")).unwrap();
    assert_eq!(parent.to_str(), Some("../second"));
    let before = before.end();
    let after = place.restore("img", &[]);
    assert_eq!(after.wait_for(2)[0], before.last().unwrap() + 1);
    place.delete_all();
}

#[test]
fn every_mount_comes_back_as_it_was() {
    if !criu_works("every_mount_comes_back_as_it_was") {
        return;
    }
    let volume = Scratch::new("volume");
    volume.file("one", "1", 0o644);
    volume.file("dir/two", "2", 0o644);
    let source = volume.path("");
    let change = |config: &mut Value| {
        config["root"]["readonly"] = json!(true);
        config["linux"]["maskedPaths"] =
            json!(["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi", "/sys/firmware"]);
        config["linux"]["readonlyPaths"] = json!(["/proc/sys", "/proc/bus"]);
        let bind = |place: &str, source: &str, options: &[&str]| json!({ "destination": place, "type": "bind", "source": source, "options": options });
        let more = [
            bind("/volume", &source, &["rbind", "rw"]),
            // criu takes each for a twin of the first.
            bind("/readonly", &source, &["rbind", "ro"]),
            bind("/again", &source, &["bind", "ro", "nosuid", "nodev", "noexec"]),
            bind("/etc/one", &format!("{source}/one"), &["bind", "ro"]),
            bind("/link/two", &format!("{source}/dir/two"), &["bind"]),
            json!({ "destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "nosuid"] }),
            bind("/scratch/in/it", &source, &["bind", "ro"]),
            bind("/volume/dir", &format!("{source}/dir"), &["bind", "ro"]),
        ];
        config["mounts"].as_array_mut().unwrap().extend(more);
    };
    let place = Place::new("mounts", COUNTER, change);
    let link = |rootfs: &Path| std::os::unix::fs::symlink("real", rootfs.join("link")).unwrap();
    link(&place.scratch.0.join("rootfs"));
    std::fs::create_dir(place.scratch.0.join("rootfs/real")).unwrap();
    let before = place.start();
    place.exec("echo kept > /scratch/file; echo kept > /dev/shm/file");
    let mounts = |place: &Place| -> BTreeSet<String> {
        let table = place.exec("cat /proc/1/mountinfo");
        let shown = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let dash = words.iter().position(|word| *word == "-").unwrap();
            // Where, with which flags, of which type. Numbers are new.
            format!("{} {} {}", words[4], words[5], words[dash + 1])
        };
        table.lines().map(shown).collect()
    };
    let was = mounts(&place);
    place.ok(&["checkpoint", "--image-path", "img", &place.id]);
    before.end();

    // In a root that was made anew, and so has no places to mount on.
    std::fs::remove_dir_all(place.scratch.0.join("rootfs")).unwrap();
    copy(busybox_root(), &place.scratch.0.join("rootfs"));
    link(&place.scratch.0.join("rootfs"));
    std::fs::create_dir(place.scratch.0.join("rootfs/real")).unwrap();
    let after = place.restore("img", &[]);
    after.wait_for(2);
    assert_eq!(mounts(&place), was);
    assert_eq!(place.exec("cat /volume/one /readonly/dir/two /etc/one /link/two /scratch/in/it/one"), "12121");
    assert_eq!(place.exec("cat /scratch/file /dev/shm/file"), "kept\nkept\n");
    place.exec("echo new > /volume/new");
    assert_eq!(std::fs::read_to_string(volume.path("new")).unwrap(), "new\n");
    for attack in [
        "echo x > /readonly/x",
        "echo x > /again/x",
        "echo x > /scratch/in/it/x",
        "echo x > /volume/dir/x",
        "echo x > /x",
        "echo x > /proc/sys/kernel/hostname",
        // The masks are the host's null device.
        "chmod 777 /proc/kcore",
        "chmod 777 /proc/keys",
        "chmod 777 /proc/timer_list",
        "echo x > /sys/firmware/x",
    ] {
        let output = place.call(&["exec", &place.id, "sh", "-c", attack]);
        assert!(!output.status.success(), "{attack} is possible");
    }
    place.delete_all();
}

#[test]
fn a_volume_is_found_where_the_new_bundle_has_it() {
    if !criu_works("a_volume_is_found_where_the_new_bundle_has_it") {
        return;
    }
    let volumes = Scratch::new("volumes");
    volumes.file("old/file", "old", 0o644);
    volumes.file("new/file", "new", 0o644);
    let with = |source: String| {
        move |config: &mut Value| {
            let bind = json!({ "destination": "/v", "type": "bind", "source": source, "options": ["bind"] });
            config["mounts"].as_array_mut().unwrap().push(bind);
        }
    };
    let place = Place::new("moved", COUNTER, with(volumes.path("old")));
    let before = place.start();
    place.ok(&["checkpoint", "--image-path", "img", &place.id]);
    before.end();
    place.write_config("config.json", COUNTER, with(volumes.path("new")));
    place.restore("img", &[]).wait_for(1);
    assert_eq!(place.exec("cat /v/file"), "new");
    place.delete_all();
}

/// Waits for a terminal's controlling side at a socket.
struct ConsoleSocket(std::os::unix::net::UnixListener);

impl ConsoleSocket {
    fn take(&self) -> File {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        let (connection, _) = self.0.accept().unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 64];
        recvmsg(&connection, &mut [std::io::IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty()).unwrap();
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        fd.expect("a descriptor comes with it").into()
    }
}

fn read_until(terminal: &mut File, text: &str) -> String {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut seen = String::new();
    while !seen.contains(text) {
        let patience = Timespec { tv_sec: if in_vm() { 60 } else { 10 }, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&*terminal, PollFlags::IN)], Some(&patience)).unwrap();
        assert!(ready > 0, "no {text:?} in {seen:?}");
        let mut bytes = [0; 512];
        let got = terminal.read(&mut bytes).unwrap();
        seen.push_str(&String::from_utf8_lossy(&bytes[..got]));
    }
    seen
}

#[test]
fn a_terminal_goes_to_the_new_console_socket() {
    use std::io::Write;
    if !criu_works("a_terminal_goes_to_the_new_console_socket") {
        return;
    }
    let script = "echo ready; while read -r line; do echo \"<$line>\"; done";
    let place = Place::new("terminal", script, |config| config["process"]["terminal"] = json!(true));
    let socket = ConsoleSocket(std::os::unix::net::UnixListener::bind(place.scratch.0.join("console")).unwrap());
    place.ok(&["run", "--detach", "--bundle", ".", "--console-socket", "console", &place.id]);
    let mut terminal = socket.take();
    read_until(&mut terminal, "ready");
    writeln!(terminal, "one").unwrap();
    read_until(&mut terminal, "<one>");
    place.ok(&["checkpoint", "--image-path", "img", &place.id]);
    drop(terminal);
    let words = ["restore", "--detach", "--bundle", ".", "--image-path", "img", &place.id];
    assert!(place.fails(&words).contains("console socket"));
    place.ok(&[&["restore", "--console-socket", "console"], &words[1..]].concat());
    let mut terminal = socket.take();
    writeln!(terminal, "two").unwrap();
    read_until(&mut terminal, "<two>");
    place.delete_all();
}

#[test]
fn in_the_foreground_its_status_is_the_tools() {
    if !criu_works("in_the_foreground_its_status_is_the_tools") {
        return;
    }
    let script = "echo 1; while ! test -e /go; do sleep 0.1; done; exit 7";
    let place = Place::new("foreground", script, |config| config["root"]["readonly"] = json!(false));
    let mut before = Sink::new(&place.scratch, "before");
    place.writing_to(&mut before, &["run", "--detach", "--bundle", ".", &place.id]);
    before.wait_for(1);
    place.ok(&["checkpoint", "--image-path", "img", &place.id]);
    before.end();
    let mut after = Sink::new(&place.scratch, "after");
    let mut restore = place.command(&["restore", "--bundle", ".", "--image-path", "img", &place.id]);
    let mut restore = restore.stdout(after.pipe()).stderr(place.errors()).spawn().unwrap();
    let running = || place.call(&["state", &place.id]).status.success() && place.state()["status"] == "running";
    assert!(wait_until(20, running));
    std::fs::write(place.scratch.0.join("rootfs/go"), "").unwrap();
    assert_eq!(restore.wait().unwrap().code(), Some(7));
    assert!(place.left().is_empty(), "{:?}", place.left());
}

#[test]
fn a_dump_that_fails_leaves_the_container_running() {
    if !criu_works("a_dump_that_fails_leaves_the_container_running") {
        return;
    }
    // A file without a name that is larger than criu takes along, for as long as there is no /small.
    let open = "exec 9>/big; head -c 2000000 /dev/zero >&9; rm /big";
    let script = format!("{open}; {}", COUNTER.replace("; do ", "; do test -e /small && exec 9>&-; "));
    let place = Place::new("ghost", &script, |config| config["root"]["readonly"] = json!(false));
    let before = place.start();
    let reason = place.fails(&["checkpoint", "--image-path", "img", &place.id]);
    for part in ["criu cannot checkpoint the container", "img/dump.log", "Error", "ghost"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let until = before.numbers().len();
    before.wait_for(until + 3);
    assert_eq!(place.state()["status"], "running");
    place.exec("touch /small");
    let until = before.numbers().len();
    before.wait_for(until + 3);
    place.ok(&["checkpoint", "--image-path", "img", &place.id]);
    let before = before.end();

    // A restore that fails leaves nothing.
    let core = std::fs::read_dir(place.scratch.0.join("img")).unwrap().flatten();
    let core = core.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("/core-")).unwrap();
    let good = std::fs::read(&core).unwrap();
    std::fs::write(&core, &good[..good.len() / 2]).unwrap();
    let words = ["restore", "--detach", "--bundle", ".", "--image-path", "img", &place.id];
    let output = place.command(&words).stdout(Stdio::piped()).stderr(place.errors()).output().unwrap();
    assert!(!output.status.success());
    let reason = std::fs::read_to_string(place.scratch.path("errors")).unwrap();
    std::fs::write(place.scratch.path("errors"), "").unwrap();
    assert!(reason.contains("criu cannot restore the container") && reason.contains("restore.log"), "{reason}");
    assert!(wait_until(3, || place.left().is_empty()), "{:?}", place.left());
    std::fs::write(&core, good).unwrap();
    let after = place.restore("img", &[]);
    assert_eq!(after.wait_for(2)[0], before.last().unwrap() + 1);
    place.delete_all();
}

#[test]
fn a_killed_tool_leaves_a_container_that_runs_or_one_to_delete() {
    let test = "a_killed_tool_leaves_a_container_that_runs_or_one_to_delete";
    let Some(fault) = std::env::var_os("MYCONTAINER_FAULT_BIN") else {
        let why = "MYCONTAINER_FAULT_BIN names no binary that can be made to fail";
        if in_vm() {
            need(test, false, why);
        } else {
            eprintln!("skipped {test}: {why}");
        }
        return;
    };
    if !criu_works(test) {
        return;
    }
    // The id in a word of the program: so that whatever is left of it is found.
    let place = Place::new("killed", "", |_| {});
    place.write_config("config.json", &format!(": {}; {COUNTER}", place.id), |_| {});
    let before = place.start();
    let killed = |wish: &str, words: &[&str]| {
        let mut command = place.command_of(Path::new(&fault), words);
        let status =
            command.env("MYCONTAINER_FAULT", wish).stdout(Stdio::piped()).stderr(place.errors()).status().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{wish}: {status}");
    };
    for wish in ["tool:after:start-criu", "tool:before:dump"] {
        killed(wish, &["checkpoint", "--image-path", "killed", &place.id]);
        let until = before.numbers().len();
        before.wait_for(until + 3);
    }
    place.ok(&["checkpoint", "--image-path", "img", &place.id]);
    before.end();
    for wish in [
        "tool:after:claim-id",
        "tool:after:start-criu",
        "tool:before:prepare-root",
        "tool:after:prepare-mounts",
        "tool:before:record-init",
        "tool:after:record-init",
        "tool:after:restore",
        "tool:before:write-pid-file",
    ] {
        let words = ["restore", "--detach", "--bundle", ".", "--image-path", "img", "--pid-file", "pid", &place.id];
        killed(wish, &words);
        let output = place.call(&["delete", "--force", &place.id]);
        assert!(output.status.success(), "{wish}: {}", stderr(&output));
        assert!(wait_until(3, || place.left().is_empty()), "{wish}: {:?}", place.left());
    }
    // And the images are as good as before.
    place.restore("img", &[]).wait_for(2);
    place.delete_all();
}

/// Writes its argument as one message: printf alone would write one a line.
const ANSWER: &str = r#"fd=$2; answer() { printf "$1" | dd bs=200000 iflag=fullblock status=none >&$fd; }"#;

/// A criu of ours, first in PATH.
fn with_criu(place: &Place, script: &str, words: &[&str]) -> String {
    place.scratch.file("bin/criu", format!("#!/bin/bash\n{ANSWER}\n{script}\n"), 0o755);
    let path = format!("{}:{}", place.scratch.path("bin"), std::env::var("PATH").unwrap());
    let output = place.command(words).env("PATH", path).output().unwrap();
    assert!(!output.status.success(), "{script}");
    stderr(&output)
}

#[test]
fn a_criu_that_fails_or_lies_is_told_of() {
    if !can_run("a_criu_that_fails_or_lies_is_told_of") {
        return;
    }
    let place = Place::new("liar", COUNTER, |_| {});
    let before = place.start();
    // VERSION is asked first, so what a version allows comes after the first answer.
    let version = r"answer '\010\012\020\001\122\006\010\003\020\021\040\001'";
    let second = |answer: &str| {
        let state = place.scratch.path("asked");
        format!("if [ -e {state} ]; then {answer}; else touch {state}; {version}; fi; cat <&$fd >/dev/null")
    };
    let cases = [
        ("exit 1".to_owned(), "ended before it was done"),
        (r"answer '\010\012\020\001\122\006\010\003\020\002\040\001'".into(), "version 3.2"),
        (r"answer '\010\012\020\000'".into(), "does not say which version"),
        (r"answer '\010\012\122\377\377\377\377\017'".into(), "makes no sense"),
        (r"head -c 100000 /dev/zero | dd bs=100000 iflag=fullblock status=none >&$fd".into(), "longer than"),
        (second(r"answer '\010\001\020\000\070\001'"), "Operation not permitted"),
        (second(r"answer '\010\001\020\000\112\003why'"), "why"),
        (second("exit 3"), "ended before it was done"),
        (second(r"answer '\010\006\020\001\052\377\001'"), "makes no sense"),
    ];
    for (script, expected) in cases {
        let _ = std::fs::remove_file(place.scratch.0.join("asked"));
        let reason = with_criu(&place, &script, &["checkpoint", "--image-path", "img", &place.id]);
        assert!(reason.contains(expected) && reason.contains("criu cannot"), "{expected}: {reason}");
        assert_eq!(place.state()["status"], "running", "{script}");
    }
    let until = before.numbers().len();
    before.wait_for(until + 2);

    let copy = Place::new("liars", COUNTER, |_| {});
    let bundle = copy.scratch.path("");
    std::fs::create_dir_all(copy.scratch.0.join("img")).unwrap();
    let words = ["restore", "--detach", "--bundle", &bundle, "--image-path", "img", &copy.id];
    assert!(copy.fails(&words).contains("descriptors.json"));
    copy.scratch.file("img/descriptors.json", "{}", 0o644);
    assert!(copy.fails(&words).contains("descriptors.json"));
    copy.scratch.file("img/descriptors.json", "[\"/dev/null\",\"pipe:[1]\",\"pipe:[2]\"]", 0o644);
    let state = copy.scratch.path("asked");
    let says = format!("if [ -e {state} ]; then exit 1; else touch {state}; {version}; fi");
    let reason = with_criu(&copy, &says, &words);
    assert!(reason.contains("criu cannot restore the container"), "{reason}");
    // It names a process that is not there, and then ends well.
    std::fs::remove_file(&state).unwrap();
    let lie = r"answer '\010\006\020\001\052\023\012\014post-restore\020\377\377\377\007'; sleep 1";
    let says = format!("if [ -e {state} ]; then {lie}; else touch {state}; {version}; fi");
    with_criu(&copy, &says, &words);
    assert!(wait_until(3, || copy.left().is_empty()), "{:?}", copy.left());
    place.delete_all();
}

#[test]
fn wrong_words_are_refused() {
    if !can_run("wrong_words_are_refused") {
        return;
    }
    let place = Place::new("words", COUNTER, |_| {});
    for (words, expected) in [
        (&["checkpoint", "x"][..], "does not exist"),
        (&["checkpoint", "--manage-cgroups-mode", "hard", "x"], "soft, full, strict or ignore"),
        (&["checkpoint", "--page-server", "here", "x"], "ADDRESS:PORT"),
        (&["checkpoint", "--empty-ns", "pid", "x"], "--empty-ns is network"),
        (&["checkpoint", "--status-fd", "77", "x"], "--status-fd 77"),
        (&["restore", "--bundle", "/nonexistent", "x"], "/nonexistent"),
        (&["restore", "--bundle", ".", "--image-path", "nowhere", "x"], "nowhere"),
        (&["restore", "--bundle", ".", "--console-socket", "s", "x"], "process.terminal is not set"),
    ] {
        let reason = place.fails(words);
        assert!(reason.contains(expected), "{words:?}: {reason}");
    }
    // Only what runs can be checkpointed, and no container that CRIU could not bring back.
    place.writing_to(&mut Sink::new(&place.scratch, "sink"), &["create", "--bundle", ".", &place.id]);
    assert!(place.fails(&["checkpoint", &place.id]).contains("created state"));
    place.delete_all();
    let with_users = |config: &mut Value| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        for ids in ["uidMappings", "gidMappings"] {
            config["linux"][ids] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        }
    };
    let place = Place::new("users", COUNTER, with_users);
    let sink = place.start();
    assert!(place.fails(&["checkpoint", &place.id]).contains("user namespace"));
    sink.wait_for(sink.numbers().len() + 2);
    place.delete_all();
}
