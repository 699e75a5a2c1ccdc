//! `create` and `rm`: containers that stay, whatever happens, and go when they are told to.

use crate::common::{has_one_id, stderr, stdout};
use crate::fixtures::guest::{Guest, machine};
use crate::fixtures::has;
use crate::fixtures::image::TestImage;
use serde_json::{Value, json};
use std::process::Stdio;

/// Of the image.
fn user() -> &'static str {
    if has_one_id() { "root" } else { "ann" }
}

fn image() -> TestImage {
    TestImage::busybox().env("A=image").env("B=image").user(user()).label("of", "image").working_dir("/tmp")
}

fn record(peers: &crate::fixtures::peers::Peers, id: &str) -> Value {
    let path = peers.ours_dir().join("containers").join(id).join("created.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_container_stays_until_it_is_removed() {
    if !has("a_container_stays_until_it_is_removed", &[]) {
        return;
    }
    let peers = machine(image());
    let flags = ["create", "-q", "--name", "one", "-l", "a=b", "-e", "B=own", "-w", "/srv", "--cidfile", "cid"];
    let id = peers.ours_ok(&[&flags[..], &["./layout", "echo", "hi"]].concat());
    let id = id.trim_end().to_owned();
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert_eq!(std::fs::read_to_string(peers.path("cid")).unwrap(), id);
    let facts = record(&peers, &id);
    let manifest = image().digest();
    for (pointer, expected) in [
        ("/id", json!(id)),
        ("/name", json!("one")),
        ("/root", json!("./layout")),
        ("/image", json!(manifest)),
        ("/command", json!(["echo", "hi"])),
        ("/labels", json!({ "of": "image", "a": "b" })),
        ("/config/Env", json!(["PATH=/usr/bin:/bin", "A=image", "B=own"])),
        ("/config/User", json!(user())),
        ("/config/WorkingDir", json!("/srv")),
    ] {
        assert_eq!(facts.pointer(pointer), Some(&expected), "{pointer} of {facts:#}");
    }
    // It has nothing that a new start of the machine could take, but the tale of how it was made.
    assert_eq!(peers.names("run/mycontainer"), ["events"]);
    peers.ours_run(&["./layout", "true"]);
    peers.only_whole(std::slice::from_ref(&id));
    for words in
        [&["create", "--name", "one", "./layout"][..], &["run", "--network", "none", "--name", "one", "./layout"]]
    {
        let said = peers.ours_fails(125, words);
        assert!(said.contains(&format!("the name \"one\" is in use by container {}", &id[..8])), "{said}");
    }
    let said = peers.ours_fails(125, &["create", "--cidfile", "cid", "./layout"]);
    assert!(said.contains("cannot write the id to cid: "), "{said}");
    peers.only_whole(std::slice::from_ref(&id));
    let other = peers.ours_ok(&["create", "./layout"]).trim_end().to_owned();
    assert_eq!(record(&peers, &other)["command"], json!(["sh"]));
    for words in [&id[..10], "one", &id] {
        let said = peers.ours_fails(1, &["rm", "nothing", "", words, words]);
        assert_eq!(said.matches("there is no container").count(), 3, "{said}");
        peers.only_whole(std::slice::from_ref(&other));
        let again = peers.ours_ok(&["container", "create", "--name", "one", "./layout"]);
        peers.ours_ok(&["container", "rm", again.trim_end()]);
        // For the next round the same container is made again, by hand.
        let dir = peers.ours_dir().join("containers").join(&id);
        std::fs::create_dir_all(dir.join("upper")).unwrap();
        std::fs::write(dir.join("created.json"), facts.to_string()).unwrap();
    }
    peers.ours_ok(&["rm", "-f", "one", &other]);
    peers.only_whole(&[]);
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    if !has("what_cannot_be_honoured_is_refused", &[]) {
        return;
    }
    let peers = machine(image());
    for (words, said) in [
        (&["--rm", "--restart", "always", "./layout"][..], "--restart cannot be used with --rm"),
        (&["-d", "./layout"], "create has no flag -d as yet"),
        (&["-a", "stdout", "./layout"], "create has no flag -a as yet"),
        (&["-v", "/no/such/place:/b", "./layout"], "cannot use the volume /no/such/place"),
        (&["--restart", "sometimes", "./layout"], "it is one of no, on-failure[:N], always and unless-stopped"),
        (&["--stop-signal", "NONSENSE", "./layout"], "there is no such signal"),
        (&["--memory-swap", "1m", "./layout"], "--memory-swap needs --memory beside it"),
        (&["--nonsense", "./layout"], "create has no flag --nonsense\n"),
        (&["host"], "a container of host cannot stay"),
        (&["./nothing"], "there is no root file system at \"./nothing\""),
        (&["--pull", "never", "localhost/nothing"], "there is no image \"localhost/nothing\""),
        (&["--name", "a/b", "./layout"], "--name \"a/b\""),
        (&[], "create needs ROOT"),
    ] {
        let said_so = peers.ours_fails(125, &[&["create"], words].concat());
        assert!(said_so.contains(said), "{words:?}: {said_so}");
    }
    peers.only_whole(&[]);
}

#[test]
fn an_image_stays_while_a_container_is_made_of_it() {
    if !has("an_image_stays_while_a_container_is_made_of_it", &["bsdtar"]) {
        return;
    }
    let peers = machine(image());
    let id = peers.ours_ok(&["create", "--name", "needs-it", "./layout"]).trim_end().to_owned();
    let image = image().id();
    let said = peers.ours_fails(1, &["rmi", &image[7..19]]);
    assert!(said.contains("is needed by the container needs-it"), "{said}");
    peers.ours_ok(&["image", "prune", "-a", "-f"]);
    peers.ours_ok(&["export", "-o", "a.tar", &id]);
    assert!(peers.ours_ok(&["images", "-q"]).contains(&image[7..19]));
    // As if the two had met: the index has lost it, and the container has it all the same.
    let index = peers.ours_dir().join("images/index.json");
    std::fs::write(&index, r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    peers.ours_ok(&["image", "prune", "-a", "-f"]);
    peers.ours_ok(&["export", "-o", "b.tar", "needs-it"]);
    peers.ours_ok(&["commit", "needs-it", "saved"]);
    peers.ours_ok(&["rm", "needs-it"]);
    assert_eq!(peers.ours_run(&["-u", "0", "saved", "id", "-un"]), "root\n");
    peers.ours_ok(&["rmi", "saved"]);
    peers.ours_ok(&["image", "prune", "-a", "-f"]);
    for directory in ["blobs/sha256", "layers", "merged"] {
        assert_eq!(peers.names(&format!("lib/mycontainer/images/{directory}")), [""; 0], "{directory}");
    }
}

#[test]
fn of_two_with_one_name_one_is_made() {
    if !has("of_two_with_one_name_one_is_made", &[]) {
        return;
    }
    let peers = machine(image());
    peers.ours_run(&["./layout", "true"]);
    for round in 0..10 {
        let start = |words: &[&str]| {
            let mut command = peers.ours_command(words);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let rivals: Vec<_> = (0..4).map(|_| start(&["create", "--name", "xx", "./layout"])).collect();
        let outputs: Vec<_> = rivals.into_iter().map(|rival| rival.wait_with_output().unwrap()).collect();
        let made: Vec<String> =
            outputs.iter().filter(|o| o.status.success()).map(|o| stdout(o).trim().to_owned()).collect();
        let said: Vec<String> = outputs.iter().map(stderr).collect();
        assert_eq!(made.len(), 1, "round {round}: {said:?}");
        assert_eq!(said.iter().filter(|said| said.contains("is in use by container")).count(), 3, "{said:?}");
        peers.only_whole(&made);
        // And of several that remove it, one does.
        let rivals: Vec<_> = (0..4).map(|_| start(&["rm", "xx"])).collect();
        let outputs: Vec<_> = rivals.into_iter().map(|rival| rival.wait_with_output().unwrap()).collect();
        let said: Vec<String> = outputs.iter().map(stderr).collect();
        assert_eq!(outputs.iter().filter(|o| o.status.success()).count(), 1, "round {round}: {said:?}");
        let told =
            |said: &&String| said.contains("there is no container") || said.contains("another command is at work");
        assert_eq!(said.iter().filter(told).count(), 3, "round {round}: {said:?}");
        peers.only_whole(&[]);
    }
}

#[test]
fn a_running_one_is_removed_by_force_only() {
    if !has("a_running_one_is_removed_by_force_only", &[]) {
        return;
    }
    let peers = machine(image());
    let mut guest =
        Guest::start(&peers, "busy", &["-u", "0"], "./layout", "trap '' TERM; echo ready; while :; do sleep 1; done");
    let said = peers.ours_fails(1, &["rm", "busy"]);
    assert!(said.contains("the container busy is running\n  hint:"), "{said}");
    let said = peers.ours_fails(125, &["create", "--name", "busy", "./layout"]);
    assert!(said.contains("is in use"), "{said}");
    let rivals: Vec<_> = (0..3)
        .map(|_| {
            peers.ours_command(&["rm", "-f", "busy"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let outputs: Vec<_> = rivals.into_iter().map(|rival| rival.wait_with_output().unwrap()).collect();
    assert_eq!(
        outputs.iter().filter(|o| o.status.success()).count(),
        1,
        "{:?}",
        outputs.iter().map(stderr).collect::<Vec<_>>()
    );
    assert_eq!(guest.end(), 137);
    peers.only_whole(&[]);
    // Its tool was killed: it is cleared away.
    let mut guest = Guest::start(&peers, "orphan", &[], "./layout", "echo ready; sleep 1000");
    let _ = guest.tool.kill();
    let _ = guest.tool.wait();
    peers.ours_fails(1, &["rm", "-f", "orphan"]);
    peers.only_whole(&[]);
}

#[test]
fn a_killed_create_leaves_a_whole_container_or_none() {
    if !has("a_killed_create_leaves_a_whole_container_or_none", &[]) {
        return;
    }
    let peers = machine(image());
    peers.ours_run(&["./layout", "true"]);
    let mut whole = 0;
    let words = |n: u32| ["create", "--name", "xx", "-l", &format!("n={n}"), "./layout"].map(str::to_owned).to_vec();
    peers.killed(50, words, |n, killed| {
        let made: Vec<String> = peers.names("lib/mycontainer/containers");
        let made: Vec<String> = made
            .into_iter()
            .filter(|id| peers.ours_dir().join("containers").join(id).join("created.json").exists())
            .collect();
        assert!(made.len() == 1 || killed && made.is_empty(), "{n}: {made:?}");
        peers.only_whole(&made);
        if let [id] = &made[..] {
            whole += 1;
            assert_eq!(record(&peers, id)["labels"]["n"], json!(n.to_string()));
            peers.ours_ok(&["export", "-o", "x.tar", "xx"]);
            peers.ours_ok(&["rm", "xx"]);
        }
        // The name is free again.
        let id = peers.ours_ok(&["create", "--name", "xx", "./layout"]);
        peers.ours_ok(&["rm", id.trim_end()]);
    });
    eprintln!("{whole} of 51 were whole");
}

#[test]
fn a_killed_rm_leaves_a_whole_container_or_none() {
    if !has("a_killed_rm_leaves_a_whole_container_or_none", &[]) {
        return;
    }
    let peers = machine(image());
    let make = || {
        let id = peers.ours_ok(&["create", "--name", "xx", "./layout"]).trim_end().to_owned();
        // As a container would have written it.
        let upper = peers.ours_dir().join("containers").join(&id).join("upper");
        for n in 0..300 {
            std::fs::create_dir_all(upper.join(format!("d{}", n / 10))).unwrap();
            std::fs::write(upper.join(format!("d{}/{n}", n / 10)), "x").unwrap();
        }
        id
    };
    let mut id = make();
    peers.killed(
        50,
        |_| vec!["rm".into(), "xx".into()],
        |n, killed| {
            let is_whole = peers.ours_dir().join("containers").join(&id).join("created.json").exists();
            assert!(killed || !is_whole, "{n}");
            if is_whole {
                assert_eq!(
                    std::fs::read_dir(peers.ours_dir().join("containers").join(&id).join("upper")).unwrap().count(),
                    30
                );
                peers.ours_ok(&["rm", "xx"]);
            }
            peers.only_whole(&[]);
            id = make();
        },
    );
}
