//! `events`: what was done to containers, images and volumes, by commands and monitors, then and now.

use crate::common::{kill, wait_until};
use crate::fixtures::guest::{Guest, machine};
use crate::fixtures::has;
use crate::fixtures::image::TestImage;
use crate::fixtures::peers::Peers;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

const FORM: &str = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}";

/// What has happened, with these words to `events`.
fn past(peers: &Peers, words: &[&str]) -> String {
    peers.ours_ok(&[&["events", "--since", "1h", "--until", "0s"], words].concat())
}

#[test]
fn what_happens_is_told_in_dockers_order() {
    if !has("what_happens_is_told_in_dockers_order", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    let told = |filter: &str, expected: &[&str]| {
        let all = past(&peers, &["--format", FORM, "--filter", filter]);
        assert_eq!(all.lines().collect::<Vec<_>>(), expected, "{filter}");
    };
    // In the foreground: no monitor.
    let ended = peers.ours(&["run", "--rm", "--network", "none", "--name", "first", "./layout", "sh", "-c", "exit 3"]);
    assert_eq!(ended.status.code(), Some(3), "{}", crate::common::stderr(&ended));
    told(
        "container=first",
        &["container create first", "container start first", "container die first", "container destroy first"],
    );
    // In the background, stopped, started anew, renamed and removed; the old name is its name then.
    peers.ours_ok(&["run", "-d", "--network", "none", "--name", "second", "-l", "k=v", "./layout", "sleep", "1000"]);
    peers.ours_ok(&["pause", "second"]);
    peers.ours_ok(&["unpause", "second"]);
    peers.ours_ok(&["exec", "second", "true"]);
    peers.ours_ok(&["stop", "-t", "0", "second"]);
    peers.ours_ok(&["restart", "-t", "0", "second"]);
    peers.ours_ok(&["rename", "second", "third"]);
    peers.ours_ok(&["kill", "third"]);
    peers.ours_ok(&["wait", "third"]);
    peers.ours_ok(&["rm", "third"]);
    told(
        "container=second",
        &[
            "container create second",
            "container start second",
            "container pause second",
            "container unpause second",
            "container exec_create: true second",
            "container exec_start: true second",
            "container exec_die second",
            "container kill second",
            "container kill second",
            "container die second",
            "container stop second",
            "container start second",
            "container restart second",
        ],
    );
    told(
        "container=third",
        &["container rename third", "container kill third", "container die third", "container destroy third"],
    );
    told(
        "label=k=v",
        &past(&peers, &["--format", FORM, "-f", "container=second", "-f", "container=third"])
            .lines()
            .collect::<Vec<_>>(),
    );
    // Of one that goes when it ends, with a monitor and a name that the monitor gave it.
    let id = peers.ours_ok(&["run", "-d", "--rm", "--network", "none", "./layout", "true"]);
    assert!(wait_until(10, || past(&peers, &["-f", &format!("container={}", id.trim())]).contains(" destroy ")));
    let of_it = past(&peers, &["--format", "{{.Action}}", "-f", &format!("container={}", id.trim())]);
    assert_eq!(of_it, "create\nstart\ndie\ndestroy\n");
    // Volumes and images.
    peers.ours_ok(&["volume", "create", "data"]);
    peers.ours_ok(&["volume", "rm", "data"]);
    let volumes = past(&peers, &["--format", "{{.Action}} {{.Actor.ID}}", "-f", "type=volume"]);
    assert_eq!(volumes, "create data\ndestroy data\n");
    peers.sh("tar -C /bin -cf root.tar busybox");
    let image = peers.ours_ok(&["import", "root.tar", "mine:1"]).trim().to_owned();
    peers.ours_ok(&["tag", "mine:1", "mine:2"]);
    peers.ours_ok(&["save", "-o", "mine.tar", "mine:1"]);
    peers.ours_ok(&["rmi", "mine:2"]);
    peers.ours_ok(&["rmi", "mine:1"]);
    peers.ours_ok(&["load", "-q", "-i", "mine.tar"]);
    let images = past(&peers, &["--format", "{{.Action}}", "-f", "type=image", "-f", &format!("image={image}")]);
    assert_eq!(images, "import\ntag\nsave\nuntag\nuntag\ndelete\nload\n");
    // The codes and signals that belong to them, and Docker's lines.
    let codes = past(&peers, &["--format", "{{.Actor.Attributes.exitCode}}", "-f", "event=die"]);
    assert_eq!(codes, "3\n137\n137\n0\n");
    let signals = past(&peers, &["--format", "{{.Actor.Attributes.signal}}", "-f", "event=kill"]);
    assert_eq!(signals, "15\n9\n9\n");
    let line = past(&peers, &["-f", "event=destroy", "-f", "container=third"]);
    let rest = line.split_once(' ').unwrap().1;
    assert!(rest.starts_with("container destroy ") && rest.ends_with(" (image=./layout, k=v, name=third)\n"), "{line}");
    let json: serde_json::Value =
        serde_json::from_str(&past(&peers, &["--format", "json", "-f", "event=rename"])).unwrap();
    assert_eq!(json["Actor"]["Attributes"]["oldName"], "/second");
    assert_eq!(
        (&json["Type"], &json["Action"], &json["scope"]),
        (&"container".into(), &"rename".into(), &"local".into())
    );
    let mode = std::fs::metadata(peers.path("state/run/mycontainer/events")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for (code, words) in [
        (125, &["events", "--filter", "daemon=x"][..]),
        (125, &["events", "--since", "yesterday"]),
        (125, &["events", "--format", "{{.Type"]),
        (1, &["events", "--until", "0s", "--format", "{{.Nothing}}"]),
        (125, &["events", "word"]),
    ] {
        peers.ours_fails(code, words);
    }
}

#[test]
fn who_follows_hears_at_once_and_over_a_rotation() {
    if !has("who_follows_hears_at_once_and_over_a_rotation", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    peers.ours_ok(&["volume", "create", "before"]);
    let mut tool = peers
        .ours_command(&["system", "events", "--format", "{{.Action}} {{.Actor.ID}}", "-f", "type=volume"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(tool.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    // It watches when it has asked for that: so long something is made again and again.
    let watches = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", tool.id())).into_iter().flatten().flatten();
        fds.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|to| to.to_string_lossy().contains("/events"))
    };
    assert!(wait_until(10, watches));
    peers.ours_ok(&["volume", "create", "one"]);
    assert_eq!(next(), "create one");
    let events = peers.path("state/run/mycontainer/events");
    let mut all = std::fs::read(&events).unwrap();
    all.resize((1 << 20) - 10, b'\n');
    std::fs::write(&events, &all).unwrap();
    // The first of these fills the file, the others come into the next.
    for name in ["two", "three", "four"] {
        peers.ours_ok(&["volume", "create", name]);
        assert_eq!(next(), format!("create {name}"));
    }
    assert!(events.with_extension("1").exists() && std::fs::metadata(&events).unwrap().len() < 4096);
    kill("TERM", tool.id());
    tool.wait().unwrap();
    let all = past(&peers, &["--format", "{{.Actor.ID}}"]);
    assert_eq!(all, "before\none\ntwo\nthree\nfour\n");
    // It ends by itself when its time has come.
    let begun = std::time::Instant::now();
    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 2;
    assert_eq!(peers.ours_ok(&["events", "--since", "0s", "--until", &soon.to_string()]), "");
    assert!(begun.elapsed().as_millis() >= 900);
}

#[test]
fn the_end_of_what_was_killed_is_told_by_the_next_command() {
    if !has("the_end_of_what_was_killed_is_told_by_the_next_command", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    let mut guest = Guest::start(&peers, "gone", &["--rm"], "./layout", "echo ready; sleep 1000");
    kill("KILL", guest.tool.id());
    guest.end();
    // It looks at every record.
    peers.ours_ok(&["ps"]);
    peers.ours_ok(&["run", "-d", "--network", "none", "--name", "stays", "./layout", "sleep", "1000"]);
    let record = |name: &str| peers.ours_ok(&["inspect", "-f", name, "stays"]).trim().to_owned();
    let id = record("{{.Id}}");
    let said = std::fs::read_to_string(peers.path("state/run/mycontainer/containers").join(&id)).unwrap();
    let news: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    kill("KILL", news["tool_pid"].as_u64().unwrap().try_into().unwrap());
    assert!(wait_until(10, || record("{{.State.Status}}") == "exited"));
    let told = |name: &str| {
        let form = "{{.Action}} {{.Actor.Attributes.exitCode}}";
        past(&peers, &["--format", form, "-f", &format!("container={name}"), "-f", "event=die", "-f", "event=destroy"])
    };
    assert_eq!(told("gone"), "die 137\ndestroy <no value>\n");
    assert_eq!(told("stays"), "die 137\n");
    // That nobody can write it down is no failure.
    let events = peers.path("state/run/mycontainer/events");
    std::fs::remove_file(&events).unwrap();
    std::fs::create_dir(&events).unwrap();
    peers.ours_ok(&["rm", "stays"]);
}
