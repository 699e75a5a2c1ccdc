//! Archives damaged at random: never a panic, never anything outside of the tree, never anything left of a failure.

use crate::support::*;
use std::path::Path;

fn seed(outside: &str) -> Vec<u8> {
    let sparse: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"5000"),
        ("GNU.sparse.name", b"holes"),
    ];
    let mut map = b"1\n1000\n3\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"abc");
    Tar::new()
        .directory("./")
        .directory("etc/")
        .file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n")
        .symlink("up", "../../..")
        .directory(outside)
        .symlink("abs", outside)
        .hardlink("etc/again", "etc/passwd")
        .meta(b'L', b"a/long/name\0")
        .file("short", b"data")
        .pax(&[("path", b"up/x"), ("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"b")])
        .file("p", b"pax")
        .file("abs/y", b"absolute")
        .pax(&sparse)
        .file("GNUSparseFile.0/holes", &map)
        .entry(Header { device: (1, 3), ..Header::new("null", b'3') }, b"")
        .entry(Header::new("pipe", b'6'), b"")
        .end()
}

/// Changes a few bytes, mostly in headers, and mostly makes the checksums right again, or nothing would get past them.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    const INTERESTING: &[u8] = b"\0\x80\xff../0179 =\nLKxgS125";
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        bytes[at] = match random.below(3) {
            0 => random.below(256) as u8,
            _ => INTERESTING[random.below(INTERESTING.len())],
        };
        let block = at / 512 * 512;
        if &bytes[block + 257..block + 262] == b"ustar" && random.below(8) != 0 {
            let header: [u8; 512] = bytes[block..block + 512].try_into().unwrap();
            bytes[block..block + 512].copy_from_slice(&sealed(header));
        }
    }
    match random.below(40) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 => {
            let from = random.below(bytes.len() / 512) * 512;
            let copy = bytes[from..from + 512].to_vec();
            let to = random.below(bytes.len() / 512) * 512;
            bytes.splice(to..to, copy);
        }
        _ => {}
    }
}

#[test]
fn the_reader_survives_anything() {
    let seed = seed("/tmp");
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut whole = 0;
    for _ in 0..20_000 {
        let mut bytes = seed.clone();
        mutate(&mut random, &mut bytes);
        let mut reader = image::tar::Reader::new(bytes.as_slice());
        while let Ok(Some(_)) = reader.next() {
            let mut end = 0;
            let read = reader.data(|offset, piece| {
                assert!(offset >= end && !piece.is_empty());
                end = offset + piece.len() as u64;
                Ok::<(), image::Fault>(())
            });
            whole += u32::from(read.is_ok());
        }
    }
    assert!(whole > 20_000, "mutations so rough that nothing gets through test nothing: {whole}");
}

#[test]
fn damaged_archives_stay_in_their_tree() {
    let scratch = Scratch::new();
    let outside = scratch.0.join("outside");
    std::fs::create_dir(&outside).unwrap();
    let seed = seed(outside.to_str().unwrap());
    let tar = scratch.0.join("archive");
    let store = scratch.store();
    let mut random = Random(0xfeed_beef_cafe_0001);
    let (mut kept, mut refused) = (0, 0);
    for round in 0..1500 {
        let mut bytes = seed.clone();
        mutate(&mut random, &mut bytes);
        std::fs::write(&tar, &bytes).unwrap();
        match store.archive(&tar) {
            Ok(unpacked) => {
                kept += 1;
                let name = unpacked.path.parent().unwrap().file_name().unwrap().to_owned();
                let roots = std::fs::File::open(scratch.0.join("data/roots")).unwrap();
                image::remove_tree(std::os::fd::AsFd::as_fd(&roots), &name).unwrap();
            }
            Err(_) => refused += 1,
        }
        assert_eq!(scratch.trees(), [""; 0], "round {round}");
        let count = |path: &Path| std::fs::read_dir(path).unwrap().count();
        let counts = [count(&scratch.0), count(&scratch.0.join("data")), count(&outside)];
        assert_eq!(counts, [3, 1, 0], "round {round}");
    }
    assert!(kept > 200 && refused > 200, "{kept} kept, {refused} refused");
}
