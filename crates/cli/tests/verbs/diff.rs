//! `diff`: what a container has changed of its image, by the names.

use crate::fixtures::guest::{Guest, machine};
use crate::fixtures::has;
use crate::fixtures::image::{Layer, TestImage};

fn image() -> TestImage {
    TestImage::busybox().layer(
        Layer::new()
            .dir("data", 0o755)
            .file("data/kept", "kept", 0o644)
            .file("data/written", "old", 0o644)
            .file("data/gone", "gone", 0o644)
            .dir("data/deep", 0o755)
            .dir("data/deep/er", 0o755)
            .file("data/deep/er/file", "x", 0o644)
            .dir("whole", 0o755)
            .file("whole/a", "a", 0o644)
            .file("whole/b", "b", 0o644)
            .dir("anew", 0o755)
            .file("anew/old", "old", 0o644)
            .file("anew/both", "old", 0o644)
            .dir("mode", 0o755)
            .dir("turns", 0o755)
            .file("turns/x", "x", 0o644)
            .file("becomes", "x", 0o644)
            .symlink("link", "/data")
            .dir("vol", 0o755),
    )
}

#[test]
fn names_are_added_changed_and_deleted() {
    if !has("names_are_added_changed_and_deleted", &[]) {
        return;
    }
    let peers = machine(image());
    let cases: &[(&str, &str)] = &[
        ("true", ""),
        ("echo new >/data/written", "C /data\nC /data/written\n"),
        ("rm /data/gone", "C /data\nD /data/gone\n"),
        ("echo x >/data/deep/er/file", "C /data\nC /data/deep\nC /data/deep/er\nC /data/deep/er/file\n"),
        ("touch /new; mkdir /dir; touch /dir/file", "A /dir\nA /dir/file\nA /new\n"),
        ("rm -r /whole", "D /whole\n"),
        ("rm -r /anew; mkdir /anew; touch /anew/both /anew/new", "C /anew\nC /anew/both\nA /anew/new\nD /anew/old\n"),
        ("chmod 700 /mode", "C /mode\n"),
        ("chmod 600 /data/kept", "C /data\nC /data/kept\n"),
        ("rm -r /turns; echo x >/turns", "C /turns\n"),
        ("rm /becomes; mkdir /becomes; touch /becomes/x", "C /becomes\nA /becomes/x\n"),
        ("rm /link; ln -s /else /link", "C /link\n"),
        ("touch /soon; rm /soon", ""),
        ("mv /data/gone /data/moved", "C /data\nD /data/gone\nA /data/moved\n"),
        ("mkfifo /pipe; touch \"$(printf 'a\\nb\\033c')\"", "A /a\\nb\\u{1b}c\nA /pipe\n"),
        // What is mounted is not the layer's.
        ("echo x >/vol/file; echo x >/tmp/file; echo 10.0.0.1 x >>/etc/hosts; echo x >/dev/shm/x", ""),
    ];
    std::fs::create_dir(peers.path("mine")).unwrap();
    let volume = format!("{}:/vol", peers.path("mine").display());
    for (script, expected) in cases {
        let script = format!("cd /; {script}; echo ready; read x; sleep 1000");
        let flags = ["-u", "0", "-v", &volume, "--tmpfs", "/tmp"];
        let mut guest = Guest::start(&peers, "guest", &flags, "./layout", &script);
        assert_eq!(peers.ours_ok(&["diff", "guest"]), *expected, "{script}");
        peers.ours_ok(&["kill", "guest"]);
        guest.end();
    }
}

#[test]
fn one_that_was_created_and_what_has_no_image() {
    if !has("one_that_was_created_and_what_has_no_image", &[]) {
        return;
    }
    let peers = machine(image());
    let id = peers.ours_ok(&["create", "--name", "made", "./layout"]).trim_end().to_owned();
    assert_eq!(peers.ours_ok(&["diff", "made"]), "");
    let upper = peers.ours_dir().join("containers").join(&id).join("upper");
    std::fs::create_dir(upper.join("data")).unwrap();
    std::fs::write(upper.join("data/new"), "x").unwrap();
    peers.sh(&format!("mknod '{0}/data/gone' c 0 0; mknod '{0}/never-there' c 0 0", upper.display()));
    assert_eq!(peers.ours_ok(&["container", "diff", &id[..12]]), "C /data\nD /data/gone\nA /data/new\n");
    std::fs::create_dir_all(peers.path("there/bin")).unwrap();
    peers.ours_ok(&["create", "--name", "of-directory", "./there"]);
    let said = peers.ours_fails(1, &["diff", "of-directory"]);
    assert!(said.contains("the container of-directory is made of no image"), "{said}");
    peers.ours_fails(1, &["diff", "nothing"]);
    peers.ours_fails(125, &["diff"]);
}
