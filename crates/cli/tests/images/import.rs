//! `import`: what `podman export` and others wrote becomes an image, which others take.

use crate::common::{stderr, stdout};
use crate::fixtures::faults::{Act, On};
use crate::fixtures::faulty_registry::FaultyRegistry;
use crate::fixtures::image::TestImage;
use crate::fixtures::peers::Peers;
use crate::fixtures::{formats, has};
use serde_json::{Value, json};

#[test]
fn an_export_becomes_an_image() {
    if !has("an_export_becomes_an_image", &["podman", "skopeo"]) {
        return;
    }
    let peers = Peers::new();
    formats::write_docker_archive(&peers.path("image.tar"), &["localhost/app:1"], &TestImage::busybox());
    peers.sh("podman load -q -i image.tar >/dev/null; podman create -q --name made localhost/app:1 sh >/dev/null
         podman export made -o root.tar; gzip -k root.tar; zstd -q -k root.tar");
    let flags = ["-c", "CMD [\"cat\", \"/etc/passwd\"]", "-c", "ENV A=b C=d", "-c", "USER ann", "-m", "by a test"];
    for file in ["root.tar", "root.tar.gz", "root.tar.zst"] {
        let id = peers.ours_ok(&[&["import"], &flags[..], &[file, "localhost/made:1"]].concat());
        assert_eq!(peers.ours_ok(&["images", "-q", "--no-trunc", "localhost/made:1"]), id);
        assert!(peers.ours_run(&["localhost/made:1"]).starts_with("root:x:0:0"));
        assert_eq!(peers.ours_run(&["localhost/made:1", "sh", "-c", "id -un; echo $A $C"]), "ann\nb d\n");
    }
    let shown: Value = serde_json::from_str(&peers.ours_ok(&["inspect", "localhost/made:1"])).unwrap();
    assert_eq!(shown[0]["Config"]["Cmd"], json!(["cat", "/etc/passwd"]));
    assert_eq!(shown[0]["Comment"], "by a test");
    // The layer is the archive, whatever packed it.
    let digest = format!("sha256:{}", peers.sh("sha256sum root.tar")[..64].to_owned());
    assert_eq!(shown[0]["RootFS"]["Layers"], json!([digest]));
    peers.ours_ok(&["save", "-o", "saved.tar", "localhost/made:1"]);
    peers.ok(&["podman", "load", "-q", "-i", "saved.tar"]);

    // Through a pipe, without a name, for another machine.
    let script = format!("{} image import --platform linux/arm64 - <root.tar", crate::common::tool());
    let id = peers.sh(&script);
    assert_eq!(peers.ours_ok(&["inspect", "-f", "{{.Architecture}} {{len .RepoTags}}", id.trim_end()]), "arm64 0\n");
}

#[test]
fn a_url_is_fetched() {
    if !has("a_url_is_fetched", &["tar", "gzip"]) {
        return;
    }
    let peers = Peers::new();
    // Whoever runs the tests as an ordinary user gives them what is here, perhaps while it is read: that is tar's 1.
    peers
        .sh("mkdir -p root/bin; head -c 300000 /dev/urandom >root/bin/x; tar -C root -czf root.tar.gz . || [ $? = 1 ]");
    let bytes = std::fs::read(peers.path("root.tar.gz")).unwrap();
    let server = FaultyRegistry::new()
        .raw("files", "root.tar.gz", "application/gzip", bytes.clone())
        .raw("files", "cut.tar.gz", "application/gzip", bytes.clone())
        .raw("files", "page", "text/html", b"<html>Log in first</html>".to_vec())
        .fault(On::path("root.tar.gz").first(1), Act::Status(503))
        .fault(On::path("root.tar.gz").first(2), Act::redirect_relative())
        .fault(On::path("cut.tar.gz"), Act::TruncateAt(100_000))
        .start();
    let url = |name: &str| format!("{}/v2/files/blobs/{name}?signature=secret", server.url());
    let id = peers.ours_ok(&["import", "-c", "CMD x", &url("root.tar.gz"), "localhost/made:1"]);
    assert_eq!(peers.ours_ok(&["images", "-q", "--no-trunc", "localhost/made:1"]), id);
    let of_file = peers.ours_ok(&["import", "root.tar.gz"]);
    let layers = |id: &str| peers.ours_ok(&["inspect", "-f", "{{.RootFS.Layers}}", id.trim_end()]);
    assert_eq!(layers(&id), layers(&of_file));
    let comment = peers.ours_ok(&["inspect", "-f", "{{.Comment}}", id.trim_end()]);
    assert_eq!(comment, format!("Imported from {}/v2/files/blobs/root.tar.gz\n", server.url()));
    let images = peers.ours_ok(&["images", "-q"]);
    for (name, why) in [("cut.tar.gz", "broke"), ("page", "it is not a tar archive"), ("none", "answered 404")] {
        let said = peers.ours_fails(1, &["import", &url(name)]);
        assert!(said.contains(why) && !said.contains("secret"), "{name}: {said}");
    }
    assert_eq!(peers.ours_ok(&["images", "-q"]), images);
}

#[test]
fn what_is_no_root_is_refused() {
    if !has("what_is_no_root_is_refused", &["tar"]) {
        return;
    }
    let peers = Peers::new();
    peers.sh("mkdir -p root/bin; head -c 100000 /dev/urandom >root/bin/x; tar -C root -cf root.tar .; head -c 50000 root.tar >cut.tar; echo text >text; : >none; tar -C root -cf - . | gzip | head -c 5000 >cut.gz");
    for (words, code, why) in [
        (&["import", "cut.tar"][..], 1, "it is truncated"),
        (&["import", "cut.gz"], 1, "truncated"),
        (&["import", "text"], 1, "it is not a tar archive"),
        (&["import", "none"], 1, "it is empty"),
        (&["import", "nothing"], 1, "cannot open nothing"),
        (&["import", "root"], 1, "root"),
        (&["import", "https://127.0.0.1:1/x.tar"], 1, "cannot reach 127.0.0.1:1"),
        (&["import", "http://me:secret@127.0.0.1:1/x.tar"], 1, "no URL that can be fetched"),
        (&["import", "root.tar", "UPPER"], 1, "UPPER"),
        (&["import", "-c", "RUN x", "root.tar"], 125, "RUN"),
        (&["import"], 125, "import needs FILE"),
    ] {
        let output = peers.ours(words);
        assert_eq!((stdout(&output).as_str(), output.status.code()), ("", Some(code)), "{words:?}");
        assert!(stderr(&output).contains(why), "{words:?}: {}", stderr(&output));
    }
    assert_eq!(peers.ours_ok(&["images", "-q"]), "");
    peers.ours_ok(&["image", "prune", "-f"]);
    let left = |dir: &str| std::fs::read_dir(peers.ours_dir().join("images").join(dir)).map_or(0, Iterator::count);
    assert_eq!(left("blobs/sha256") + left("layers") + left("merged") + left("new"), 0, "nothing is left");
}
