//! `export`: a container's files as a tar that every reader takes, from containers that run and that do not.

use crate::common::{code, stderr};
use crate::fixtures::guest::{Guest, machine};
use crate::fixtures::has;
use crate::fixtures::image::{Layer, TestImage};
use std::os::unix::fs::symlink;
use std::process::Stdio;

fn image() -> TestImage {
    TestImage::busybox().layer(
        Layer::new()
            .dir("data", 0o750)
            .file("data/old", "old", 0o4755)
            .hardlink("data/twin", "data/old")
            .symlink("data/link", "/etc/passwd"),
    )
}

/// What bsdtar lists, without times and sizes of directories.
fn list(peers: &crate::fixtures::peers::Peers, tar: &str) -> Vec<String> {
    peers.ok(&["bsdtar", "-tf", tar]).lines().map(str::to_owned).collect()
}

#[test]
fn docker_export_of_docker_create_without_docker() {
    if !has("docker_export_of_docker_create_without_docker", &["bsdtar", "podman"]) {
        return;
    }
    let peers = machine(image());
    let tool = crate::common::tool();
    peers.sh(&format!("{tool} export $({tool} create ./layout) >a.tar"));
    let id = peers.names("lib/mycontainer/containers").remove(0);
    assert_eq!(
        peers.ours_run(&["./a.tar", "sh", "-c", "cat data/old; stat -c %a-%h data/old data/twin; readlink data/link"]),
        "old4755-2\n4755-2\n/etc/passwd\n"
    );
    peers.ours_ok(&["container", "export", "--output", "b.tar", &id[..12]]);
    assert!(std::fs::read(peers.path("a.tar")).unwrap() == std::fs::read(peers.path("b.tar")).unwrap());
    assert!(list(&peers, "a.tar").contains(&"data/twin".to_owned()));
    peers.sh("tar tf a.tar >/dev/null; mkdir there; bsdtar -xpf a.tar -C there; cmp there/data/twin there/data/old");
    peers.ok(&["podman", "import", "-q", "a.tar", "imported"]);
    // An archive and a directory as the root.
    let of_tar = peers.ours_ok(&["create", "--name", "of-tar", "./a.tar"]);
    std::fs::remove_file(peers.path("a.tar")).unwrap();
    peers.ours_ok(&["export", "-o", "c.tar", of_tar.trim_end()]);
    assert_eq!(list(&peers, "c.tar"), list(&peers, "b.tar"));
    peers.ours_ok(&["create", "--name", "of-directory", "./there"]);
    peers.ours_ok(&["export", "-o", "d.tar", "of-directory"]);
    assert_eq!(list(&peers, "d.tar"), list(&peers, "b.tar"));
}

#[test]
fn what_is_mounted_in_a_running_one_stays_out() {
    if !has("what_is_mounted_in_a_running_one_stays_out", &["bsdtar"]) {
        return;
    }
    let peers = machine(image().layer(Layer::new().dir("vol", 0o755).file("vol/below", "below", 0o644)));
    std::fs::create_dir(peers.path("mine")).unwrap();
    std::fs::write(peers.path("mine/secret"), "x").unwrap();
    let volume = format!("{}:/vol", peers.path("mine").display());
    let script = "mkdir /new; echo new >/new/file; mkfifo /new/pipe; rm /data/twin; mount -t tmpfs x /tmp 2>/dev/null; echo ready; sleep 1000";
    let _guest = Guest::start(&peers, "runs", &["-v", &volume, "--tmpfs", "/srv"], "./layout", script);
    peers.ours_ok(&["export", "-o", "a.tar", "runs"]);
    let names = list(&peers, "a.tar");
    let has = |name: &str| names.iter().any(|known| known == name);
    assert!(has("new/file") && has("new/pipe") && has("data/old") && !has("data/twin"), "{names:?}");
    // What the volume lies over is the container's own, as with Docker.
    assert!(has("vol/below") && !has("vol/secret") && has("srv/"), "{names:?}");
    assert!(
        !names.iter().any(|name| name.starts_with("proc/") && name.len() > 5 || name.starts_with("dev/n")),
        "{names:?}"
    );
    assert_eq!(peers.ours_run(&["./a.tar", "cat", "/new/file"]), "new\n");
    // A created one has the same name as an image: it wins.
    let id = peers.ours_ok(&["commit", "runs", "same"]);
    peers.ours_ok(&["export", "-o", "image.tar", "same"]);
    peers.ours_ok(&["export", "-o", "by-id.tar", &id.trim_end()[7..20]]);
    assert!(list(&peers, "image.tar").contains(&"new/file".to_owned()));
    peers.ours_ok(&["create", "--name", "same", "./layout"]);
    peers.ours_ok(&["export", "-o", "container.tar", "same"]);
    assert!(!list(&peers, "container.tar").contains(&"new/file".to_owned()));
}

#[test]
fn wrong_use_is_told() {
    if !has("wrong_use_is_told", &["script"]) {
        return;
    }
    let peers = machine(image());
    let said = peers.ours_fails(1, &["export", "nothing"]);
    assert!(said.contains("there is no container and no image \"nothing\""), "{said}");
    let said = peers.ours_fails(1, &["export", "-o", "no/such/dir", "nothing"]);
    assert!(said.contains("cannot create"), "{said}");
    peers.ours_ok(&["create", "--name", "cc", "./layout"]);
    let terminal = peers.run(&["script", "-qec", &format!("{} export cc", crate::common::tool()), "/dev/null"]);
    assert_eq!(code(terminal.status), 1);
    assert!(
        crate::common::stdout(&terminal).contains("a tar is not for a terminal"),
        "{:?}",
        crate::common::stdout(&terminal)
    );
    // A reader that ends early, and a full disk.
    let output = peers.run(&["sh", "-c", &format!("{} export cc | head -c 1000 >/dev/null", crate::common::tool())]);
    assert!(output.status.success());
    let full = peers
        .ours_command(&["export", "cc"])
        .stdout(std::fs::File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    assert!(code(full.status) == 1 && stderr(&full).contains("No space left"), "{}", stderr(&full));
    let names: Vec<_> = std::fs::read_dir(peers.dir()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains(".part")), "{names:?}");
}

#[test]
fn hostile_content_is_only_content() {
    if !has("hostile_content_is_only_content", &["bsdtar"]) {
        return;
    }
    let peers = machine(image());
    let id = peers.ours_ok(&["create", "--name", "bad", "./layout"]).trim_end().to_owned();
    let upper = peers.ours_dir().join("containers").join(&id).join("upper");
    // Over the image's own directory: what is below must not be reached through it.
    symlink("/etc", upper.join("data")).unwrap();
    symlink("/etc/shadow", upper.join("shadow")).unwrap();
    symlink("../../../../../../etc", upper.join("up")).unwrap();
    std::fs::write(upper.join("new\nline \u{1b}[31m"), "x").unwrap();
    peers.sh(&format!("cd '{}'; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'; mkfifo pipe; mknod null c 1 3; mknod disk b 7 0; mknod gone c 0 0; mkdir -p deep; cd deep; for n in $(seq 60); do mkdir $(printf %0200d $n); cd $(printf %0200d $n) || break; done", upper.display()));
    peers.ours_ok(&["export", "-o", "bad.tar", "bad"]);
    let names = list(&peers, "bad.tar");
    assert!(names.contains(&"data".to_owned()) && !names.iter().any(|name| name.starts_with("data/")), "{names:?}");
    assert!(!names.contains(&"gone".to_owned()) && !names.contains(&"socket".to_owned()));
    let verbose = peers.ok(&["bsdtar", "-tvf", "bad.tar"]);
    for start in ["crw", "brw", "prw"] {
        assert!(verbose.lines().any(|line| line.starts_with(start)), "{start} {verbose}");
    }
    let shadow = std::fs::read_to_string("/etc/shadow").unwrap_or_default();
    let root = shadow.lines().next().unwrap_or("root:").as_bytes().to_vec();
    let tar = std::fs::read(peers.path("bad.tar")).unwrap();
    assert!(!tar.windows(root.len()).any(|bytes| bytes == root), "the host's shadow is in it");
    peers.ours_ok(&["commit", "bad", "bad"]);
    peers.ours_run(&["bad", "sh", "-c", "test -p /pipe && readlink /data"]);
    peers.ours_ok(&["rm", "bad"]);
}

#[test]
fn a_process_that_moves_things_meanwhile_leads_nowhere() {
    if !has("a_process_that_moves_things_meanwhile_leads_nowhere", &["bsdtar"]) {
        return;
    }
    let peers = machine(image());
    let script = "mkdir /a /b; for n in $(seq 200); do echo $n >/a/$n; done; ln -s /etc /evil; echo ready; \
                  while :; do mv /a /x; mv /evil /a; mv /a /evil; mv /x /a; done";
    let _guest = Guest::start(&peers, "moves", &[], "./layout", script);
    std::fs::write(peers.path("marker"), "").unwrap();
    let hostname = std::fs::read("/etc/shadow").unwrap_or_else(|_| b"root:*".to_vec());
    let line = hostname.split(|byte| *byte == b'\n').next().unwrap().to_vec();
    for _ in 0..10 {
        peers.ours_ok(&["export", "-o", "a.tar", "moves"]);
        list(&peers, "a.tar");
        let tar = std::fs::read(peers.path("a.tar")).unwrap();
        assert!(!tar.windows(line.len()).any(|bytes| bytes == line));
        peers.ours_ok(&["commit", "--pause=false", "moves"]);
    }
}

#[test]
fn a_killed_export_leaves_the_container_alone() {
    if !has("a_killed_export_leaves_the_container_alone", &["bsdtar"]) {
        return;
    }
    let peers = machine(image());
    let id = peers.ours_ok(&["create", "--name", "cc", "./layout"]).trim_end().to_owned();
    peers.killed(
        50,
        |_| ["export", "-o", "x.tar", "cc"].map(str::to_owned).to_vec(),
        |n, killed| {
            match std::fs::remove_file(peers.path("x.tar")) {
                Ok(()) => {}
                Err(_) => assert!(killed, "{n}"),
            }
            peers.only_whole(std::slice::from_ref(&id));
        },
    );
    let output = peers.ours_command(&["export", "cc"]).stdout(Stdio::null()).output().unwrap();
    assert!(output.status.success());
}
