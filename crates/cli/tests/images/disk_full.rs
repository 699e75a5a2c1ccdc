//! A store that is full: `pull` and `load` say so, free what they took, and what fits works afterwards.
//!
//! The store is a tmpfs of the test's own, or an ext4 on a file: what they do when they are full is not the same, for
//! ext4 promises room at `write` that it may not have at `fsync`.

use crate::common::{Scratch, code, stderr};
use crate::fixtures::faulty_registry::FaultyRegistry;
use crate::fixtures::image::{Compression, Layer, TestImage};
use crate::fixtures::judge;
use crate::fixtures::peers::Peers;
use crate::fixtures::{formats, has};
use std::process::Command;

/// A file system of 24 MiB with the tool's data directory in it; it goes with the test.
struct Full {
    peers: Peers,
    _image: Scratch,
}

impl Full {
    fn new(kind: &str) -> Full {
        let (peers, scratch) = (Peers::new(), Scratch::new("full"));
        // What the tool sees as /var/lib.
        let dir = peers.path("state/lib");
        let image = scratch.path("ext4");
        let script = match kind {
            "tmpfs" => "mount -t tmpfs -o size=24m,mode=755 none \"$1\"".to_owned(),
            _ => format!("truncate -s 24M {image} && mkfs.ext4 -q -m 0 {image} && mount -o loop {image} \"$1\""),
        };
        let output = Command::new("sh").args(["-ec", &script, "sh"]).arg(&dir).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        Full { peers, _image: scratch }
    }

    /// Bytes in use.
    fn used(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.peers.path("state/lib")).unwrap();
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.peers.path("state/lib")).status();
    }
}

fn noise(mib: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..mib << 17).flat_map(|_| next()).collect()
}

#[test]
fn a_full_disk_says_so_and_is_freed() {
    if !has("a_full_disk_says_so_and_is_freed", &["mkfs.ext4"]) {
        return;
    }
    let layer = |mib: usize, seed| Layer::new().file(&format!("f{seed}"), noise(mib, seed), 0o644);
    let small = TestImage::busybox().layer(layer(1, 1));
    // What fails: one layer; the last of several; the tree, for the blob is small; a tree of many small files.
    let zeros = Layer::new().file("pattern", b"0123456789abcdef".repeat(2 << 20), 0o644);
    let many = (0..9000).fold(Layer::new(), |layer, n| layer.file(&format!("f{n}"), vec![b'x'; 5000], 0o644));
    let large = [
        ("one layer", TestImage::busybox().layer(layer(20, 2))),
        ("the last of several", (2..7).fold(TestImage::busybox(), |image, seed| image.layer(layer(3, seed)))),
        ("a tree", TestImage::busybox().compression(Compression::Zstd).layer(zeros)),
        ("many files", TestImage::busybox().layer(many)),
    ];
    for kind in ["tmpfs", "ext4"] {
        for (name, image) in &large {
            let full = Full::new(kind);
            let peers = &full.peers;
            let registry = FaultyRegistry::new().image("large:1", image).image("small:1", &small).start();
            let tag = registry.reference("large:1");
            formats::write_layout(&peers.path("layout"), &tag, image);
            formats::write_oci_archive(&peers.path("archive.tar"), &tag, image);
            peers.ours_ok(&["images"]);
            let before = full.used();
            let archive = format!("{} load -q <archive.tar", crate::common::tool());
            let ways: &[&[&str]] = &[
                &[crate::common::tool(), "pull", "-q", &tag],
                &[crate::common::tool(), "run", "--rm", "--network", "none", &tag, "true"],
                &[crate::common::tool(), "load", "-q", "-i", "layout"],
                &["sh", "-c", &archive],
            ];
            for way in ways {
                let output = peers.run(way);
                let said = stderr(&output);
                eprintln!("{kind}, {name}, {}: {}", way[1], said.trim_end());
                assert!([1, 125].contains(&code(output.status)), "{kind}, {name}: {way:?}: {} {said}", output.status);
                assert!(said.contains("o space left"), "{kind}, {name}: {way:?}: {said}");
                assert!(said.contains("hint: free some space"), "{kind}, {name}: {way:?}: {said}");
                assert_eq!(judge::content(peers), Vec::<String>::new(), "{kind}, {name}: {way:?}");
                let more = full.used().saturating_sub(before);
                assert!(more < 300_000, "{kind}, {name}: {way:?}: {more} bytes are still taken");
            }
            let fits = registry.reference("small:1");
            peers.ours_ok(&["pull", "-q", &fits]);
            assert_eq!(peers.ours_run(&[&fits, "sh", "-c", "wc -c </f1"]), "1048576\n");
            // An image that does not fit takes nothing from one that is there.
            assert!(!peers.ours(&["pull", "-q", &tag]).status.success());
            assert_eq!(peers.ours_run(&[&fits, "sh", "-c", "wc -c </f1"]), "1048576\n");
        }
    }
}
