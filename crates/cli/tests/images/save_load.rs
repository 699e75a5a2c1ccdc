//! `save` and `load`: archives that other tools take, and that they wrote.

use crate::common::{stderr, stdout};
use crate::fixtures::content::TestIndex;
use crate::fixtures::image::{Compression, Layer, TestImage};
use crate::fixtures::peers::Peers;
use crate::fixtures::{formats, has, made};
use std::process::Stdio;

const PEERS: [&str; 4] = ["skopeo", "umoci", "buildah", "podman"];

fn image() -> TestImage {
    let upper =
        Layer::new().whiteout("bin/vi").dir("data", 0o755).file("data/a", "a\n", 0o600).hardlink("data/b", "data/a");
    TestImage::busybox().layer(upper).cmd(&["cat", "/data/b"])
}

#[test]
fn what_we_save_others_load() {
    if !has("what_we_save_others_load", &PEERS) {
        return;
    }
    let (peers, image) = (Peers::new(), image());
    formats::write_layout(&peers.path("layout"), "localhost/app:1", &image);
    assert_eq!(peers.ours_ok(&["load", "-i", "layout"]), "Loaded image: localhost/app:1\n");
    peers.ours_ok(&["tag", "localhost/app:1", "alpine:mine"]);

    peers.ours_ok(&["save", "-o", "docker.tar", "localhost/app:1", "alpine:mine"]);
    let said = peers.ok(&["podman", "load", "-q", "-i", "docker.tar"]);
    assert!(said.contains("localhost/app:1") && said.contains("docker.io/library/alpine:mine"), "{said}");
    assert_eq!(peers.ok(&["podman", "images", "-q", "--no-trunc", "localhost/app:1"]).trim_end(), image.id());
    peers.copy(&[], "docker-archive:docker.tar:localhost/app:1", "oci:from-docker:tag");

    peers.ours_ok(&["image", "save", "--format", "oci-archive", "-o", "oci.tar", "localhost/app:1"]);
    assert_eq!(peers.digest("oci-archive:oci.tar"), image.digest());
    peers.ok(&["podman", "load", "-q", "-i", "oci.tar"]);

    // Through a pipe, and back.
    let script = format!(
        "{0} save localhost/app:1 >piped.tar; {0} rmi localhost/app:1 alpine:mine >&2; {0} load <piped.tar; {0} run --rm --network none localhost/app:1",
        crate::common::tool()
    );
    assert_eq!(peers.sh(&script), "Loaded image: localhost/app:1\na\n");
    assert_eq!(peers.ours_ok(&["images", "-q", "--no-trunc", "localhost/app:1"]).trim_end(), image.id());
    let files: Vec<_> = std::fs::read_dir(peers.dir()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!files.iter().any(|name| name.to_string_lossy().contains("part")), "{files:?}");
}

#[test]
fn what_others_save_we_load() {
    if !has("what_others_save_we_load", &PEERS) {
        return;
    }
    let (peers, image) = (Peers::new(), image());
    formats::write_docker_archive(&peers.path("made.tar"), &["localhost/app:1"], &image);
    peers.ok(&["podman", "load", "-q", "-i", "made.tar"]);
    peers.ok(&["podman", "tag", "localhost/app:1", "localhost/again:2"]);
    peers.ok(&["podman", "save", "-q", "-o", "podman.tar", "localhost/app:1"]);
    peers.ok(&["podman", "save", "-q", "-m", "-o", "several.tar", "localhost/app:1", "localhost/again:2"]);
    peers.ok(&["podman", "save", "-q", "--format", "oci-archive", "-o", "oci.tar", "localhost/app:1"]);
    peers.copy(&[], "docker-archive:made.tar", "docker-archive:skopeo.tar:localhost/app:1");
    peers.copy(&[], "docker-archive:made.tar", "oci-archive:skopeo-oci.tar:localhost/app:1");
    peers.sh("gzip -k podman.tar; zstd -q -k podman.tar; mkdir layout; tar -xf skopeo-oci.tar -C layout");
    for file in ["podman.tar", "oci.tar", "skopeo.tar", "skopeo-oci.tar", "podman.tar.gz", "podman.tar.zst", "layout"] {
        assert_eq!(peers.ours_ok(&["load", "-q", "-i", file]), "Loaded image: localhost/app:1\n", "{file}");
        assert_eq!(peers.ours_run(&["localhost/app:1"]), "a\n", "{file}");
        assert_eq!(
            peers.ours_ok(&["inspect", "-f", "{{json .RootFS.Layers}}", "localhost/app:1"]),
            serde_json::to_string(&image.diff_ids()).unwrap() + "\n"
        );
        peers.ours_ok(&["rmi", "localhost/app:1"]);
    }
    let said = peers.ours_ok(&["load", "-q", "-i", "several.tar"]);
    assert!(said.contains("localhost/app:1") && said.contains("localhost/again:2"), "{said}");

    for (tool, (dir, tag)) in [("buildah", made::by_buildah(&peers)), ("umoci", made::by_umoci(&peers))] {
        let layout = dir.display().to_string();
        let said = peers.ours_ok(&["load", "-i", &layout]);
        let id = said.trim_end().strip_prefix("Loaded image ID: ").unwrap_or_else(|| panic!("{tool}: {said}"));
        assert_eq!(peers.ours_run(&[id, "sh", "-c", "echo it runs"]), "it runs\n", "{tool}");
        // A layout is also a root by itself.
        assert_eq!(
            peers.ours_run(&[&format!("./{}", dir.file_name().unwrap().to_string_lossy()), "sh", "-c", "echo it runs"]),
            "it runs\n",
            "{tool} {tag}"
        );
    }
}

#[test]
fn the_platform_is_chosen() {
    if !has("the_platform_is_chosen", &[]) {
        return;
    }
    let peers = Peers::new();
    let index = TestIndex::new()
        .image("linux/amd64", image())
        .image("linux/arm64/v8", image().label("for", "arm64").repack(Compression::Zstd));
    formats::write_oci_archive(&peers.path("index.tar"), "localhost/app:1", &index);
    peers.ours_ok(&["load", "-q", "--platform", "linux/arm64", "-i", "index.tar"]);
    assert_eq!(peers.ours_ok(&["inspect", "-f", "{{.Architecture}}", "localhost/app:1"]), "arm64\n");
    let said = peers.ours_fails(1, &["load", "--platform", "linux/s390x", "-i", "index.tar"]);
    assert!(said.contains("it has: linux/amd64, linux/arm64/v8"), "{said}");
    peers.ours_ok(&["load", "-q", "-i", "index.tar"]);
    assert_eq!(peers.ours_run(&["localhost/app:1"]), "a\n");
}

#[test]
fn what_cannot_be_done_is_said() {
    if !has("what_cannot_be_done_is_said", &["script"]) {
        return;
    }
    let peers = Peers::new();
    formats::write_docker_archive(&peers.path("image.tar"), &["localhost/app:1"], &image());
    peers.sh("head -c 100000 image.tar >cut.tar; echo no archive >text; mkdir -p empty root/bin root/etc; tar -C root -cf rootfs.tar .");
    for (words, code, why) in [
        (&["load", "-i", "nothing"][..], 1, "nothing"),
        (&["load", "-i", "cut.tar"], 1, "truncated"),
        (&["load", "-i", "text"], 1, "text"),
        (&["load", "-i", "rootfs.tar"], 1, "`import` makes an image of it"),
        (&["load", "-i", "empty"], 1, "empty"),
        (&["load"], 1, "standard input"),
        (&["load", "image.tar"], 125, "load takes no words"),
        (&["save", "nothing", "-o", "x.tar"], 1, "there is no image \"nothing\""),
        (&["save"], 125, "save needs IMAGE"),
        (&["save", "--format", "dir", "localhost/app:1"], 125, "it is docker-archive or oci-archive"),
        (&["save", "--compress", "localhost/app:1"], 125, "save has no flag --compress"),
    ] {
        let said = peers.ours_fails(code, words);
        assert!(said.contains(why), "{words:?}: {said}");
    }
    assert!(!peers.path("x.tar").exists(), "a file of a save that failed");
    peers.ours_ok(&["load", "-q", "-i", "image.tar"]);
    let said = peers.ours_fails(1, &["save", "-o", "missing/x.tar", "localhost/app:1"]);
    assert!(said.contains("missing/x.tar"), "{said}");
    let words = format!("{} save localhost/app:1", crate::common::tool());
    let output = peers.run(&["script", "-qec", &words, "/dev/null"]);
    assert!(
        stdout(&output).contains("an archive is not for a terminal") && output.status.code() == Some(1),
        "{output:?}"
    );
    let output = peers
        .command(&["script", "-qec", &format!("{} load", crate::common::tool()), "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(stdout(&output).contains("standard input is a terminal"), "{output:?}");

    // A device is written to, and stays what it is; a full one is said to be full.
    peers.sh("mknod null c 1 3; mknod full c 1 7");
    peers.ours_ok(&["save", "-o", "null", "localhost/app:1"]);
    let said = peers.ours_fails(1, &["save", "-o", "full", "localhost/app:1"]);
    assert!(said.contains("No space left"), "{said}");
    assert_eq!(
        peers.sh("stat -c %F null full; ls | grep -c part || :"),
        "character special file\ncharacter special file\n0\n"
    );
    // Who reads it has seen enough.
    let output = peers.run(&[
        "bash",
        "-c",
        &format!("{} save localhost/app:1 | head -c 10 >x; echo ${{PIPESTATUS[0]}}", crate::common::tool()),
    ]);
    assert_eq!(stdout(&output), "1\n", "{}", stderr(&output));
}
