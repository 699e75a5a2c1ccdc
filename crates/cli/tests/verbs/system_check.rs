//! `system check`: what is damaged on disk is told, and mended.

use crate::common::{stderr, stdout};
use crate::fixtures::formats;
use crate::fixtures::has;
use crate::fixtures::image::{Layer, TestImage};
use crate::fixtures::peers::Peers;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Flips a bit of a file.
fn flip(path: &PathBuf, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[test]
fn a_flipped_byte_is_told_and_mended() {
    if !has("a_flipped_byte_is_told_and_mended", &[]) {
        return;
    }
    let peers = Peers::new();
    let image = TestImage::busybox().layer(Layer::new().file("word", vec![b'w'; 100_000], 0o644));
    formats::write_docker_archive(&peers.path("image"), &["localhost/app:1"], &image);
    peers.ours_ok(&["load", "-q", "-i", "image"]);
    let word = || peers.ours_run(&["localhost/app:1", "sh", "-c", "md5sum </word"]);
    let right = word();
    let fine = peers.ours_ok(&["system", "check"]);
    assert!(fine.starts_with("Checked 1 image: 2 layers of ") && fine.ends_with("; 0 damaged, 0 repaired\n"), "{fine}");

    let layer = &image.diff_ids()[1];
    flip(&peers.ours_dir().join(format!("images/layers/{}.erofs", &layer[7..])), 4096 + 77);
    let quick = peers.ours_ok(&["system", "check", "--quick"]);
    assert!(quick.ends_with("; 0 damaged, 0 repaired\n"), "a flipped byte changes no length: {quick}");
    let output = peers.ours(&["system", "check"]);
    let (said, told) = (stdout(&output), stderr(&output));
    let line = format!("the layer {layer} (localhost/app:1): it is not what its blob makes\n");
    assert!(said.starts_with(&line) && said.ends_with("; 1 damaged, 0 repaired\n"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("damaged in 1 place") && told.contains("system check --repair"), "{told}");
    let said = peers.ours_ok(&["system", "check", "-r"]);
    assert!(said.contains("makes: made anew\n") && said.ends_with("; 1 damaged, 1 repaired\n"), "{said}");
    assert_eq!(word(), right);
    peers.ours_ok(&["system", "check"]);

    // Without the blob it cannot be told; the next load brings it.
    flip(&peers.ours_dir().join(format!("images/blobs/sha256/{}", &stored_layers(&peers)[1][7..])), 100);
    let said = peers.ours_ok(&["system", "check", "--repair"]);
    assert!(said.contains("the blob sha256:") && said.contains(": removed, to be pulled again\n"), "{said}");
    assert_eq!(word(), right, "what was made of it is there");
    let output = peers.ours(&["system", "check", "--repair"]);
    assert!(stdout(&output).contains("it is not there\n"), "{}", stdout(&output));
    assert!(stderr(&output).contains("`pull` these images again"), "{}", stderr(&output));
    peers.ours_ok(&["load", "-q", "-i", "image"]);
    assert_eq!(peers.ours_ok(&["system", "check"]), fine);

    // A manifest that a container alone needs.
    let id = peers.ours_ok(&["create", "--name", "web", "localhost/app:1", "true"]);
    let manifest = peers.ours_ok(&["inspect", "-f", "{{.Digest}}", "localhost/app:1"]);
    flip(&peers.ours_dir().join(format!("images/blobs/sha256/{}", &manifest.trim_end()[7..])), 20);
    let output = peers.ours(&["system", "check"]);
    assert!(stdout(&output).contains("(localhost/app:1, the container web)"), "{}", stdout(&output));
    peers.ours_ok(&["system", "check", "-r"]);
    assert_eq!(peers.ours_ok(&["images", "-q"]), "");
    peers.ours_ok(&["load", "-q", "-i", "image"]);
    assert_eq!(peers.ours_ok(&["system", "check"]), fine);
    peers.ours_ok(&["rm", id.trim_end()]);
}

/// The digests of the layers as the store has them.
fn stored_layers(peers: &Peers) -> Vec<String> {
    let text = peers.ours_ok(&["inspect", "-f", "{{range .Layers}}{{.Digest}}\n{{end}}", "localhost/app:1"]);
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn words_that_are_wrong() {
    let peers = Peers::new();
    for (words, why) in
        [(&["system", "check", "x"][..], "takes no words"), (&["system", "check", "--force"], "has no flag --force")]
    {
        let said = peers.ours_fails(125, words);
        assert!(said.contains(why), "{words:?}: {said}");
    }
}
