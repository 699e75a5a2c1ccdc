//! `image copy`: from any place to any other; and the store itself, which other tools read in place.

use crate::common::{stderr, stdout};
use crate::fixtures::content::TestIndex;
use crate::fixtures::image::{Layer, TestImage};
use crate::fixtures::peers::Peers;
use crate::fixtures::registry::Registry;
use crate::fixtures::{formats, has};

const PEERS: [&str; 4] = ["docker-registry", "skopeo", "umoci", "podman"];

fn image(text: &str) -> TestImage {
    TestImage::busybox().layer(Layer::new().file("x", text, 0o644)).cmd(&["cat", "/x"])
}

#[test]
fn between_all_places_the_digest_stays() {
    if !has("between_all_places_the_digest_stays", &PEERS) {
        return;
    }
    let (peers, registry, image) = (Peers::new(), Registry::plain(), image("x\n"));
    formats::write_layout(&peers.path("layout"), "tag", &image);
    let digest = image.digest() + "\n";
    let remote = registry.reference("a/b:1");
    let mut from = "oci:layout:tag".to_owned();
    for to in [
        remote.clone(),
        "oci:second:tag".into(),
        "oci-archive:third.tar:localhost/x:1".into(),
        "store:localhost/app:1".into(),
        "oci:fourth".into(),
        format!("docker://{}", registry.reference("c:2")),
        "store:localhost/app:2".into(),
    ] {
        let output = peers.ours(&["image", "copy", "-q", &from, &to]);
        assert_eq!((stdout(&output), stderr(&output)), (digest.clone(), String::new()), "{from} {to}");
        from = to;
    }
    for place in ["oci:second:tag", "oci-archive:third.tar", "oci:fourth", &format!("docker://{remote}")] {
        assert_eq!(peers.digest(place) + "\n", digest, "{place}");
    }
    assert_eq!(peers.ours_run(&["localhost/app:2"]), "x\n");
    // An archive of Docker's has manifests of its own; the configuration, and so the id, stays.
    peers.ours_ok(&["image", "copy", "-q", &remote, "docker-archive:fifth.tar:localhost/five:1"]);
    peers.ok(&["podman", "load", "-q", "-i", "fifth.tar"]);
    assert_eq!(peers.ok(&["podman", "images", "-q", "--no-trunc", "localhost/five:1"]).trim_end(), image.id());
    peers.ours_ok(&["image", "copy", "-q", "docker-archive:fifth.tar", "oci:sixth:1"]);
    peers.ok(&["umoci", "unpack", "--image", "sixth:1", "bundle"]);
    assert_eq!(peers.sh("cat bundle/rootfs/x"), "x\n");
}

#[test]
fn an_index_whole_or_one_of_it() {
    if !has("an_index_whole_or_one_of_it", &PEERS) {
        return;
    }
    let (peers, registry) = (Peers::new(), Registry::plain());
    let arm = image("arm64\n");
    let index = TestIndex::new().image("linux/amd64", image("amd64\n")).image("linux/arm64/v8", arm.clone());
    formats::write_dir(&peers.path("index"), &index);
    let (from, to) = (registry.reference("index:1"), registry.reference("copy:1"));
    peers.copy(&["--all"], "dir:index", &format!("docker://{from}"));
    let all = index.content().digest;
    assert_eq!(peers.ours_ok(&["image", "copy", "--all", "-q", &from, &to]).trim_end(), all);
    assert_eq!(peers.digest(&format!("docker://{to}")), all);
    assert_eq!(peers.ours_ok(&["image", "copy", "--all", "-q", &to, "oci:all:1"]).trim_end(), all);
    let one = peers.ours_ok(&["image", "copy", "--platform", "linux/arm64", "-q", &to, "oci:arm:1"]);
    assert_eq!(one.trim_end(), arm.platform("linux/arm64/v8").digest());
    peers.ours_ok(&["image", "copy", "-q", "oci:all:1", "store:localhost/here:1"]);
    for (words, code, why) in [
        (&["--all", "oci:all:1", "store:x"][..], 1, "leave --all away"),
        (&["--all", "oci:all:1", "docker-archive:x.tar"], 1, "leave --all away"),
        (&["--all", "--platform", "arm64", "oci:all:1", "oci:x"], 125, "contradict"),
        (&["oci:all:nothing", "oci:x"], 1, "nothing"),
        (&["containers-storage:x", "oci:x"], 1, "another tool's store"),
        (&["dir:index", "oci:x"], 1, "the places are"),
        (&["oci:", "oci:x"], 1, "it names no path"),
        (&["oci:x"], 125, "needs SOURCE DESTINATION"),
    ] {
        let said = peers.ours_fails(code, &[&["image", "copy"], words].concat());
        assert!(said.contains(why), "{words:?}: {said}");
    }
}

/// skopeo reads the store where it is, by the full name; umoci's own words for an image are split at the last colon.
#[test]
fn the_store_is_a_layout_that_others_read() {
    if !has("the_store_is_a_layout_that_others_read", &PEERS) {
        return;
    }
    let (peers, image) = (Peers::new(), image("x\n"));
    formats::write_docker_archive(&peers.path("image.tar"), &["localhost/app:1", "alpine:mine"], &image);
    peers.ours_ok(&["load", "-q", "-i", "image.tar"]);
    peers.ours_ok(&["tag", "alpine:mine", "localhost:5000/a/b:c"]);
    let store = "/var/lib/mycontainer/images";
    let digest = peers.ours_ok(&["inspect", "-f", "{{.Digest}}", "alpine:mine"]);
    let mut said = String::new();
    for name in ["docker.io/library/alpine:mine", "localhost/app:1", "localhost:5000/a/b:c"] {
        let output = peers.run(&["skopeo", "inspect", "--raw", &format!("oci:{store}:{name}")]);
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        assert_eq!(crate::fixtures::digest(&output.stdout) + "\n", digest, "{name}");
        peers.copy(&[], &format!("oci:{store}:{name}"), "oci:by-skopeo:1");
        // What umoci takes for the tag follows the first colon.
        let output = peers.run(&["umoci", "stat", "--json", "--image", &format!("{store}:{name}")]);
        said.push_str(&format!("{name}: {} {}\n", output.status, stderr(&output)));
    }
    assert!(peers.ok(&["umoci", "list", "--layout", store]).contains("localhost/app:1"));
    peers.sh(&format!("cp -r {store} copied"));
    eprintln!("umoci: {said}");
    // By another name in a copy, umoci unpacks it.
    peers.ok(&["skopeo", "copy", "-q", "oci:copied:localhost/app:1", "oci:plain:1"]);
    peers.ok(&["umoci", "unpack", "--image", "plain:1", "bundle"]);
    assert_eq!(peers.sh("cat bundle/rootfs/x"), "x\n");
    // And what skopeo puts there we find.
    peers.copy(&[], "oci:by-skopeo:1", &format!("oci:{store}:by-skopeo"));
    assert_eq!(peers.ours_run(&["by-skopeo"]), "x\n");
    assert!(peers.ours_ok(&["images"]).contains("by-skopeo"));
    peers.ours_ok(&["rmi", "by-skopeo"]);
}
