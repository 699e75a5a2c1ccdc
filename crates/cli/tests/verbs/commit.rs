//! `commit`: what a container has become, as an image that we and others run.

use crate::fixtures::guest::{Guest, machine, pause};
use crate::fixtures::has;
use crate::fixtures::image::{Layer, TestImage};
use serde_json::{Value, json};

fn image() -> TestImage {
    TestImage::busybox()
        .layer(
            Layer::new()
                .dir("data", 0o755)
                .file("data/gone", "gone", 0o644)
                .file("data/kept", "kept", 0o644)
                .dir("replaced", 0o700)
                .file("replaced/old", "old", 0o644),
        )
        .env("A=image")
        .entrypoint(&["/bin/sh", "-c"])
        .port("80/tcp")
}

/// The configuration of an image of ours, as skopeo reads it from our store.
fn config(peers: &crate::fixtures::peers::Peers, name: &str) -> Value {
    let text = peers.ok(&["skopeo", "inspect", "--config", &format!("oci:/var/lib/mycontainer/images:{name}")]);
    serde_json::from_str(&text).unwrap()
}

const CHANGES: &str = "echo new >/data/new; rm /data/gone; rm -r /replaced; mkdir -m 755 /replaced; echo n >/replaced/new; \
                       cp /bin/busybox /suid; chown ann /suid; chmod 4755 /suid; ln /data/new /data/twin; mkfifo /pipe; \
                       chmod 700 /home; mv /var /var2; truncate -s 5242880 /hole; ln -s new /data/link; ";

const LOOK: &str = "cat /data/new /replaced/new; ls /replaced /data; stat -c %a-%u-%h /suid /data/twin; stat -c %a-%u /home; ls -d /var* /data/gone 2>&1; readlink /data/link; wc -c </hole; test -p /pipe && echo pipe";

const SEEN: &str = "new\nn\n/data:\nkept\nlink\nnew\ntwin\n\n/replaced:\nnew\n4755-1000-1\n644-0-2\n700-0\nls: /data/gone: No such file or directory\n/var2\nnew\n5242880\npipe\n";

#[test]
fn what_a_running_container_changed_is_in_the_image() {
    if !has("what_a_running_container_changed_is_in_the_image", &["skopeo", "umoci", "podman"]) {
        return;
    }
    let peers = machine(image());
    let guest = Guest::start(
        &peers,
        "cc",
        &["--entrypoint", "", "-e", "B=own"],
        "./layout",
        &format!("{CHANGES} echo ready; sleep 1000"),
    );
    // What no program in it can set.
    let root = std::path::PathBuf::from(format!("/proc/{}/root", guest.first_process()));
    let capability =
        crate::fixtures::tar::Entry::new("", crate::fixtures::tar::Kind::Dir).capability(13).xattrs.remove(0);
    let xattrs = [("user.mark", b"set".to_vec()), ("security.capability", capability.1)];
    for (name, value) in &xattrs {
        rustix::fs::setxattr(root.join("data/kept"), *name, value, rustix::fs::XattrFlags::empty()).unwrap();
    }
    let words = [
        "commit",
        "-a",
        "Ann <a@b>",
        "-m",
        "why",
        "-c",
        "CMD [\"true\"]",
        "-c",
        "ENV C=$A-3",
        "-c",
        "WORKDIR /data",
        "cc",
        "localhost/mine:1",
    ];
    let id = peers.ours_ok(&words);
    assert!(id.starts_with("sha256:") && id.len() == 72, "{id}");
    assert_eq!(peers.ours_run(&["localhost/mine:1", "sh", "-c", LOOK]).replace("/var: ", ""), SEEN);
    let config = config(&peers, "localhost/mine:1");
    for (pointer, expected) in [
        ("/author", json!("Ann <a@b>")),
        ("/config/Cmd", json!(["true"])),
        ("/config/Entrypoint", Value::Null),
        ("/config/Env", json!(["PATH=/usr/bin:/bin", "A=image", "B=own", "C=image-3"])),
        ("/config/WorkingDir", json!("/data")),
        ("/config/ExposedPorts", json!({ "80/tcp": {} })),
    ] {
        assert_eq!(config.pointer(pointer).cloned().unwrap_or_default(), expected, "{pointer} of {config:#}");
    }
    let history = config["history"].as_array().unwrap().last().unwrap();
    assert_eq!((&history["comment"], &history["author"]), (&json!("why"), &json!("Ann <a@b>")));
    assert!(history["created_by"].as_str().unwrap().starts_with("sh -c echo new"), "{history}");
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 3);
    // The layers below are the same bytes; others unpack and run it.
    let manifest = peers.ok(&["skopeo", "inspect", "--raw", "oci:/var/lib/mycontainer/images:localhost/mine:1"]);
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["layers"][0]["digest"], json!(image().layer_digests()[0]));
    peers.copy(&[], "oci:/var/lib/mycontainer/images:localhost/mine:1", "oci:out:tag");
    peers.sh("umoci unpack --image out:tag bundle >/dev/null 2>&1; r=bundle/rootfs; test -u $r/suid -a ! -e $r/data/gone -a ! -e $r/replaced/old -a -e $r/var2; test $r/data/new -ef $r/data/twin");
    for (name, value) in &xattrs {
        let mut got = [0; 100];
        let length = rustix::fs::getxattr(peers.path("bundle/rootfs/data/kept"), *name, &mut got).unwrap();
        assert_eq!(&got[..length], value, "{name}");
    }
    peers.sh("podman pull -q oci:out:tag >id; m=$(podman image mount $(cat id)); cat $m/data/twin; test ! -e $m/data/gone -a ! -e $m/replaced/old -a -u $m/suid; podman image unmount -a >/dev/null");
    // The same container again, under the same name: it moves.
    let again = peers.ours_ok(&["container", "commit", "--pause=false", "cc", "localhost/mine:1"]);
    assert_ne!(again, id);
    assert_eq!(peers.ours_run(&[id.trim_end(), "pwd"]), "/data\n");
    assert_eq!(peers.ours_run(&["localhost/mine:1", "pwd"]), "/\n");
}

#[test]
fn containers_that_do_not_run_and_roots_that_are_no_image() {
    if !has("containers_that_do_not_run_and_roots_that_are_no_image", &["skopeo"]) {
        return;
    }
    let peers = machine(image());
    peers.ours_ok(&["create", "--name", "cc", "-u", "ann", "-l", "x=y", "./layout", "id -un"]);
    peers.ours_ok(&["commit", "cc", "of-created"]);
    assert_eq!(peers.ours_run(&["of-created"]), "ann\n");
    assert_eq!(config(&peers, "docker.io/library/of-created:latest")["config"]["Labels"], json!({ "x": "y" }));
    peers.ours_ok(&["export", "-o", "c.tar", "cc"]);
    peers.sh("mkdir tree; tar xpf c.tar -C tree");
    for (root, name) in [("./c.tar", "tar"), ("./tree", "dir")] {
        peers.ours_ok(&["create", "--name", name, "-e", "A=own", root, "sh", "-c", "echo $A; cat /data/kept"]);
        let created = format!("created-{name}");
        peers.ours_ok(&["commit", name, &created]);
        assert_eq!(peers.ours_run(&[&created]), "own\nkept");
        let running = format!("run-{name}");
        let _guest =
            Guest::start(&peers, &running, &[], root, &format!("echo {name} >/data/more; echo ready; sleep 1000"));
        peers.ours_ok(&["commit", &running, &running]);
        assert_eq!(peers.ours_run(&[&running, "cat", "/data/more"]), format!("{name}\n"));
        assert_eq!(
            config(&peers, &format!("docker.io/library/{running}:latest"))["rootfs"]["diff_ids"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
    let _guest = Guest::start(&peers, "view", &[], "host", "echo ready; sleep 1000");
    for (words, said) in [
        (&["view"][..], "its root is a view of this machine's own /"),
        (&["nothing"], "there is no container \"nothing\""),
        (&["cc", "UPPER"], "UPPER"),
        (
            &["cc", "x@sha256:0000000000000000000000000000000000000000000000000000000000000000"],
            "a digest is not a name",
        ),
    ] {
        let told = peers.ours_fails(1, &[&["commit"], words].concat());
        assert!(told.contains(said), "{words:?}: {told}");
    }
    let told = peers.ours_fails(125, &["commit", "-c", "RUN x", "cc"]);
    assert!(told.contains("-c \"RUN x\""), "{told}");
}

#[test]
fn a_container_stands_still_meanwhile_and_runs_on() {
    if !has("a_container_stands_still_meanwhile_and_runs_on", &[]) {
        return;
    }
    let peers = machine(image());
    // Two files that always say the same, but for an instant.
    let script = "n=0; echo 0 >/one; echo 0 >/two; dd if=/dev/urandom of=/big bs=1M count=8 2>/dev/null; echo ready; \
                  while :; do n=$((n+1)); echo $n >/one; echo $n >/two; done";
    let mut guest = Guest::start(&peers, "cc", &["--entrypoint", ""], "./layout", script);
    for _ in 0..3 {
        let id = peers.ours_ok(&["commit", "cc"]);
        let seen = peers.ours_run(&[id.trim_end(), "sh", "-c", "cat /one /two"]);
        let seen: Vec<u64> = seen.lines().map(|line| line.parse().unwrap_or_default()).collect();
        // Stopped between the two writes, or within one.
        assert!(seen.len() < 2 || seen[0].abs_diff(seen[1]) <= 1 || seen.contains(&0), "{seen:?}");
    }
    let running = |guest: &mut Guest| guest.tool.try_wait().unwrap().is_none();
    assert!(running(&mut guest));
}

#[test]
fn a_killed_commit_leaves_the_container_running_and_no_image() {
    if !has("a_killed_commit_leaves_the_container_running_and_no_image", &["skopeo"]) {
        return;
    }
    let peers = machine(image());
    let script =
        "dd if=/dev/urandom of=/big bs=1M count=8 2>/dev/null; echo ready; while :; do echo x; sleep 0.02; done";
    let mut guest = Guest::start(&peers, "cc", &["--entrypoint", ""], "./layout", script);
    // A reader that takes what it says, and knows when it said something last.
    let (said, hear) = std::sync::mpsc::channel();
    let mut output = std::mem::replace(&mut guest.output, std::io::BufReader::new(guest_stdout()));
    std::thread::spawn(move || {
        let mut line = String::new();
        while std::io::BufRead::read_line(&mut output, &mut line).is_ok_and(|length| length > 0) {
            let _ = said.send(());
        }
    });
    let (mut whole, mut killed_in_all) = (0, 0);
    let words = |n: u32| ["commit", "cc", &format!("localhost/made:{n}")].map(str::to_owned).to_vec();
    peers.killed(50, words, |n, killed| {
        killed_in_all += u32::from(killed);
        // It runs on by itself, without another command.
        pause(30);
        while hear.try_recv().is_ok() {}
        hear.recv_timeout(std::time::Duration::from_secs(5)).unwrap_or_else(|_| panic!("{n}: it stands still"));
        let index = std::fs::read_to_string(peers.ours_dir().join("images/index.json")).unwrap();
        let name = format!("localhost/made:{n}");
        let made = index.contains(&format!("\"{name}\""));
        assert!(made || killed, "{n}");
        if made {
            whole += 1;
            peers.ok(&["skopeo", "inspect", &format!("oci:/var/lib/mycontainer/images:{name}")]);
            assert_eq!(peers.ours_run(&["--entrypoint", "", &name, "sh", "-c", "wc -c </big"]), "8388608\n", "{n}");
        }
    });
    eprintln!("{killed_in_all} of 50 were killed, {whole} of 51 made the image");
    drop(guest);
    peers.only_whole(&[]);
}

/// A stream that says nothing.
fn guest_stdout() -> std::process::ChildStdout {
    let mut child = std::process::Command::new("true").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let _ = child.wait();
    child.stdout.take().unwrap()
}
