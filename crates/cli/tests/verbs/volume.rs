//! Volumes: kept, filled, shared, listed, removed; with containers that use them.

use crate::common::{code, stderr, stdout};
use crate::fixtures::guest::{Guest, machine};
use crate::fixtures::has;
use crate::fixtures::image::{Layer, TestImage};
use crate::fixtures::peers::Peers;
use serde_json::{Value, json};

/// An image with a directory of its own, to begin volumes with.
fn image() -> TestImage {
    TestImage::busybox()
        .layer(Layer::new().dir("data", 0o750).file("data/first", "the image's\n", 0o600).symlink("data/link", "first"))
}

fn place(name: &str) -> Option<Peers> {
    has(name, &[]).then(|| machine(image()))
}

/// `run --network none FLAGS ./layout sh -c SCRIPT`, which must end with 0.
#[track_caller]
fn run(peers: &Peers, flags: &[&str], script: &str) -> String {
    peers.ours_run(&[flags, &["./layout", "sh", "-c", script]].concat())
}

const LOOK: &str = "stat -c %a /data; cat /data/*";

#[test]
fn what_is_in_it_stays() {
    let Some(peers) = place("what_is_in_it_stays") else { return };
    // A new one begins as what the image has there, and is the container's own from then on.
    assert_eq!(run(&peers, &["-v", "vol:/data"], LOOK), "750\nthe image's\nthe image's\n");
    run(
        &peers,
        &["-v", "vol:/data"],
        "echo changed >/data/first; mkdir /data/dir; echo in >/data/dir/in; rm /data/link",
    );
    assert_eq!(
        run(&peers, &["-v", "vol:/data"], "cat /data/first /data/dir/in; ls /data"),
        "changed\nin\ndir\nfirst\n"
    );
    // Elsewhere, where the image has nothing; by --mount; read-only; a part of it.
    assert_eq!(run(&peers, &["-v", "vol:/new/place"], "cat /new/place/first"), "changed\n");
    let script = "cat /m/first; echo x >/m/y";
    let said = peers.ours(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--mount",
        "src=vol,dst=/m,ro",
        "./layout",
        "sh",
        "-c",
        script,
    ]);
    assert!(stdout(&said) == "changed\n" && stderr(&said).contains("Read-only"), "{}", stderr(&said));
    assert_eq!(run(&peers, &["--mount", "type=volume,src=vol,dst=/m,volume-subpath=dir"], "ls /m"), "in\n");
    assert_eq!(run(&peers, &["-v", "vol:/data:ro"], "cat /data/first"), "changed\n");
    // An empty one stays so only when that is asked for.
    peers.ours_ok(&["volume", "create", "empty"]);
    assert_eq!(run(&peers, &["-v", "empty:/data:nocopy"], "ls -A /data"), "");
    assert_eq!(run(&peers, &["--mount", "src=empty,dst=/data,volume-nocopy"], "ls -A /data"), "");
    assert_eq!(run(&peers, &["-v", "empty:/data"], "ls -A /data"), "first\nlink\n");
    // One without a name goes with its container.
    assert_eq!(run(&peers, &["-v", "/data", "--mount", "dst=/other"], "ls /data; touch /other/x"), "first\nlink\n");
    assert_eq!(peers.ours_ok(&["volume", "ls", "-q"]), "empty\nvol\n");
    assert_eq!(peers.sh("ls /var/lib/mycontainer/containers"), "");
    // A directory as the root can have volumes, too.
    peers.sh("mkdir -p root/bin; cp $(command -v busybox) root/bin/sh");
    assert_eq!(
        peers.ours_run(&["-v", "vol:/data", "-v", "/anonymous", "./root", "sh", "-c", "read a </data/first; echo $a"]),
        "changed\n"
    );
}

#[test]
fn a_part_is_in_the_volume() {
    let Some(peers) = place("a_part_is_in_the_volume") else { return };
    peers.sh("echo secret >outside");
    let outside = peers.path("outside").display().to_string();
    let script = format!(
        "ln -s {outside} /v/file; ln -s / /v/root; ln -s ../../../../../.. /v/up; mkdir /v/in; ln -s in /v/own; echo in >/v/in/x"
    );
    run(&peers, &["-v", "vol:/v"], &script);
    for (part, expected) in [
        ("in", Some("x\n")),
        ("own", Some("x\n")),
        ("up/in", Some("x\n")),
        ("../in", Some("x\n")),
        ("file", None),
        ("none", None),
    ] {
        let mount = format!("src=vol,dst=/m,volume-subpath={part}");
        let ran = peers.ours(&[
            "run",
            "--rm",
            "--network",
            "none",
            "--mount",
            &mount,
            "./layout",
            "sh",
            "-c",
            "ls /m; cat /m",
        ]);
        let all = stdout(&ran) + &stderr(&ran);
        assert!(!all.contains("secret"), "{part}: {all}");
        assert_eq!(
            (ran.status.code() == Some(125), stdout(&ran)),
            (expected.is_none(), expected.unwrap_or_default().into()),
            "{part}: {all}"
        );
    }
    // Whatever is above the volume, nothing of the host is seen.
    assert_eq!(run(&peers, &["--mount", "src=vol,dst=/m,volume-subpath=root"], "ls /m"), "file\nin\nown\nroot\nup\n");
}

#[test]
fn one_that_is_used_is_not_removed() {
    let Some(peers) = place("one_that_is_used_is_not_removed") else { return };
    let refused = |name: &str, user: &str| {
        let output = peers.ours(&["volume", "rm", "-f", name]);
        let said = stderr(&output);
        assert!(code(output.status) == 1 && said.contains("is used by container") && said.contains(user), "{said}");
        assert!(!peers.ours_ok(&["volume", "prune", "-a", "-f"]).contains(name));
    };
    let mut guest = Guest::start(&peers, "runs", &["-v", "vol:/v"], "./layout", "echo ready; sleep 1000");
    refused("vol", "runs");
    assert_eq!(peers.ours_ok(&["volume", "ls", "-q", "-f", "dangling=true"]), "");
    let _ = guest.tool.kill();
    guest.end();
    peers.ours_ok(&["volume", "create", "other"]);
    assert_eq!(peers.ours_ok(&["volume", "ls", "-q", "-f", "dangling=1"]), "other\nvol\n");
    assert_eq!(peers.ours_ok(&["volume", "rm", "other", "vol"]), "other\nvol\n");
    assert_eq!(peers.sh("ls -A /var/lib/mycontainer/volumes"), ".lock\n");
}

#[test]
fn what_is_said_of_them() {
    let Some(peers) = place("what_is_said_of_them") else { return };
    assert_eq!(peers.ours_ok(&["volume", "ls"]), "DRIVER    VOLUME NAME\n");
    assert_eq!(peers.ours_ok(&["volume", "create", "--label", "a=b", "--label", "c", "one"]), "one\n");
    assert_eq!(peers.ours_ok(&["volume", "create", "-d", "local", "one"]), "one\n", "it is there already");
    assert_eq!(peers.ours_ok(&["volume", "create", "--name", "two"]), "two\n");
    let unnamed = peers.ours_ok(&["volume", "create"]);
    assert!(unnamed.trim().len() == 64, "{unnamed}");
    let listed = peers.ours_ok(&["volume", "list"]);
    assert!(listed.starts_with("DRIVER    VOLUME NAME\n") && listed.contains("\nlocal     one\n"), "{listed}");
    for (filter, expected) in [("label=a=b", "one\n"), ("label!=c", "two\n"), ("name=tw", "two\n"), ("driver=nfs", "")]
    {
        let names = peers.ours_ok(&["volume", "ls", "-q", "-f", filter, "-f", "label!=com.docker.volume.anonymous"]);
        assert_eq!(names, expected, "{filter}");
    }
    let format = "{{.Name}} {{.Scope}} {{.Label \"a\"}} {{.Labels}} {{.Mountpoint}}";
    let line = peers.ours_ok(&["volume", "ls", "-f", "name=one", "--format", format]);
    assert_eq!(line, "one local b a=b,c= /var/lib/mycontainer/volumes/one/_data\n");
    let shown: Value = serde_json::from_str(&peers.ours_ok(&["volume", "inspect", "one", "two"])).unwrap();
    assert_eq!(shown[0]["Labels"], json!({ "a": "b", "c": "" }));
    assert_eq!((&shown[0]["Name"], &shown[1]["Labels"]), (&json!("one"), &Value::Null));
    assert_eq!(
        peers.ours_ok(&["volume", "inspect", "-f", "{{.Driver}} {{.Mountpoint}}", "two"]),
        "local /var/lib/mycontainer/volumes/two/_data\n"
    );
    run(&peers, &["-v", "two:/v"], "head -c 100000 /dev/zero >/v/zeros");
    let df = peers.ours_ok(&["system", "df", "--format", "{{.Type}}: {{.TotalCount}} {{.Active}}"]);
    assert!(df.ends_with("Local Volumes: 3 0\n"), "{df}");
    // A name as any other.
    peers.ours_ok(&["volume", "create", "lock"]);
    assert_eq!(peers.ours_ok(&["volume", "ls", "-q", "-f", "name=lock"]), "lock\n");
    peers.ours_ok(&["volume", "rm", "lock"]);
    // By itself only those that nobody named.
    let pruned = peers.ours_ok(&["volume", "prune", "-f"]);
    assert!(pruned.starts_with(&format!("Deleted Volumes:\n{unnamed}\nTotal reclaimed space: ")), "{pruned}");
    assert_eq!(peers.ours_ok(&["volume", "prune", "-a", "-f", "--filter", "label=a"]).lines().nth(1), Some("one"));
    peers.ours_ok(&["volume", "create"]);
    assert!(peers.ours_ok(&["system", "prune", "-f", "--volumes"]).contains("Deleted Volumes:\n"));
    assert_eq!(peers.ours_ok(&["volume", "ls", "-q"]), "two\n");

    for (words, expected, why) in [
        (&["volume", "inspect", "none"][..], 1, "there is no volume \"none\""),
        (&["volume", "rm", "none"], 1, "there is no volume"),
        (&["volume", "rm", "../lock"], 1, "there is no volume"),
        (&["volume", "create", "a/b"], 1, "a name is"),
        (&["volume", "create", "lock", "x"], 125, "volume create"),
        (&["volume", "create", "-d", "nfs"], 125, "only driver"),
        (&["volume", "ls", "-f", "wat=1"], 125, "dangling"),
        (&["volume", "ls", "--format", "{{.Wat}}"], 1, "Wat"),
        (&["run", "-v", "x:/v", "./layout"], 125, "name of a volume"),
        (&["run", "-v", "vol:/v:W", "./layout"], 125, "is not known"),
    ] {
        let output = peers.ours(words);
        assert!(code(output.status) == expected && stderr(&output).contains(why), "{words:?}: {}", stderr(&output));
    }
    assert_eq!(code(peers.ours(&["volume", "rm", "-f", "none"]).status), 0);
}

#[test]
fn what_a_kill_left_is_not_taken_for_one() {
    let Some(peers) = place("what_a_kill_left_is_not_taken_for_one") else { return };
    // A removal, and a making, that did not get to their ends.
    peers.ours_ok(&["volume", "create", "first"]);
    peers.sh("cd /var/lib/mycontainer/volumes; mkdir -p gone/_data half; echo old >gone/_data/old; echo '{' >half/volume.json.new");
    assert_eq!(peers.ours_ok(&["volume", "ls", "-q"]), "first\n");
    assert!(stderr(&peers.ours(&["volume", "inspect", "gone"])).contains("there is no volume"));
    assert_eq!(run(&peers, &["-v", "gone:/v"], "ls -A /v"), "");
    peers.ours_ok(&["volume", "prune", "-f"]);
    assert_eq!(peers.sh("ls /var/lib/mycontainer/volumes"), "first\ngone\n");
}

#[test]
fn many_containers_begin_one() {
    let Some(peers) = place("many_containers_begin_one") else { return };
    peers.ours_ok(&["load", "-q", "-i", "layout"]);
    let script = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do
            $0 run --rm --network none -v shared:/data ./layout sh -c \"cat /data/first; touch /data/$n\" >out.$n 2>&1 &
        done; wait; cat out.*";
    let said = peers.ok(&["sh", "-ec", script, crate::common::tool()]);
    assert_eq!(said, "the image's\n".repeat(12));
    assert_eq!(run(&peers, &["-v", "shared:/data"], "ls /data | wc -l"), "14\n");
}
