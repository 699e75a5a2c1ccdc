//! `ps`: what runs and what was created, as Docker lists it, at once however many there are.

use crate::fixtures::guest::{Guest, machine, pause};
use crate::fixtures::has;
use crate::fixtures::image::TestImage;
use crate::fixtures::peers::Peers;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn image() -> TestImage {
    TestImage::busybox().label("of", "image").port("80/tcp").port("53/udp")
}

/// A container that was created, by hand: its record.
fn by_hand(peers: &Peers, id: &str, name: &str, created: &str) {
    let dir = peers.ours_dir().join("containers").join(id);
    std::fs::create_dir_all(&dir).unwrap();
    let record = json!({
        "id": id, "name": name, "root": "alpine:3", "kind": "image", "image": format!("sha256:{}", "a".repeat(64)),
        "image_name": "docker.io/library/alpine:3", "command": ["sh", "-c", "echo hello to everybody"],
        "labels": { "n": name }, "created": created,
        "config": { "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"], "Labels": { "n": name } },
    });
    std::fs::write(dir.join("created.json"), serde_json::to_vec_pretty(&record).unwrap()).unwrap();
}

fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

#[test]
fn the_table_is_dockers() {
    if !has("the_table_is_dockers", &[]) {
        return;
    }
    let peers = machine(image());
    let headings = "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n";
    for words in [&["ps"][..], &["ps", "-a"], &["container", "ls"], &["container", "list", "--format", "table"]] {
        assert_eq!(peers.ours_ok(words), headings, "{words:?}");
    }
    by_hand(&peers, &id('a'), "old", "2020-01-31T12:00:00.500000000Z");
    by_hand(&peers, &id('b'), "new", "2021-01-31T12:00:00.000000000Z");
    assert_eq!(peers.ours_ok(&["ps"]), headings);
    let table = peers.ours_ok(&["container", "ps", "--all"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("CONTAINER ID   IMAGE      COMMAND                  CREATED "), "{table}");
    assert!(
        lines[1].starts_with("bbbbbbbbbbbb   alpine:3   \"sh -c 'echo hello t…\"   ")
            && lines[1].ends_with("   Created             new")
            && lines[1].contains(" years ago  "),
        "{table}"
    );
    assert!(lines[2].starts_with("aaaaaaaaaaaa ") && lines[2].ends_with(" old"), "{table}");
    for (words, expected) in [
        (&["-aq"][..], "bbbbbbbbbbbb\naaaaaaaaaaaa\n".to_owned()),
        (&["-aq", "--no-trunc"], format!("{}\n{}\n", id('b'), id('a'))),
        (&["-l", "--format", "{{.Names}}"], "new\n".into()),
        (&["-n", "1", "--format", "{{.Names}}"], "new\n".into()),
        (
            &["-n", "5", "--format", "{{.Names}} {{.CreatedAt}}"],
            "new 2021-01-31 12:00:00 +0000 UTC\nold 2020-01-31 12:00:00 +0000 UTC\n".into(),
        ),
        (&["-n", "-1", "--format", "{{.Names}}"], String::new()),
        (
            &["-a", "--no-trunc", "--format", "{{.Command}}", "-f", "name=old"],
            "\"sh -c 'echo hello to everybody'\"\n".into(),
        ),
        (
            &["-a", "--format", "{{.Label \"n\"}} {{.Labels}} {{.State}} {{.Status}}{{.Ports}}", "-f", "name=^/ol"],
            "old n=old created Created\n".into(),
        ),
        (&["-aq", "-f", "id=aaaa"], "aaaaaaaaaaaa\n".into()),
        (&["-aq", "-f", "id=aaaab"], String::new()),
        (&["-aq", "-f", "label=n"], "bbbbbbbbbbbb\naaaaaaaaaaaa\n".into()),
        (&["-aq", "-f", "label=n=old"], "aaaaaaaaaaaa\n".into()),
        (&["-aq", "-f", "label=n=old", "-f", "label=n=new"], String::new()),
        (&["-aq", "-f", "name=old", "-f", "name=new"], "bbbbbbbbbbbb\naaaaaaaaaaaa\n".into()),
        (&["-aq", "-f", "name=ne", "-f", "label=n=old"], String::new()),
        (&["-q", "-f", "status=created"], "bbbbbbbbbbbb\naaaaaaaaaaaa\n".into()),
        (&["-aq", "-f", "status=running"], String::new()),
        (&["-aq", "-f", "status=exited"], String::new()),
        (&["-aq", "-f", "exited=0"], String::new()),
        (&["-aq", "-f", "before=new"], "aaaaaaaaaaaa\n".into()),
        (&["-aq", "-f", "since=old"], "bbbbbbbbbbbb\n".into()),
        (&["-q", "-f", "since=old"], String::new()),
        (&["-aq", "-f", "ancestor=alpine:3"], "bbbbbbbbbbbb\naaaaaaaaaaaa\n".into()),
        (&["-aq", "-f", "ancestor=busybox"], String::new()),
    ] {
        assert_eq!(peers.ours_ok(&[&["ps"], words].concat()), expected, "{words:?}");
    }
    let line: Value = serde_json::from_str(&peers.ours_ok(&["ps", "-l", "--format", "json"])).unwrap();
    for (field, expected) in
        [("ID", "bbbbbbbbbbbb"), ("Image", "alpine:3"), ("Names", "new"), ("State", "created"), ("Status", "Created")]
    {
        assert_eq!(line[field], expected, "{line}");
    }
    for (code, words, said) in [
        (1, &["--format", "{{.Nonsense}}"][..], "Nonsense"),
        (125, &["--sort", "colour"], "they are sorted by command, created, id"),
        (125, &["-f", "status=asleep"], "a status is one of"),
        (125, &["-f", "exited=soon"], "after exited= stands an exit code"),
        (125, &["-f", "colour=red"], "the keys are"),
        (125, &["-f", "name=["], "-f \"[\""),
        (125, &["-n", "x"], "it is no number"),
        (125, &["x"], "ps takes no words"),
        (1, &["-f", "before=nothing"], "there is no container \"nothing\""),
    ] {
        let told = peers.ours_fails(code, &[&["ps", "-a"], words].concat());
        assert!(told.contains(said), "{words:?}: {told}");
    }
}

#[test]
fn what_runs_is_shown_while_it_runs() {
    if !has("what_runs_is_shown_while_it_runs", &[]) {
        return;
    }
    let peers = machine(image());
    peers.ours_ok(&["create", "--name", "made", "./layout"]);
    let mut guest = Guest::start(
        &peers,
        "runs",
        &["-l", "a=b", "-v", "/usr/share:/a/place"],
        "./layout",
        "echo ready; read x; sleep 1000",
    );
    pause(1100);
    let format = "{{.Names}} {{.Image}} {{.State}} {{.Status}} {{.RunningFor}} {{.Networks}} {{.Mounts}} {{.Labels}}";
    let shown = peers.ours_ok(&["ps", "--format", format]);
    let second = |n: u8| {
        let s = if n == 1 { "" } else { "s" };
        format!("runs ./layout running Up {n} second{s} {n} second{s} ago none /usr/share a=b,of=image\n")
    };
    assert!((1..5).any(|n| shown == second(n)), "{shown}");
    assert_eq!(peers.ours_ok(&["ps", "--format", "{{.Command}}"]), "\"sh -c 'echo ready; …\"\n");
    assert_eq!(peers.ours_ok(&["ps", "-a", "--format", "{{.Names}}"]), "runs\nmade\n");
    assert_eq!(peers.ours_ok(&["ps", "-a", "--format", "{{.Names}}", "-f", "status=running"]), "runs\n");
    assert_eq!(peers.ours_ok(&["ps", "-a", "--format", "{{.Names}}", "-f", "since=made"]), "runs\n");
    let image = image().id();
    assert_eq!(
        peers.ours_ok(&["ps", "--format", "{{.Names}}", "-f", &format!("ancestor={}", &image[7..19])]),
        "runs\n"
    );
    let ids = peers.ours_ok(&["ps", "-q", "--no-trunc"]);
    assert_eq!(peers.names("run/mycontainer/containers"), [ids.trim_end()]);
    // Its tool is killed: it is not shown, and what it left is gone.
    let _ = guest.tool.kill();
    let _ = guest.tool.wait();
    assert_eq!(peers.ours_ok(&["ps", "-q"]), "");
    assert_eq!(peers.names("run/mycontainer/containers"), [""; 0]);
    peers.ours_fails(1, &["rm", "-f", "runs"]);
}

#[test]
fn how_much_was_written_is_shown_where_it_is_asked_for() {
    if !has("how_much_was_written_is_shown_where_it_is_asked_for", &[]) {
        return;
    }
    let peers = machine(image());
    // The others are no files of its own: a link out of it, a volume, /dev and what it has of its image.
    let script = "head -c 123456 /dev/zero >/file; ln /file /again; ln -s /bin/busybox /link; rm /etc/passwd; \
                  mkdir -p /a/b; echo 12345 >/a/b/c; head -c 999999 /dev/zero >/out/x; head -c 9999 /dev/zero >/dev/shm/x";
    let dir = peers.path("out");
    std::fs::create_dir(&dir).unwrap();
    let volume = format!("{}:/out", dir.display());
    let flags = ["run", "--network", "none", "-v", &volume, "--name"];
    peers.ours_ok(&[&flags[..], &["writes", "./layout", "sh", "-c", script]].concat());
    peers.ours_ok(&["create", "--name", "made", "./layout"]);
    let all = |words: &[&str]| peers.ours_ok(&[&["ps", "-a"], words].concat());
    let table = all(&["-s"]);
    assert!(table.lines().next().unwrap().ends_with("NAMES     SIZE"), "{table}");
    // The file, what the link says, and what is in the third.
    assert!(table.contains("writes    123kB (virtual "), "{table}");
    assert!(table.contains("made      0B (virtual "), "{table}");
    assert!(!all(&[]).contains("virtual") && !all(&["--format", "json"]).contains("Size"));
    let bytes = |line: &str| line.strip_prefix("123kB (virtual ").is_some_and(|rest| rest.ends_with("MB)"));
    let line = all(&["--format", "{{.Size}}", "-f", "name=writes"]);
    assert!(bytes(line.trim_end()), "{line}");
    let json: Value = serde_json::from_str(&all(&["-s", "--format", "json", "-f", "name=writes"])).unwrap();
    assert!(bytes(json["Size"].as_str().unwrap()), "{json}");
    assert_eq!(all(&["-sq", "-f", "name=made"]).trim_end().len(), 12);
    for (sort, expected) in [
        ("created", "writes made"),
        ("names", "made writes"),
        ("size", "made writes"),
        ("status", "made writes"),
        ("runningfor", "writes made"),
        ("image", "made writes"),
        ("command", "made writes"),
    ] {
        let shown = all(&["--sort", sort, "--format", "{{.Names}}"]);
        assert_eq!(shown.trim_end().replace('\n', " "), expected, "{sort}");
    }
    let mut ids: Vec<String> = all(&["-q"]).lines().map(str::to_owned).collect();
    ids.sort();
    assert_eq!(all(&["-q", "--sort", "id"]).lines().collect::<Vec<_>>(), ids);
    // Of a directory there is no image.
    let root = crate::common::busybox_root().to_str().unwrap();
    peers.ours_ok(&["create", "--name", "plain", root]);
    assert_eq!(all(&["--format", "{{.Size}}", "-f", "name=plain"]), "0B\n");
}

#[test]
fn a_thousand_are_listed_at_once() {
    if !has("a_thousand_are_listed_at_once", &[]) {
        return;
    }
    let peers = machine(image());
    for n in 0..1000 {
        by_hand(&peers, &format!("{n:064x}"), &format!("c{n}"), &format!("2021-01-31T12:00:00.{n:09}Z"));
    }
    let time = || {
        // Inside of the machine, so that only the tool is timed.
        let begun = peers.sh(&format!(
            "for n in 1 2 3 4 5 6 7; do a=$(date +%s%N); {} ps -a >out; b=$(date +%s%N); echo $((b - a)); done",
            crate::common::tool()
        ));
        let times = begun.lines().map(|line| Duration::from_nanos(line.parse().unwrap()));
        times.min().unwrap()
    };
    let begun = Instant::now();
    let best = time();
    eprintln!("ps -a of 1000: {best:?} (all of it: {:?})", begun.elapsed());
    assert_eq!(std::fs::read_to_string(peers.path("out")).unwrap().lines().count(), 1001);
    let bound = if crate::common::in_vm() || cfg!(debug_assertions) { 1000 } else { 50 };
    assert!(best < Duration::from_millis(bound), "{best:?}");
}
