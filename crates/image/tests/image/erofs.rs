//! Layers as EROFS images: fsck.erofs accepts each, and a mounted image shows what the same layer shows when it is
//! unpacked; merged images show what overlayfs shows over the unpacked layers.

use crate::support::*;
use image::erofs::{Layer, Limits, merge, needs_merge, write_layer};
use image::{Fault, Through, mount_erofs};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An empty file for an image.
pub(crate) fn image_file(path: &Path) -> File {
    File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap()
}

/// Writes a layer to a file of this name, and has it checked by the judge.
pub(crate) fn layer(scratch: &Scratch, name: &str, tar: &[u8]) -> Result<(File, Layer), Fault> {
    let path = scratch.0.join(name);
    let file = image_file(&path);
    let layer = write_layer(tar, &file, &Limits::default())?;
    assert_eq!(file.metadata().unwrap().len(), layer.bytes);
    assert_eq!(needs_merge(&file).unwrap(), layer.needs_merge);
    check(&path, &[]);
    Ok((file, layer))
}

/// Merges layers into a file of this name, and has it checked by the judge.
pub(crate) fn merged(scratch: &Scratch, name: &str, layers: &[&File]) -> File {
    let path = scratch.0.join(name);
    let file = image_file(&path);
    merge(layers, &file).unwrap();
    let devices: Vec<_> = layers.iter().map(|layer| fd_path(layer.as_raw_fd())).collect();
    check(&path, &devices);
    file
}

fn fd_path(fd: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id()))
}

fn check(image: &Path, devices: &[PathBuf]) {
    let devices: Vec<_> = devices.iter().map(|device| format!("--device={}", device.display())).collect();
    let mut arguments: Vec<_> = devices.iter().map(OsStr::new).collect();
    arguments.push(image.as_os_str());
    run("fsck.erofs", &arguments);
    arguments.push(OsStr::new("-s"));
    run("dump.erofs", &arguments);
}

/// A mounted image, and a path to it.
pub(crate) struct Mounted {
    pub(crate) path: PathBuf,
    _mount: OwnedFd,
}

impl Mounted {
    pub(crate) fn new(image: &File, layers: &[&File]) -> Mounted {
        let layers: Vec<_> = layers.iter().map(|layer| layer.as_fd()).collect();
        let mount = mount_erofs(image.as_fd(), &layers, Through::Files).unwrap();
        let path = fd_path(mount.as_raw_fd());
        Mounted { path, _mount: mount }
    }
}

/// What one layer alone shows.
fn shown(tar: &[u8]) -> std::collections::BTreeMap<PathBuf, Picture> {
    let scratch = Scratch::new();
    let (file, _) = layer(&scratch, "layer", tar).unwrap();
    picture(&Mounted::new(&file, &[]).path)
}

#[test]
fn everything_an_entry_can_say() {
    let xattrs: [(&str, &[u8]); 4] = [
        ("SCHILY.xattr.user.colour", b"blue\n=\0"),
        ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("mtime", b"-5.25"),
    ];
    let acl = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x09\0\0\0\x04\0\x04\0\xff\xff\xff\xff\
        \x10\0\x06\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    let long = "l".repeat(255);
    let tar = Tar::new()
        .entry(Header { mode: 0o1777, uid: 5, ..Header::new("./", b'5') }, b"")
        .pax(&xattrs)
        .entry(Header { mode: 0o4751, size: 3, ..Header::new("file", b'0') }, b"abc")
        .pax(&[("uid", b"2147483648"), ("gid", b"4294967294"), ("path", long.as_bytes())])
        .file("x", &[7; 5000])
        .pax(&[("SCHILY.xattr.system.posix_acl_access", acl)])
        .file("listed", b"")
        .entry(Header { device: (4095, 1_048_575), ..Header::new("c", b'3') }, b"")
        .entry(Header { device: (0, 1), ..Header::new("b", b'4') }, b"")
        .entry(Header { uid: 9, ..Header::new("p", b'6') }, b"")
        .symlink("s", "../\u{fc}/x")
        .symlink("t", &"0123456789".repeat(9))
        .file(b"raw\xff\n", b"r")
        .hardlink("again", "file")
        .end();
    let all = shown(&tar);
    let get = |name: &str| &all[Path::new(name)];
    assert_eq!((get("").mode, get("").owner), (0o1777, (5, 0)));
    let file = get("file");
    assert_eq!(
        (file.mode, file.links, file.mtime, file.content.as_slice()),
        (0o4751, 2, (-6, 750_000_000), &b"abc"[..])
    );
    assert_eq!(file.xattrs.keys().collect::<Vec<_>>(), ["security.capability", "user.colour"]);
    assert_eq!(get("file").same_as, Path::new("again"));
    assert_eq!((get(&long).owner, get(&long).size), ((1 << 31, u32::MAX - 1), 5000));
    assert_eq!((get("listed").xattrs["system.posix_acl_access"].as_slice(), get("listed").mode), (&acl[..], 0o660));
    assert_eq!(get("c").device, rustix::fs::makedev(4095, 1_048_575));
    assert_eq!((get("b").kind, get("b").device), ("block", rustix::fs::makedev(0, 1)));
    assert_eq!((get("p").kind, get("p").owner), ("fifo", (9, 0)));
    assert_eq!(get("s").content, "../\u{fc}/x".as_bytes());
    assert!(all.contains_key(Path::new(OsStr::from_bytes(b"raw\xff\n"))));
}

#[test]
fn a_long_symlink_and_many_attributes() {
    let target = "t".repeat(4095);
    let value = vec![b'v'; 60_000];
    let tar = Tar::new().pax(&[("linkpath", target.as_bytes())]).symlink("s", "x");
    let tar = tar.pax(&[("SCHILY.xattr.user.a", &value), ("SCHILY.xattr.user.b", &value)]).directory("d");
    let tar = tar.pax(&[("SCHILY.xattr.user.a", &value)]).file("f", b"after").end();
    let all = shown(&tar);
    assert_eq!(all[Path::new("s")].content, target.as_bytes());
    assert_eq!(all[Path::new("d")].xattrs["user.b"], value);
    assert_eq!(
        (&all[Path::new("f")].xattrs["user.a"], all[Path::new("f")].content.as_slice()),
        (&value, &b"after"[..])
    );
}

#[test]
fn a_directory_of_fifty_thousand() {
    let scratch = Scratch::new();
    let names: Vec<String> =
        (0..50_000).map(|number| format!("big/{}{number}", "-.x!~"[number % 5..].chars().next().unwrap())).collect();
    let tar = names.iter().fold(Tar::new().directory("big"), |tar, name| tar.symlink(name, "t"));
    let (file, layer) = layer(&scratch, "layer", &tar.end()).unwrap();
    assert_eq!((layer.entries, layer.needs_merge), (50_001, false));
    let mounted = Mounted::new(&file, &[]);
    assert_eq!(std::fs::read_dir(mounted.path.join("big")).unwrap().count(), names.len());
    for name in &names {
        assert!(std::fs::symlink_metadata(mounted.path.join(name)).is_ok(), "{name}");
    }
    for name in ["big/-1", "big/z", "big/.", "big/x0x", "big/~"] {
        assert_eq!(std::fs::symlink_metadata(mounted.path.join(name)).is_ok(), name == "big/.", "{name}");
    }
}

#[test]
fn deeper_than_any_path() {
    // Each round goes through the link that the last one made, so no name is long, but the tree is 4,000 deep.
    let part = vec!["d"; 100].join("/");
    let mut tar = Tar::new();
    for round in 0..40 {
        let into = if round == 0 { part.clone() } else { format!("l{}/{part}", round - 1) };
        let back = format!("l{round}");
        let target = if round == 0 { part.clone() } else { into.clone() };
        tar = tar.pax(&[("path", into.as_bytes())]).directory("x");
        tar = tar.pax(&[("linkpath", target.as_bytes())]).symlink(&back, "x");
    }
    let scratch = Scratch::new();
    let path = scratch.0.join("layer");
    let file = image_file(&path);
    // What is named through more than forty links is refused, as the kernel would.
    write_layer(tar.end().as_slice(), &file, &Limits::default()).unwrap();
    let out = image_file(&scratch.0.join("merged"));
    merge(&[&file], &out).unwrap();
    Mounted::new(&file, &[]);
}

#[test]
fn holes_cost_nothing() {
    let sparse = |size: &str, map: &str| {
        Tar::new().pax(&[("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.map", map.as_bytes())])
    };
    let table: [(&str, &str, usize, u64); 8] = [
        ("5368709120", "0,4096,5368705024,4096", 8192, 5 << 30),
        ("5368709121", "4294967300,10,5368709120,1", 11, (5 << 30) + 1),
        ("10000", "0,0", 0, 10_000),
        ("20000", "5,3,4090,10,12288,5", 18, 20_000),
        ("4096", "4095,1", 1, 4096),
        ("1000000000000", "999999999999,1", 1, 1_000_000_000_000),
        ("40960", "0,4096,8192,4096,16384,24576", 32_768, 40_960),
        ("1", "0,0", 0, 1),
    ];
    for (size, map, stored, expected) in table {
        let data: Vec<u8> = (0..stored).map(|at| (at % 251) as u8 + 1).collect();
        let tar = sparse(size, map).file("f", &data).end();
        let scratch = Scratch::new();
        let (file, written) = layer(&scratch, "layer", &tar).unwrap();
        let top = merged(&scratch, "merged", &[&file]);
        for mounted in [Mounted::new(&file, &[]), Mounted::new(&top, &[&file])] {
            let path = mounted.path.join("f");
            assert_eq!(path.metadata().unwrap().len(), expected);
            let read = File::open(&path).unwrap();
            let mut data = data.as_slice();
            let numbers: Vec<u64> = map.split(',').map(|number| number.parse().unwrap()).collect();
            for extent in numbers.chunks(2) {
                use std::os::unix::fs::FileExt;
                let (now, later) = data.split_at(extent[1] as usize);
                // With what is before and behind: zeros.
                let before = extent[0].min(1);
                let mut got = vec![9; now.len() + 1 + before as usize];
                let length = read.read_at(&mut got, extent[0] - before).unwrap();
                let got = &got[..length];
                assert_eq!(&got[before as usize..][..now.len()], now, "{map}");
                data = later;
            }
        }
        let on_disk = file.metadata().unwrap().blocks() * 512;
        assert!(on_disk < 1 << 20, "{map}: {on_disk} bytes on disk, {written:?}");
    }
}

#[test]
fn the_same_archive_makes_the_same_image() {
    let scratch = Scratch::new();
    let tar = Tar::new().file("a", b"1").directory("d").symlink("d/s", "x").hardlink("h", "a").end();
    layer(&scratch, "one", &tar).unwrap();
    layer(&scratch, "two", &tar).unwrap();
    let bytes = std::fs::read(scratch.0.join("one")).unwrap();
    assert!(bytes == std::fs::read(scratch.0.join("two")).unwrap());
}

#[test]
fn an_empty_layer_is_a_layer() {
    let all = shown(&[0; 1024]);
    assert_eq!(all.len(), 1);
    assert_eq!((all[Path::new("")].kind, all[Path::new("")].mode), ("directory", 0o755));
}

/// Each layer, the lowest first, and what is seen in the end.
#[test]
fn what_a_layer_does_to_lower_ones() {
    let base = || Tar::new().directory("./").directory("d").file("d/a", b"1").file("d/b", b"2").file("e", b"3");
    let table: [(&str, Tar, &[&str]); 12] = [
        ("a file replaced", Tar::new().file("e", b"new"), &["d", "d/a", "d/b", "e=new"]),
        ("a whiteout", Tar::new().file("d/.wh.a", b""), &["d", "d/b", "e=3"]),
        ("a whiteout of a directory", Tar::new().file(".wh.d", b""), &["e=3"]),
        ("a whiteout of nothing", Tar::new().file(".wh.zz", b""), &["d", "d/a", "d/b", "e=3"]),
        ("opaque", Tar::new().directory("d").file("d/.wh..wh..opq", b"").file("d/c", b""), &["d", "d/c", "e=3"]),
        ("opaque, told last", Tar::new().file("d/c", b"").file("d/.wh..wh..opq", b""), &["d", "d/c", "e=3"]),
        ("whiteout, then the name", Tar::new().file(".wh.d", b"").file("d/c", b""), &["d", "d/c", "e=3"]),
        (
            "the name, then whiteout",
            Tar::new().directory("d").file("d/c", b"").file(".wh.d", b""),
            &["d", "d/c", "e=3"],
        ),
        ("whiteout and file", Tar::new().file("e", b"new").file(".wh.e", b""), &["d", "d/a", "d/b", "e=new"]),
        ("file, then directory", Tar::new().file("d", b"").directory("d"), &["d", "e=3"]),
        ("all of it", Tar::new().file(".wh..wh..opq", b"").file("n", b""), &["n"]),
        ("aufs", Tar::new().file(".wh..wh.plnk/1", b"x").file("d/.wh..wh.orph", b""), &["d", "d/a", "d/b", "e=3"]),
    ];
    for (name, tar, expected) in table {
        let scratch = Scratch::new();
        let (lower, first) = layer(&scratch, "lower", &base().end()).unwrap();
        let (upper, _) = layer(&scratch, "upper", &tar.end()).unwrap();
        assert!(!first.needs_merge);
        let top = merged(&scratch, "merged", &[&lower, &upper]);
        let all = picture(&Mounted::new(&top, &[&lower, &upper]).path);
        let mut seen = Vec::new();
        for (path, picture) in all.iter().skip(1) {
            let content = if path == Path::new("e") {
                format!("={}", String::from_utf8_lossy(&picture.content))
            } else {
                String::new()
            };
            seen.push(format!("{}{content}", path.display()));
        }
        assert_eq!(seen, expected, "{name}");
        assert!(
            all.values().all(|picture| picture.xattrs.is_empty() || picture.xattrs.contains_key("user.x")),
            "{name}: marks are seen"
        );
    }
}

#[test]
fn a_directory_that_no_entry_names_stays_as_it_was() {
    let scratch = Scratch::new();
    let lower = Tar::new().entry(Header { mode: 0o700, uid: 7, ..Header::new("d", b'5') }, b"").end();
    let (lower, _) = layer(&scratch, "lower", &lower).unwrap();
    let (upper, _) = layer(&scratch, "upper", &Tar::new().file("d/a", b"").file("n/a", b"").end()).unwrap();
    let top = merged(&scratch, "merged", &[&lower, &upper]);
    let all = picture(&Mounted::new(&top, &[&lower, &upper]).path);
    assert_eq!((all[Path::new("d")].mode, all[Path::new("d")].owner), (0o700, (7, 0)));
    assert_eq!(all[Path::new("n")].mode, 0o755);
}

#[test]
fn hard_links_count_what_is_still_seen() {
    let scratch = Scratch::new();
    let lower = Tar::new().file("a", b"one").hardlink("b", "a").hardlink("d/c", "a").end();
    let (lower, _) = layer(&scratch, "lower", &lower).unwrap();
    let (upper, _) = layer(&scratch, "upper", &Tar::new().file(".wh.b", b"").end()).unwrap();
    let top = merged(&scratch, "merged", &[&lower, &upper]);
    let all = picture(&Mounted::new(&top, &[&lower, &upper]).path);
    assert_eq!((all[Path::new("a")].links, all[Path::new("d/c")].same_as.as_path()), (2, Path::new("a")));
}

#[test]
fn a_hundred_and_twenty_seven_layers() {
    let scratch = Scratch::new();
    let layers: Vec<File> = (0..127)
        .map(|number: u32| {
            let tar = Tar::new().file(format!("d/{number}"), number.to_string().as_bytes());
            let tar = tar.file("top", number.to_string().as_bytes());
            let tar = if number % 10 == 9 { tar.file(format!("d/.wh.{}", number - 1), b"") } else { tar };
            layer(&scratch, &format!("l{number}"), &tar.end()).unwrap().0
        })
        .collect();
    let layers: Vec<&File> = layers.iter().collect();
    let top = merged(&scratch, "merged", &layers);
    let mounted = Mounted::new(&top, &layers);
    assert_eq!(std::fs::read(mounted.path.join("top")).unwrap(), b"126");
    for number in 0..127 {
        let read = std::fs::read_to_string(mounted.path.join(format!("d/{number}"))).ok();
        assert_eq!(read, (number % 10 != 8).then(|| number.to_string()), "{number}");
    }
}

#[test]
fn an_owner_fills_no_more_than_its_limits() {
    let scratch = Scratch::new();
    let file = image_file(&scratch.0.join("layer"));
    let attempt = |tar: Tar, limits: Limits| write_layer(tar.end().as_slice(), &file, &limits).unwrap_err().to_string();
    let limits = Limits { bytes: 100_000, entries: 10, names: 10_000 };
    let big = (0..10).fold(Tar::new(), |tar, n| tar.file(n.to_string(), &[0; 20_000]));
    assert!(attempt(big, limits).contains("more than 100000 bytes"));
    let many = (0..11).fold(Tar::new(), |tar, n| tar.directory(n.to_string()));
    assert!(attempt(many, limits).contains("one more than 10"));
    let implied = Tar::new().file("a/b/c/d/e/f/g/h/i/j/k", b"");
    assert!(attempt(implied, limits).contains("one more than 10"));
    let attribute = [("SCHILY.xattr.user.a", &[b'x'; 9000][..])];
    let long = Tar::new().pax(&attribute).file("a", b"").pax(&attribute).file("b", b"");
    assert!(attempt(long, limits).contains("more than 10000 bytes"));
    let hole =
        Tar::new().pax(&[("GNU.sparse.size", b"9000000000000000000"), ("GNU.sparse.map", b"0,0")]).file("f", b"");
    assert!(attempt(hole, limits).contains("more than 100000 bytes"));
    // And what claims more than the disk has is refused before it is read.
    let header = Header { size: 0o77_777_777_777, ..Header::new("huge", b'0') };
    let claims = (0..60).fold(Tar::new(), |tar, _| tar).pax(&[("size", b"90000000000000000")]).raw(&header.bytes());
    let error = write_layer(claims.0.as_slice(), &file, &Limits::default()).unwrap_err();
    assert!(matches!(error, Fault::NoSpace { .. }), "{error}");
}
