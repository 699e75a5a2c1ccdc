//! The OCI runtime's verbs, killed before and after every step that `--debug` names; records that are torn, old, or name
//! another's process; configurations that were changed at random. After each, `state` and `list` answer, and
//! `delete --force` leaves nothing.
//!
//! Needs the binary with the feature `fault-injection`: see `faults.rs`.

use crate::bundles::{Place, config, config_in, groups, id_of, in_parallel, push};
use crate::common::faulty::fault_tool;
use crate::common::{can_run, make_busybox_root, user_of_tool, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What is killed: the verbs before it, and its own words. ID, BUNDLE, SOCKET, LIMITS and MOUNTS stand for what they say.
struct Scene {
    config: &'static str,
    before: &'static [&'static str],
    verb: &'static str,
}

const CREATE: &str = "create --bundle BUNDLE --pid-file PID ID";
const SCENES: &[Scene] = &[
    Scene { config: "full", before: &[], verb: CREATE },
    Scene { config: "user", before: &[], verb: CREATE },
    Scene { config: "terminal", before: &[], verb: "create --bundle BUNDLE --console-socket SOCKET ID" },
    Scene { config: "full", before: &[CREATE], verb: "start ID" },
    Scene { config: "short", before: &[], verb: "run --bundle BUNDLE --pid-file PID ID" },
    Scene { config: "full", before: &[], verb: "run --detach --bundle BUNDLE ID" },
    Scene { config: "plain", before: &[CREATE, "start ID"], verb: "exec ID true" },
    Scene { config: "plain", before: &[CREATE, "start ID"], verb: "exec --detach --pid-file PID ID sleep 1000" },
    Scene {
        config: "plain",
        before: &[CREATE, "start ID"],
        verb: "exec --detach --tty --console-socket SOCKET ID sleep 9",
    },
    Scene { config: "user", before: &[CREATE, "start ID"], verb: "exec ID true" },
    Scene { config: "plain", before: &[CREATE, "start ID"], verb: "pause ID" },
    Scene { config: "plain", before: &[CREATE, "start ID", "pause ID"], verb: "resume ID" },
    Scene { config: "plain", before: &[CREATE, "start ID"], verb: "update --memory 64000000 --pids-limit 99 ID" },
    Scene { config: "plain", before: &[CREATE, "start ID"], verb: "kill ID KILL" },
    Scene { config: "plain", before: &[CREATE, "start ID", "pause ID"], verb: "kill ID KILL" },
    Scene { config: "plain", before: &[CREATE, "start ID"], verb: "kill --all ID KILL" },
    Scene { config: "plain", before: &[CREATE, "start ID"], verb: "kill --all ID CONT" },
    Scene { config: "full", before: &[CREATE, "start ID", "kill ID KILL", "WAIT"], verb: "delete ID" },
    Scene { config: "full", before: &[CREATE, "start ID"], verb: "delete --force ID" },
    Scene { config: "plain", before: &[CREATE, "start ID", "pause ID"], verb: "delete --force ID" },
    Scene { config: "plain", before: &[CREATE], verb: "delete --force ID" },
];

/// A place with what the scenes need.
struct Stage {
    place: Place,
    socket: PathBuf,
    _listener: UnixListener,
}

impl Stage {
    fn new(name: &str) -> Stage {
        let place = Place::with_tool(name, fault_tool());
        let socket = place.path("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let accepting = listener.try_clone().unwrap();
        // Holds each connection, and with it the terminal, to the end of the test program.
        std::thread::spawn(move || {
            let mut held = Vec::new();
            accepting.incoming().for_each(|connection| held.push(connection));
        });
        Stage { place, socket, _listener: listener }
    }

    fn config(&self, kind: &str) -> Value {
        let mut config = config(if kind == "short" { &["true"] } else { &["sleep", "1000"] });
        match kind {
            "terminal" => config["process"]["terminal"] = json!(true),
            // A user's has one always.
            "user" if user_of_tool().is_some() => {}
            "user" => {
                push(&mut config, "/linux/namespaces", json!({ "type": "user" }));
                let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
                config["linux"]["uidMappings"] = map.clone();
                config["linux"]["gidMappings"] = map;
            }
            "full" | "short" => {
                let hook = json!([{ "path": "/bin/true" }]);
                config["hooks"] = json!({ "createRuntime": hook, "createContainer": hook, "startContainer": hook,
                    "poststart": hook, "poststop": hook });
                config["linux"]["sysctl"] = json!({ "kernel.msgmax": "9000" });
                if user_of_tool().is_none() {
                    config["linux"]["resources"]["memory"] = json!({ "limit": 100_000_000 });
                    config["linux"]["resources"]["pids"] = json!({ "limit": 100 });
                }
                config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 99, "hard": 99 }]);
                config["process"]["noNewPrivileges"] = json!(true);
                config["process"]["oomScoreAdj"] = json!(100);
                config["root"]["readonly"] = json!(true);
                config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [{ "names": ["keyctl"], "action": "SCMP_ACT_ERRNO" }] });
                push(
                    &mut config,
                    "/mounts",
                    json!({ "destination": "/mnt", "source": "/etc", "options": ["rbind", "ro"] }),
                );
            }
            _ => {}
        }
        config
    }

    /// A scene with this fault, or none: how its verb ended, and the steps it told.
    fn play(
        &self,
        scene: &Scene,
        id: &str,
        bundle: &Path,
        fault: Option<&str>,
        fault_before: bool,
    ) -> (crate::bundles::Done, Vec<Value>) {
        let place = &self.place;
        let log = place.path(&format!("{id}.log"));
        let words = |text: &'static str| -> Vec<String> {
            let flags = ["--debug", "--log", log.to_str().unwrap(), "--log-format", "json"].map(str::to_owned);
            let word = |word: &str| match word {
                "ID" => id.to_owned(),
                "BUNDLE" => bundle.display().to_string(),
                "SOCKET" => self.socket.display().to_string(),
                "PID" => place.path(&format!("{id}.pid")).display().to_string(),
                word => word.to_owned(),
            };
            flags.into_iter().chain(text.split(' ').map(word)).collect()
        };
        let call = |text: &'static str, fault: Option<&str>| {
            let words = words(text);
            let mut command = place.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
            if let Some(fault) = fault {
                command.env("MYCONTAINER_FAULT", fault);
            }
            place.spawn_command(command, &format!("{text} with {fault:?}")).end()
        };
        for before in scene.before {
            if *before == "WAIT" {
                assert!(wait_until(10, || place.status(id).as_deref() == Some("stopped")));
            } else {
                let done = call(before, fault.filter(|_| fault_before));
                // With a fault of its own it may have come to nothing.
                assert!(done.ok() || fault_before, "{before}: {}{}", done.status, done.err);
            }
        }
        let told_before = std::fs::read_to_string(&log).unwrap_or_default().lines().count();
        let done = call(scene.verb, fault.filter(|_| !fault_before));
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines = text.lines().skip(told_before).filter_map(|line| serde_json::from_str(line).ok());
        let steps = lines.filter(|line: &Value| line["step"].is_string()).collect();
        let _ = std::fs::remove_file(&log);
        (done, steps)
    }
}

const STATUSES: [&str; 5] = ["creating", "created", "running", "paused", "stopped"];

/// What is wrong after a fault.
fn complaints(stage: &Stage, what: &str, id: &str) -> Vec<String> {
    let place = &stage.place;
    let mut found = Vec::new();
    let mut sane = |verb: &str, done: crate::bundles::Done| {
        let state: Option<Value> = serde_json::from_str(&done.out).ok();
        let is_state = state.is_some_and(|state| STATUSES.contains(&state["status"].as_str().unwrap_or_default()));
        if !(done.ok() && (verb == "list" || is_state)) && !done.err.contains("does not exist") {
            found.push(format!("{what}: {verb}: {}{}", done.out, done.err));
        }
    };
    sane("state", place.call(&["state", id]));
    sane("list", place.call(&["list"]));
    let deleted = place.call(&["delete", "--force", id]);
    if !deleted.ok() || !deleted.err.is_empty() {
        found.push(format!("{what}: delete --force: {}{}", deleted.status, deleted.err));
    }
    if !wait_until(5, || place.left(id).is_empty()) {
        found.push(format!("{what}: left: {:?}", place.left(id)));
    }
    found
}

/// Kills at every step of these scenes.
fn every_step(name: &str, scenes: &[Scene]) {
    let stage = Stage::new(name);
    let mut faults: Vec<(&Scene, String, bool)> = Vec::new();
    for scene in scenes {
        let config = stage.config(scene.config);
        let id = id_of(&config);
        let bundle = stage.place.bundle(&format!("bundle-{id}"), &config);
        let (done, steps) = stage.play(scene, &id, &bundle, None, false);
        assert!(done.ok(), "{}: {}{}", scene.verb, done.out, done.err);
        assert_eq!(complaints(&stage, "without a fault", &id), Vec::<String>::new());
        let steps: BTreeSet<(String, bool)> =
            steps.iter().map(|step| (step["step"].as_str().unwrap().to_owned(), step["side"] == "container")).collect();
        assert!(!steps.is_empty(), "{} tells no step", scene.verb);
        for (step, in_container) in steps {
            for when in ["before", "after"] {
                faults.push((scene, format!("tool:{when}:{step}"), false));
                if in_container {
                    faults.push((scene, format!("self:{when}:{step}"), false));
                    // What the first process does after create was its own while create's fault was set.
                    if scene.verb.starts_with("start") {
                        faults.push((scene, format!("self:{when}:{step}"), true));
                    }
                }
            }
        }
    }
    let found: Vec<String> = in_parallel(faults.len(), 4, |n| {
        let (scene, fault, early) = &faults[n];
        let config = stage.config(scene.config);
        let id = id_of(&config);
        let bundle = stage.place.bundle(&format!("bundle-{id}"), &config);
        let (done, _) = stage.play(scene, &id, &bundle, Some(fault), *early);
        let what = format!("{fault} in `{}` of {}", scene.verb, scene.config);
        let mut found = complaints(&stage, &what, &id);
        if done.status.code() == Some(1) && !done.err.is_empty() && done.err.matches('\n').count() != 1 {
            found.push(format!("{what}: it says {:?}", done.err));
        }
        let _ = std::fs::remove_dir_all(bundle);
        found
    })
    .concat();
    println!("{} faults", faults.len());
    assert!(found.is_empty(), "{} complaints of {} faults:\n{}", found.len(), faults.len(), found.join("\n"));
    assert_eq!(stage.place.sockets(), 0, "sockets are left");
}

#[test]
fn a_create_killed_at_any_step_leaves_nothing_for_delete_to_miss() {
    if can_run("a_create_killed_at_any_step_leaves_nothing_for_delete_to_miss") {
        every_step("create", &SCENES[..3]);
    }
}

#[test]
fn a_start_or_run_killed_at_any_step_leaves_nothing_for_delete_to_miss() {
    if can_run("a_start_or_run_killed_at_any_step_leaves_nothing_for_delete_to_miss") {
        every_step("start", &SCENES[3..6]);
    }
}

#[test]
fn an_exec_killed_at_any_step_leaves_nothing_for_delete_to_miss() {
    if can_run("an_exec_killed_at_any_step_leaves_nothing_for_delete_to_miss") {
        every_step("exec", &SCENES[6..10]);
    }
}

#[test]
fn the_other_verbs_killed_at_any_step_leave_nothing_for_delete_to_miss() {
    if can_run("the_other_verbs_killed_at_any_step_leave_nothing_for_delete_to_miss") {
        every_step("others", &SCENES[10..]);
    }
}

#[test]
fn a_start_killed_between_its_word_and_the_answer_has_started() {
    if !can_run("a_start_killed_between_its_word_and_the_answer_has_started") {
        return;
    }
    let place = Place::with_tool("answer", fault_tool());
    let config = config(&["sleep", "1000"]);
    let id = id_of(&config);
    let bundle = place.bundle("bundle", &config);
    place.create(&bundle, &id).good();
    let mut start = place.command(&["start", &id]);
    start.env("MYCONTAINER_FAULT", "tool:after:start");
    assert_eq!(place.spawn_command(start, "start").end().status.code(), None);
    assert!(wait_until(10, || place.status(&id).as_deref() == Some("running")));
    assert!(place.call(&["start", &id]).bad().contains("running"));
    place.call(&["exec", &id, "true"]).good();
    place.delete(&id);
    assert_eq!(place.sockets(), 0);
    // And one that was killed before its word can be started again.
    place.create(&bundle, &id).good();
    let mut start = place.command(&["start", &id]);
    start.env("MYCONTAINER_FAULT", "tool:before:start");
    assert_eq!(place.spawn_command(start, "start").end().status.code(), None);
    assert_eq!(place.status(&id).as_deref(), Some("created"));
    place.call(&["start", &id]).good();
    place.delete(&id);
}

#[test]
fn a_first_process_that_is_killed_while_created_is_a_stopped_container() {
    if !can_run("a_first_process_that_is_killed_while_created_is_a_stopped_container") {
        return;
    }
    let place = Place::new("created");
    let config = config(&["sleep", "1000"]);
    let id = id_of(&config);
    let bundle = place.bundle("bundle", &config);
    place.create(&bundle, &id).good();
    let state: Value = serde_json::from_str(&place.call(&["state", &id]).good()).unwrap();
    crate::common::kill("KILL", state["pid"].as_u64().unwrap() as u32);
    assert!(wait_until(10, || place.status(&id).as_deref() == Some("stopped")));
    for verb in [&["start", &id][..], &["kill", &id], &["pause", &id], &["exec", &id, "true"]] {
        let said = place.call(verb).bad();
        assert!(said.contains("stopped") || said.contains("not running"), "{verb:?}: {said}");
    }
    let state: Value = serde_json::from_str(&place.call(&["state", &id]).good()).unwrap();
    assert_eq!(state["pid"], 0);
    place.call(&["delete", &id]).good();
    place.assert_nothing_left(&id);
}

#[test]
fn a_record_that_is_torn_anywhere_is_no_obstacle() {
    if !can_run("a_record_that_is_torn_anywhere_is_no_obstacle") {
        return;
    }
    let place = Place::new("torn");
    let config = config(&["sleep", "1000"]);
    let id = id_of(&config);
    let bundle = place.bundle("bundle", &config);
    place.create(&bundle, &id).good();
    place.call(&["start", &id]).good();
    let record = place.records().join(&id);
    let whole = std::fs::read(&record).unwrap();
    place.delete(&id);
    let tail = whole.len().saturating_sub(150);
    let lengths: Vec<usize> = (0..whole.len()).filter(|n| *n < 40 || *n > tail || n.is_multiple_of(29)).collect();
    in_parallel(lengths.len(), 4, |n| {
        let length = lengths[n];
        let torn = format!("torn-{length}");
        std::fs::write(place.records().join(&torn), &whole[..length]).unwrap();
        assert_eq!(place.status_of_any(&torn).as_deref(), Some("stopped"), "{length}");
        assert!(place.call(&["start", &torn]).bad().contains("torn"), "{length}");
        place.call(&["kill", &torn]).bad();
        let words: &[&str] = if n.is_multiple_of(2) { &["delete", &torn] } else { &["delete", "--force", &torn] };
        let done = place.call(words);
        assert!(done.ok(), "{length}: {}", done.err);
        assert!(!place.records().join(&torn).exists(), "{length}");
    });
    // Garbage beside the good ones: a directory, a pipe, a link, other JSON.
    std::fs::create_dir(place.records().join("directory")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", place.records().join("link")).unwrap();
    assert!(Command::new("mkfifo").arg(place.records().join("pipe")).status().unwrap().success());
    for (name, text) in [("null", "null"), ("list", "[]"), ("number", "7"), ("text", "\"\""), ("object", "{}")] {
        std::fs::write(place.records().join(name), text).unwrap();
    }
    let good = crate::bundles::config(&["sleep", "1000"]);
    let good_id = id_of(&good);
    place.create(&place.bundle("good", &good), &good_id).good();
    let list = place.call(&["list"]);
    assert!(list.ok() && list.out.contains(&good_id), "{}{}", list.out, list.err);
    for name in ["null", "list", "number", "text", "object"] {
        place.call(&["state", name]).good();
        place.call(&["delete", "--force", name]).good();
    }
    for name in ["directory", "link", "pipe"] {
        place.call(&["state", name]).bad();
        place.call(&["delete", "--force", name]).bad();
    }
    assert!(Path::new("/etc/passwd").exists());
    place.delete(&good_id);
}

/// A process that must not be signalled.
struct Sentinel(Child);

impl Sentinel {
    fn new() -> Sentinel {
        Sentinel(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn start_time(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap()
    }

    #[track_caller]
    fn assert_alive(&mut self, what: &str) {
        assert!(self.0.try_wait().unwrap().is_none(), "a stranger was signalled by {what}");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        assert!(!stat.contains(") T "), "a stranger was stopped by {what}");
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The record's values, to be changed.
fn values(record: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(record).unwrap();
    serde_json::Deserializer::from_str(&text).into_iter().map(Result::unwrap).collect()
}

fn write_values(record: &Path, values: &[Value]) {
    std::fs::write(record, values.iter().map(|value| format!("{value}\n")).collect::<String>()).unwrap();
}

/// Every verb that could signal or stop something.
fn all_verbs(id: &str) -> Vec<Vec<&str>> {
    let lines = [
        "kill ID KILL",
        "kill ID 0",
        "kill ID STOP",
        "kill --all ID KILL",
        "kill --all ID STOP",
        "pause ID",
        "resume ID",
        "start ID",
        "exec ID true",
        "update --pids-limit 5 ID",
        "state ID",
        "ps ID",
        "delete ID",
        "delete --force ID",
    ];
    lines.iter().map(|line| line.split(' ').map(|word| if word == "ID" { id } else { word }).collect()).collect()
}

#[test]
fn a_number_that_is_another_process_s_by_now_is_never_signalled() {
    if !can_run("a_number_that_is_another_process_s_by_now_is_never_signalled") {
        return;
    }
    let place = Place::new("reused");
    for (what, other_start, other_boot) in [("another start", true, false), ("another boot", false, true)] {
        for started in [false, true] {
            let mut sentinel = Sentinel::new();
            let config = config(&["sleep", "1000"]);
            let id = id_of(&config);
            let bundle = place.bundle(&format!("bundle-{id}"), &config);
            place.create(&bundle, &id).good();
            let record = place.records().join(&id);
            let mut values = values(&record);
            place.delete(&id);
            let start = sentinel.start_time() - u64::from(other_start);
            let pinned = json!({ "pid": sentinel.0.id(), "start": start });
            if other_boot {
                values[0]["boot"] = json!("00000000-0000-0000-0000-000000000000");
            }
            values[0]["tool"] = pinned.clone();
            let with_init = [&values[..2], &[json!({ "init": pinned }), json!({ "started": started })]].concat();
            for (which, values) in [("init", &with_init[..]), ("tool", &values[..2])] {
                for verb in all_verbs(&id) {
                    write_values(&record, values);
                    let _ = place.call(&verb);
                    sentinel.assert_alive(&format!("{verb:?}, {what} of the {which}"));
                }
                assert!(!record.exists());
                write_values(&record, values);
                assert_eq!(place.status(&id).as_deref(), Some("stopped"), "{what} of the {which}");
                place.delete(&id);
            }
        }
    }
}

#[test]
fn a_record_of_an_earlier_boot_takes_nothing_from_who_has_its_group_now() {
    if !can_run("a_record_of_an_earlier_boot_takes_nothing_from_who_has_its_group_now") {
        return;
    }
    let place = Place::new("boot");
    let living = config(&["sleep", "1000"]);
    let living_id = id_of(&living);
    place.create(&place.bundle("living", &living), &living_id).good();
    place.call(&["start", &living_id]).good();
    let old = config(&["sleep", "1000"]);
    let old_id = id_of(&old);
    place.create(&place.bundle("old", &old), &old_id).good();
    let record = place.records().join(&old_id);
    let mut values = values(&record);
    place.delete(&old_id);
    values[0]["boot"] = json!("00000000-0000-0000-0000-000000000000");
    values[0]["cgroup"] = json!({ "Path": format!("/mycontainer-{living_id}") });
    for verb in all_verbs(&old_id) {
        write_values(&record, &values);
        let done = place.call(&verb);
        let is_stopped = |id: &str| place.status(id).as_deref() != Some("running");
        assert!(!is_stopped(&living_id), "{verb:?} ended another: {}{}", done.out, done.err);
    }
    let _ = std::fs::remove_file(&record);
    place.delete(&living_id);
}

#[test]
fn a_record_that_lost_its_first_process_still_leads_to_the_group() {
    if !can_run("a_record_that_lost_its_first_process_still_leads_to_the_group") {
        return;
    }
    let place = Place::new("lost");
    for keep in ["facts", "facts and garbage", "unreadable configuration"] {
        let config = config(&["sleep", "1000"]);
        let id = id_of(&config);
        place.create(&place.bundle(&format!("bundle-{id}"), &config), &id).good();
        place.call(&["start", &id]).good();
        let record = place.records().join(&id);
        let mut values = values(&record);
        match keep {
            "facts" => values.truncate(2),
            "facts and garbage" => {
                values.truncate(2);
                values.push(json!("garbage"));
            }
            // As by another release.
            _ => values[1] = json!({ "ociVersion": 7 }),
        }
        write_values(&record, &values);
        let _ = place.call(&["state", &id]);
        assert!(place.call(&["list"]).ok(), "{keep}");
        place.delete(&id);
        assert!(groups(&id).is_empty(), "{keep}");
    }
}

/// xorshift: the same configurations every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    fn of(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }
}

fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(k, v)| pointers(v, format!("{at}/{}", k.replace('/', "~1")), found))
        }
        Value::Array(list) => list.iter().enumerate().for_each(|(n, v)| pointers(v, format!("{at}/{n}"), found)),
        _ => {}
    }
    if !at.is_empty() {
        found.push(at);
    }
}

/// Changes one place or two of a configuration.
fn mutate(config: &mut Value, random: &mut Random) {
    for _ in 0..1 + random.of(2) {
        let mut all = Vec::new();
        pointers(config, String::new(), &mut all);
        // The id in annotations and environment is what leftovers are known by; the root must not become another.
        all.retain(|at| !at.starts_with("/annotations") && !at.starts_with("/process/env") && !at.starts_with("/root"));
        let at = all[random.of(all.len())].clone();
        let other = config.pointer(&all[random.of(all.len())]).cloned().unwrap_or_default();
        let (above, name) = at.rsplit_once('/').unwrap();
        let value = match random.of(14) {
            0 => Value::Null,
            1 => json!(""),
            2 => json!("x".repeat(1 + random.of(5000))),
            3 => json!(-1),
            4 => json!(u64::MAX),
            5 => json!(i64::MIN),
            6 => json!(1.5),
            7 => json!([]),
            8 => json!({}),
            9 => json!("a\0b\n"),
            10 => json!("/../../.."),
            11 => json!(random.next() & 0xffff_ffff),
            _ => other,
        };
        match (random.of(4), config.pointer_mut(above)) {
            (0, Some(Value::Object(map))) => drop(map.remove(name)),
            (1, Some(Value::Array(list))) => {
                let copy = list[random.of(list.len())].clone();
                list.push(copy);
            }
            _ => *config.pointer_mut(&at).unwrap() = value,
        }
    }
}

#[test]
fn a_configuration_changed_at_random_makes_a_container_or_nothing() {
    if !can_run("a_configuration_changed_at_random_makes_a_container_or_nothing") {
        return;
    }
    const COUNT: usize = 3000;
    const TIME: Duration = Duration::from_secs(30);
    let stage = Stage::new("random");
    let root = stage.place.path("root");
    make_busybox_root(&root);
    let until = Instant::now() + TIME;
    let (made, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    in_parallel(COUNT, 3, |n| {
        if Instant::now() > until {
            return;
        }
        let kind = ["full", "user", "plain"][n % 3];
        let mut config = stage.config(kind);
        config["root"] = json!({ "path": root });
        let id = id_of(&config);
        mutate(&mut config, &mut Random(0x9e37_79b9_7f4a_7c15 ^ (n as u64 + 1)));
        let bundle = stage.place.bundle(&format!("bundle-{id}"), &config);
        let done = stage.place.create(&bundle, &id);
        if done.ok() {
            made.fetch_add(1, Ordering::Relaxed);
            let deleted = stage.place.call(&["delete", "--force", &id]);
            assert!(deleted.ok(), "{n}: {}\n{config}", deleted.err);
        } else {
            refused.fetch_add(1, Ordering::Relaxed);
            assert_eq!(done.status.code(), Some(1), "{n}: {} {}\n{config}", done.status, done.err);
            crate::bundles::assert_one_line(&done.err);
        }
        assert!(!stage.place.records().join(&id).exists() && groups(&id).is_empty(), "{n}: {config}");
        std::fs::remove_dir_all(bundle).unwrap();
    });
    let (made, refused) = (made.into_inner(), refused.into_inner());
    println!("{made} made, {refused} refused");
    assert!(made > 20 && refused > 20, "{made} made, {refused} refused");
    let prefix = format!("mctest-hostile-{}-", std::process::id());
    let left = || stage.place.left(&prefix).into_iter().filter(|what| what.starts_with("process")).collect::<Vec<_>>();
    // Other tests of this program run at the same time; what stays is what nobody ends.
    assert_eq!(stage.place.sockets(), 0);
    let _ = config_in(&root, &[]);
    println!("{} processes of this program's containers", left().len());
}

impl Place {
    /// As [`Place::status`], of a record that may not know its id.
    fn status_of_any(&self, id: &str) -> Option<String> {
        let state: Value = serde_json::from_str(&self.call(&["state", id]).good()).unwrap();
        state["status"].as_str().map(str::to_owned)
    }
}
