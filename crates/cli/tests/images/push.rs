//! `push`: what we send, skopeo and podman must find as it was; and what they send, we.

use crate::common::{stderr, stdout};
use crate::fixtures::authority::Authority;
use crate::fixtures::faults::{Act, On};
use crate::fixtures::faulty_registry::FaultyRegistry;
use crate::fixtures::image::{Compression, Layer, TestImage};
use crate::fixtures::peers::Peers;
use crate::fixtures::registry::Registry;
use crate::fixtures::{formats, has, made};

const PEERS: [&str; 5] = ["docker-registry", "skopeo", "umoci", "buildah", "podman"];

#[test]
fn what_is_pushed_is_what_was_pulled() {
    if !has("what_is_pushed_is_what_was_pulled", &PEERS) {
        return;
    }
    let (peers, registry) = (Peers::new(), Registry::plain());
    let layer = || Layer::new().file("x", "x\n", 0o644);
    for (name, image) in [
        ("gzip", TestImage::busybox().layer(layer())),
        ("plain", TestImage::busybox().layer(layer()).repack(Compression::None)),
        ("zstd", TestImage::busybox().layer(layer()).repack(Compression::Zstd)),
        ("docker", TestImage::busybox().layer(layer()).docker()),
    ] {
        formats::write_dir(&peers.path(name), &image);
        let (from, to) = (registry.reference(&format!("{name}:1")), registry.reference(&format!("again/{name}:2")));
        peers.copy(&["--preserve-digests"], &format!("dir:{name}"), &format!("docker://{from}"));
        peers.ours_ok(&["pull", "-q", &from]);
        peers.ours_ok(&["tag", &from, &to]);
        let said = peers.ours_ok(&["push", &to]);
        let size = image.content().root().bytes.len();
        let repository = to.trim_end_matches(":2");
        let expected =
            format!("The push refers to repository [{repository}]\n2: digest: {} size: {size}\n", image.digest());
        assert_eq!(said, expected, "{name}");
        assert_eq!(peers.digest(&format!("docker://{to}")), image.digest(), "{name}");
        peers.ok(&["podman", "pull", "-q", "--tls-verify=false", &to]);
        let id = peers.ok(&["podman", "images", "-q", "--no-trunc", &to]);
        assert_eq!(id.trim_end(), image.id(), "{name}");
        assert_eq!(peers.ours_ok(&["images", "-q", "--no-trunc", &to]), id, "{name}");
        // To another place, without a name of its own for it.
        let elsewhere = registry.reference(&format!("elsewhere/{name}:3"));
        assert_eq!(peers.ours_ok(&["push", "-q", &to, &elsewhere]), format!("{elsewhere}\n"));
        assert_eq!(peers.digest(&format!("docker://{elsewhere}")), image.digest(), "{name}");
    }
}

#[test]
fn images_of_other_tools_go_through_unchanged() {
    if !has("images_of_other_tools_go_through_unchanged", &PEERS) {
        return;
    }
    let (peers, registry) = (Peers::new(), Registry::plain());
    for (tool, (dir, tag)) in [("buildah", made::by_buildah(&peers)), ("umoci", made::by_umoci(&peers))] {
        let layout = format!("oci:{}:{tag}", dir.display());
        let digest = peers.digest(&layout);
        let (from, to) = (registry.reference(&format!("{tool}:1")), registry.reference(&format!("{tool}:2")));
        peers.copy(&["--preserve-digests"], &layout, &format!("docker://{from}"));
        peers.ours_ok(&["pull", "-q", &from]);
        peers.ours_ok(&["tag", &from, &to]);
        peers.ours_ok(&["push", "-q", &to]);
        assert_eq!(peers.digest(&format!("docker://{to}")), digest, "{tool}");
        peers.ok(&["podman", "pull", "-q", "--tls-verify=false", &to]);
    }
    let name = registry.reference("buildah:2");
    let script =
        "cd /; cat turns file/x kept/c gone/deep/new; ls gone/deep kept; stat -c '%a %u:%g' owned bin/suid; ls data";
    let seen = peers.ours_run(&[&name, "sh", "-c", script]);
    assert_eq!(seen, "now a file\nin it\ntwo\nnew\ngone/deep:\nnew\n\nkept:\na\nc\n644 1000:100\n4755 0:0\n");
    let name = registry.reference("umoci:2");
    let seen = peers.ours_run(&[&name, "sh", "-c", "pwd; ls /over; cat /etc/two; cat /gone 2>/dev/null || echo gone"]);
    assert_eq!(seen, "/over\nabove\ntwo\ngone\n");
}

#[test]
fn what_is_there_is_not_sent() {
    if !has("what_is_there_is_not_sent", &[]) {
        return;
    }
    let (peers, image) = (Peers::new(), TestImage::busybox().layer(Layer::new().file("x", "x\n", 0o644)));
    let registry = FaultyRegistry::new().image("a/b:1", &image).start();
    let (from, to) = (registry.reference("a/b:1"), registry.reference("a/b:2"));
    peers.ours_ok(&["pull", "-q", &from]);
    peers.ours_ok(&["tag", &from, &to]);
    registry.forget();
    peers.ours_ok(&["push", "-q", &to]);
    assert_eq!(registry.asked("POST", "uploads").len(), 0);
    assert_eq!(registry.has("a/b", "2").map(|blob| crate::fixtures::digest(&blob.bytes)), Some(image.digest()));
}

#[test]
fn every_tag_of_a_repository() {
    if !has("every_tag_of_a_repository", &PEERS) {
        return;
    }
    let (peers, registry) = (Peers::new(), Registry::plain());
    formats::write_oci_archive(&peers.path("image"), "localhost/x:1", &TestImage::busybox());
    peers.ours_ok(&["load", "-q", "-i", "image"]);
    let name = registry.reference("many");
    for tag in ["one", "two"] {
        peers.ours_ok(&["tag", "localhost/x:1", &format!("{name}:{tag}")]);
    }
    let said = peers.ours_ok(&["push", "-a", &name]);
    assert!(said.contains("one: digest: ") && said.contains("two: digest: "), "{said}");
    let tags = registry.get("/v2/many/tags/list");
    assert!(tags.contains("one") && tags.contains("two"), "{tags}");
    for (words, code, why) in [
        (&["push", "-a", "NAME:one"][..], 125, "names one"),
        (&["push", "-a", "NAME", "NAME:x"], 125, "goes to where the names say"),
        (&["push", "-a", "NAME/none"], 1, "there is no image"),
        (&["push", "NAME:none"], 1, "there is no image"),
        (&["push"], 125, "push needs NAME [DESTINATION]"),
        (&["push", "--disable-content-trust", "NAME"], 125, "push has no flag --disable-content-trust"),
    ] {
        let words: Vec<String> = words.iter().map(|word| word.replace("NAME", &name)).collect();
        let said = peers.ours_fails(code, &words.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(said.contains(why), "{words:?}: {said}");
    }
    let id = peers.ours_ok(&["images", "-q", "localhost/x:1"]);
    let said = peers.ours_fails(1, &["push", id.trim_end()]);
    assert!(said.contains("by a tag"), "{said}");
}

#[test]
fn a_registry_with_tls_and_a_password() {
    if !has("a_registry_with_tls_and_a_password", &[&PEERS[..], &["openssl", "htpasswd"]].concat()) {
        return;
    }
    let (peers, authority) = (Peers::new(), Authority::new());
    let registry = Registry::setup().tls(&authority).password("ann", "secret").start();
    let certs = authority.certs_d(&peers.path("state/home/.config/containers/certs.d"), &registry.host());
    let (name, image) = (registry.reference("a/b:1"), TestImage::busybox());
    formats::write_docker_archive(&peers.path("image"), &[&name], &image);
    peers.ours_ok(&["load", "-q", "-i", "image"]);
    let said = peers.ours_fails(1, &["push", &name]);
    assert!(said.contains("needs a login") && said.contains("mycontainer login localhost:"), "{said}");
    peers.ours_ok(&["login", "-u", "ann", "-p", "secret", &registry.host()]);
    peers.ours_ok(&["push", "-q", &name]);
    let certs = format!("--cert-dir={}", certs.display());
    // skopeo uses the login that we kept.
    assert!(
        peers
            .ok(&["skopeo", "inspect", &certs, &format!("docker://{name}")])
            .contains(&image.diff_ids().len().to_string())
    );
    peers.ok(&["podman", "pull", "-q", &certs, &name]);
}

#[test]
fn a_registry_that_misbehaves() {
    if !has("a_registry_that_misbehaves", &[]) {
        return;
    }
    let peers = Peers::new();
    formats::write_docker_archive(&peers.path("image"), &["localhost/x:1"], &TestImage::busybox());
    peers.ours_ok(&["load", "-q", "-i", "image"]);
    for (on, act, expected, why) in [
        (On::uploads(), Act::Status(403), 1, "is not allowed"),
        (On::uploads().first(1), Act::Status(503), 0, ""),
        (On::uploads().first(1), Act::RetryAfter(1), 0, ""),
        (On::manifests().method("PUT"), Act::Status(400), 1, "400"),
    ] {
        let registry = FaultyRegistry::new().fault(on, act).start();
        let output = peers.ours(&["push", "-q", "localhost/x:1", &registry.reference("a:1")]);
        assert_eq!(output.status.code(), Some(expected), "{why} {}{}", stdout(&output), stderr(&output));
        assert!(stderr(&output).contains(why), "{why}: {}", stderr(&output));
        assert!(expected != 0 || registry.has("a", "1").is_some(), "{why}");
    }
}
