//! The store: unpacked once, found again, two at once, crashes, full disks, files that are no archive.

use crate::removal::{in_private_mounts, mount_tmpfs};
use crate::support::*;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

fn small() -> Vec<u8> {
    Tar::new().directory("etc").file("etc/hostname", b"box\n").end()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn failure(bytes: &[u8]) -> String {
    let scratch = Scratch::new();
    let message = scratch.unpack(bytes).unwrap_err().to_string();
    assert_eq!(scratch.trees(), [""; 0], "{message}");
    assert!(message.contains("/archive\""), "{message} does not name the archive");
    message
}

#[test]
fn compression_is_told_by_content_never_by_name() {
    let tar = Tar::new().file("a", &vec![7; 3 << 20]).file("b", b"end").end();
    let half = tar.len() / 2 + 13;
    let padded = [gzip(&tar), vec![0; 700]].concat();
    let skippable = [&b"\x50\x2a\x4d\x18\x04\0\0\0skip"[..], &zstd(&tar)].concat();
    for (name, bytes) in [
        ("plain", tar.clone()),
        ("gzip", gzip(&tar)),
        ("zstd", zstd(&tar)),
        ("gzip members", [gzip(&tar[..half]), gzip(&tar[half..])].concat()),
        ("zstd frames", [zstd(&tar[..half]), zstd(&tar[half..])].concat()),
        ("gzip and zeros", padded),
        ("zstd after a skippable frame", skippable),
    ] {
        let scratch = Scratch::new();
        let path = scratch.0.join("rootfs.zip");
        std::fs::write(&path, &bytes).unwrap();
        let unpacked = scratch.store().archive(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(std::fs::read(unpacked.path.join("b")).unwrap(), b"end", "{name}");
        assert_eq!(std::fs::read(unpacked.path.join("a")).unwrap(), vec![7; 3 << 20], "{name}");
        let sum = std::process::Command::new("sha256sum").arg(&path).output().unwrap().stdout;
        assert_eq!(unpacked.digest, format!("sha256:{}", String::from_utf8_lossy(&sum[..64])), "{name}");
        let by_descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&unpacked.dir));
        assert_eq!(std::fs::read_link(by_descriptor).unwrap(), unpacked.path);
    }
}

#[test]
fn what_is_no_archive_is_told_for_what_it_is() {
    let image = Tar::new().file("manifest.json", b"[]").file("blobs/sha256/abc", b"").end();
    let layout = Tar::new().file("oci-layout", b"{}").directory("blobs").end();
    for (bytes, words) in [
        (Vec::new(), "0 bytes"),
        (vec![0; 10240], "no entries"),
        (gzip(&vec![0; 10240]), "no entries"),
        (b"hello\nworld\n".to_vec(), "text that begins \"hello\""),
        (b"PK\x03\x04and so on".to_vec(), "zip"),
        (b"\xfd7zXZ\0".to_vec(), "xz"),
        (vec![0x7f; 4096], "not a tar archive"),
        (gzip(&gzip(&small())), "compressed twice"),
        (zstd(&gzip(&small())), "compressed twice"),
        (image, "docker export"),
        (layout, "docker export"),
    ] {
        let message = failure(&bytes);
        assert!(message.contains(words), "{words:?} is not in {message:?}");
    }
    // A root file system may have such a file, too.
    assert!(Scratch::new().unpack(&Tar::new().directory("etc").file("manifest.json", b"").end()).is_ok());
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let scratch = Scratch::new();
    shell(&scratch.0, "mkfifo pipe");
    let open = |path: &Path| scratch.store().archive(path).unwrap_err().to_string();
    assert!(open(&scratch.0.join("pipe")).contains("is a pipe"));
    assert!(open(&scratch.0).contains("is a directory"));
    assert!(open(Path::new("/dev/null")).contains("is a device"));
    assert!(open(&scratch.0.join("gone")).contains("No such file"));
    assert!(!scratch.0.join("data").exists(), "nothing is made for nothing");
}

#[test]
fn truncated_at_every_place() {
    let whole = Tar::new().directory("d").file("d/f", &[b'x'; 700]).pax(&[("path", b"p")]).file("q", b"").end();
    for length in (1..whole.len() - 1024).step_by(128) {
        let message = failure(&whole[..length]);
        let right = if length < 512 { "not a tar archive" } else { "truncated" };
        assert!(message.contains(right), "{length}: {message}");
    }
    assert!(failure(&whole[..whole.len() - 1024]).contains("end-of-archive"));
    assert!(Scratch::new().unpack(&whole[..whole.len() - 512]).is_ok(), "one block of zeros at the end will do");
    let noise: Vec<u8> = (0..200_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let large = Tar::new().file("f", &noise).end();
    for compressed in [gzip(&large), zstd(&large)] {
        for length in [10, compressed.len() / 2, compressed.len() - 1] {
            let message = failure(&compressed[..length]);
            assert!(message.contains("truncated"), "{length}: {message}");
        }
        let mut damaged = compressed.clone();
        let at = compressed.len() - 6;
        damaged[at] ^= 0x55;
        let message = failure(&damaged);
        assert!(message.contains("damaged") || message.contains("truncated"), "{message}");
    }
    let junk = [gzip(&small()), b"junk that is long enough".to_vec()].concat();
    assert!(failure(&junk).contains("damaged"));
    let mut flipped = whole.clone();
    flipped[512 + 3] ^= 1;
    assert!(failure(&flipped).contains("checksum"));
}

#[test]
fn the_second_time_nothing_is_read() {
    let scratch = Scratch::new();
    let tar = scratch.0.join("archive");
    std::fs::write(&tar, small()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let first = scratch.store().archive(&tar).unwrap();
    assert_eq!(scratch.roots(), ["index", &first.digest.replace(':', "-")]);
    let marker = first.path.join("marker");
    std::fs::write(&marker, b"").unwrap();

    // How much this thread reads tells whether the archive was among it.
    let index = scratch.0.join("data/roots/index");
    let line = std::fs::read_to_string(&index).unwrap();
    let reads = || {
        let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse::<u64>().unwrap()
    };
    let large = Scratch::new();
    let path = large.0.join("archive");
    std::fs::write(&path, Tar::new().file("f", &vec![1; 8 << 20]).end()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let store = large.store();
    store.archive(&path).unwrap();
    let before = reads();
    store.archive(&path).unwrap();
    assert!(reads() - before < 100_000, "the archive was read again");

    // A copy is read, but not unpacked again; an index that is damaged or lies about the tree costs a reading.
    let copy = scratch.0.join("copy");
    std::fs::copy(&tar, &copy).unwrap();
    assert_eq!(scratch.store().archive(&copy).unwrap().digest, first.digest);
    for damage in ["", "garbage\n", "\0", &line[..line.len() / 2], &line.replace("sha256:", "sha256:0")] {
        std::fs::write(&index, damage).unwrap();
        assert_eq!(scratch.store().archive(&tar).unwrap().digest, first.digest, "{damage:?}");
        assert!(marker.exists());
    }
    assert_eq!(scratch.trees().len(), 1);

    // Another content under the same name is another tree.
    std::fs::write(&tar, Tar::new().directory("etc").file("etc/hostname", b"bax\n").end()).unwrap();
    let second = scratch.store().archive(&tar).unwrap();
    assert_ne!(second.digest, first.digest);
    assert_eq!(std::fs::read(second.path.join("etc/hostname")).unwrap(), b"bax\n");
}

#[test]
fn several_at_once_make_one_tree() {
    let scratch = Scratch::new();
    let tar = scratch.0.join("archive");
    let mut many = Tar::new();
    for number in 0..300 {
        many = many.file(format!("f{number}"), b"x");
    }
    std::fs::write(&tar, many.end()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let unpacked = scratch.store().archive(&tar).unwrap();
                assert_eq!(std::fs::read_dir(&unpacked.path).unwrap().count(), 300);
            });
        }
        // A sweeper in between takes nothing that is being made.
        for _ in 0..20 {
            assert!(scratch.store().sweep().is_empty());
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    assert_eq!(scratch.trees().len(), 1, "{:?}", scratch.trees());
}

#[test]
fn the_guard_keeps_others_from_removing_it() {
    use rustix::fs::{FlockOperation, flock};
    let scratch = Scratch::new();
    let unpacked = scratch.unpack(&small()).unwrap();
    let other = std::fs::File::open(unpacked.path.parent().unwrap()).unwrap();
    assert!(flock(&other, FlockOperation::NonBlockingLockShared).is_ok());
    assert!(flock(&other, FlockOperation::NonBlockingLockExclusive).is_err());
    drop(unpacked);
    assert!(flock(&other, FlockOperation::NonBlockingLockExclusive).is_ok());
}

/// What the killed child of the next test does.
#[test]
fn unpack_as_child() {
    if let Some(directory) = std::env::var_os("IMAGE_TEST_UNPACK") {
        let directory = Path::new(&directory);
        image::Store::open(&directory.join("data")).unwrap().archive(&directory.join("archive")).unwrap();
    }
}

#[test]
fn killed_at_any_time_leaves_what_a_sweep_takes_away() {
    let scratch = Scratch::new();
    let mut many = Tar::new();
    for number in 0..30_000 {
        many = many.file(format!("d{}/f{number}", number / 100), b"x");
    }
    std::fs::write(scratch.0.join("archive"), many.end()).unwrap();
    for delay in [0, 1, 5, 20, 60] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["store::unpack_as_child", "--exact"])
            .env("IMAGE_TEST_UNPACK", &scratch.0)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // What is in it is made when it is locked. Before, a sweep may take it, and another is made.
        let is_made =
            |name: &String| name.starts_with("tmp-") && scratch.0.join("data/roots").join(name).join("fs").exists();
        while !scratch.trees().iter().any(is_made) {
            assert!(child.try_wait().unwrap().is_none(), "it was done before it could be killed");
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_millis(delay));
        assert!(scratch.store().sweep().is_empty());
        assert_eq!(scratch.trees().len(), 1, "a sweep must leave what a living process makes");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(scratch.trees().len(), 1, "{delay} ms was too late");
        assert!(scratch.trees()[0].starts_with("tmp-"), "{delay} ms was too late");
        assert!(scratch.store().sweep().is_empty());
        assert_eq!(scratch.trees(), [""; 0]);
    }
}

#[test]
fn a_full_disk_is_told_and_freed() {
    let scratch = Scratch::new();
    let data = scratch.0.join("data");
    std::fs::create_dir(&data).unwrap();
    in_private_mounts(|| {
        mount_tmpfs(&data, c"size=8m");
        let free = || rustix::fs::statvfs(&data).unwrap().f_bfree;
        let before = free();
        let fails = |name: &str, bytes: &[u8]| {
            let error = scratch.unpack(bytes).unwrap_err();
            let image::Error::DiskFull { path, written, .. } = &error else { panic!("{name}: {error}") };
            assert!(path.ends_with("archive") && *written > 0, "{name}: {error}");
            assert_eq!(scratch.trees(), [""; 0], "{name}");
            assert!(before - free() <= 2, "{name}: {before} blocks were free, now {}", free());
        };
        fails("one large file", &gzip(&Tar::new().file("f", &vec![0; 16 << 20]).end()));
        let mut many = Tar::new();
        for number in 0..4000 {
            many = many.file(format!("f{number}"), &[1; 3000]);
        }
        fails("many small files", &zstd(&many.end()));
        // Nothing but a claim: found out before anything is written.
        let claim = Header { size: 1 << 32, ..Header::new("huge", b'0') };
        fails("a claim", &Tar::new().entry(claim, b"").0);
        // A hole takes no room.
        let holes = Tar::new().pax(&[("GNU.sparse.size", b"8589934593"), ("GNU.sparse.map", b"0,0")]).file("f", b"");
        let unpacked = scratch.unpack(&holes.end()).unwrap();
        assert_eq!(std::fs::metadata(unpacked.path.join("f")).unwrap().len(), (1 << 33) + 1);
    });
}

#[test]
fn trees_are_out_of_reach_and_inherit_nothing() {
    let scratch = Scratch::new();
    shell(&scratch.0, "mkdir data; chmod 2777 data; chgrp 1234 data");
    let unpacked = scratch.unpack(&Tar::new().file("f", b"").file("d/g", b"").end()).unwrap();
    let all = picture(&unpacked.path);
    assert!(all.values().all(|picture| picture.owner == (0, 0) && picture.mode & 0o7000 == 0), "{all:?}");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(scratch.0.join("data/roots")).unwrap().permissions().mode() & 0o777, 0o700);
}
