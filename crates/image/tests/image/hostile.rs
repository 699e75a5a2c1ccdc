//! Archives that want out, or want us to guess: each is refused in words, or contained, and nothing outside changes.

use crate::support::*;
use std::path::Path;

/// Unpacks below a directory with a canary, and looks at it afterwards.
fn attempt(bytes: &[u8]) -> (Result<image::Unpacked, String>, Scratch) {
    let scratch = Scratch::new();
    std::fs::write(scratch.0.join("canary"), b"alive").unwrap();
    let result = scratch.unpack(bytes).map_err(|error| error.to_string());
    let mut outside: Vec<_> = std::fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    outside.sort();
    assert_eq!(outside, ["archive", "canary", "data"]);
    assert_eq!(std::fs::read(scratch.0.join("canary")).unwrap(), b"alive");
    assert_eq!(std::fs::read_dir(scratch.0.join("data")).unwrap().count(), 1);
    if result.is_err() {
        assert_eq!(scratch.trees(), [""; 0], "a failure leaves nothing");
    }
    (result, scratch)
}

fn refused(name: &str, bytes: &[u8], words: &[&str]) {
    match attempt(bytes).0 {
        Ok(_) => panic!("{name}: not refused"),
        Err(message) => {
            for word in words {
                assert!(message.contains(word), "{name}: {word:?} is not in {message:?}");
            }
        }
    }
}

#[test]
fn names_that_climb() {
    for name in ["../canary", "a/../../canary", "/../../canary", "..", "a/.."] {
        refused(name, &Tar::new().file(name, b"dead").end(), &[&format!("{name:?}"), "climbs with `..`"]);
        let link = Tar::new().file("here", b"").hardlink("there", name).end();
        refused(name, &link, &["\"there\"", "climbs with `..`"]);
        refused(name, &Tar::new().pax(&[("path", name.as_bytes())]).directory("x").end(), &["climbs"]);
    }
}

#[test]
fn absolute_names_and_links_stay_inside() {
    let tar = Tar::new().file("/etc/image-test", b"in").hardlink("/again", "/etc/image-test");
    let (unpacked, _scratch) = attempt(&tar.end());
    let all = picture(&unpacked.unwrap().path);
    assert_eq!(all[Path::new("again")].content, b"in");
    assert_eq!(all[Path::new("etc/image-test")].links, 2);
    assert!(!Path::new("/etc/image-test").exists() && !Path::new("/again").exists());
}

#[test]
fn symlinks_on_the_way_lead_where_the_container_would_go() {
    let scratch = Scratch::new();
    let outside = scratch.0.join("outside");
    std::fs::create_dir(&outside).unwrap();
    let up = format!("{}{}", "../".repeat(12), outside.strip_prefix("/").unwrap().display());
    for target in [outside.to_str().unwrap(), &up] {
        // The same name exists inside, as a directory: that is where the file must go.
        let inside = outside.strip_prefix("/").unwrap().to_str().unwrap();
        let tar = Tar::new().directory(inside).symlink("door", target).file("door/file", b"in").directory("door/d");
        let tar = tar.hardlink("door/hard", "door/file").symlink("door/soft", "/").end();
        let (unpacked, _other) = attempt(&tar);
        let all = picture(&unpacked.unwrap().path);
        assert_eq!(all[&Path::new(inside).join("file")].content, b"in");
        assert_eq!(all[&Path::new(inside).join("hard")].links, 2);
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{target}");
        // And when it does not exist inside, there is nowhere to go.
        let tar = Tar::new().symlink("door", target).file("door/file", b"in").end();
        refused("dangling", &tar, &["\"door/file\"", "No such file"]);
    }
    let proc = Tar::new().symlink("door", "/proc/self/root").file("door/tmp/image-test", b"").end();
    refused("magic", &proc, &["\"door/tmp/image-test\""]);
    let around = Tar::new().symlink("a", "b").symlink("b", "a").file("a/c", b"").end();
    refused("loop", &around, &["\"a/c\"", "symbolic links"]);
}

#[test]
fn files_are_never_written_through_links() {
    let scratch = Scratch::new();
    let canary = scratch.0.join("outside");
    std::fs::write(&canary, b"alive").unwrap();
    let target = canary.to_str().unwrap();
    let tar = Tar::new().symlink("a", target).file("a", b"dead").symlink("d", "/tmp").directory("d").file("d/x", b"");
    let (unpacked, _other) = attempt(&tar.end());
    let all = picture(&unpacked.unwrap().path);
    assert_eq!((all[Path::new("a")].kind, all[Path::new("d")].kind), ("file", "directory"));
    assert_eq!(std::fs::read(&canary).unwrap(), b"alive");
    // A hard link to a symlink is one more name of the symlink, and a later file replaces that name.
    let tar = Tar::new().symlink("s", target).hardlink("h", "s").file("h", b"dead");
    let (unpacked, _other) = attempt(&tar.end());
    assert_eq!(picture(&unpacked.unwrap().path)[Path::new("s")].kind, "symlink");
    assert_eq!(std::fs::read(&canary).unwrap(), b"alive");
}

#[test]
fn hard_links_to_nothing_to_directories_and_to_the_outside() {
    refused("missing", &Tar::new().hardlink("h", "gone").end(), &["\"h\"", "\"gone\"", "No such file"]);
    refused("directory", &Tar::new().directory("d").hardlink("h", "d").end(), &["\"h\"", "\"d\"", "not permitted"]);
    refused("root", &Tar::new().hardlink("h", "/").end(), &["\"h\"", "root itself"]);
    refused("host", &Tar::new().hardlink("h", "/etc/passwd").end(), &["\"/etc/passwd\"", "No such file"]);
    let door = Tar::new().symlink("door", "/etc").hardlink("h", "door/passwd").end();
    refused("door", &door, &["\"door/passwd\"", "No such file"]);
    refused("in itself", &Tar::new().directory("d").file("d/f", b"").hardlink("d", "d/f").end(), &["No such file"]);
}

#[test]
fn devices_and_whiteouts() {
    refused("whiteout", &Tar::new().entry(Header::new("bin/sh", b'3'), b"").end(), &["\"bin/sh\"", "whiteout"]);
    let wide = Header { device: (4096, 0), ..Header::new("dev", b'4') };
    refused("wide", &Tar::new().entry(wide, b"").end(), &["device"]);
}

#[test]
fn entries_that_two_readers_would_read_differently() {
    for typeflag in *b"123456" {
        let header = Header { size: 5, link: b"a".into(), device: (1, 3), ..Header::new("odd", typeflag) };
        refused("header size", &Tar::new().entry(header, b"abcde").end(), &["\"odd\"", "5 bytes"]);
        let header = Header { link: b"a".into(), device: (1, 3), ..Header::new("odd", typeflag) };
        let tar = Tar::new().pax(&[("size", b"512")]).entry(header, &[0; 512]);
        refused("pax size", &tar.end(), &["\"odd\"", "512 bytes"]);
    }
    let twice = Tar::new().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("c", b"").end();
    refused("two x", &twice, &["second"]);
    let twice = Tar::new().meta(b'L', b"a").meta(b'L', b"b").file("c", b"").end();
    refused("two L", &twice, &["second"]);
    for key in ["path", "linkpath", "size", "GNU.sparse.major", "GNU.sparse.name", "SCHILY.xattr.user.a"] {
        let global = Tar::new().meta(b'g', &pax_records(&[(key, b"1")])).file("c", b"").end();
        refused(key, &global, &["global"]);
    }
    refused("orphan", &Tar::new().file("a", b"").pax(&[("path", b"b")]).end(), &["no entry after it"]);
    for typeflag in *b"MNDAZ9" {
        refused("type", &Tar::new().entry(Header::new("odd", typeflag), b"").end(), &["\"odd\"", "type"]);
    }
    let two = [Tar::new().file("a", b"").end(), Tar::new().file("b", b"").end()].concat();
    refused("two archives", &two, &["after its end-of-archive marker"]);
}

#[test]
fn bad_names_and_numbers() {
    refused("empty", &Tar::new().file("", b"").end(), &["empty"]);
    refused("nul", &Tar::new().pax(&[("path", b"a\0b")]).file("x", b"").end(), &["NUL"]);
    refused("long", &Tar::new().pax(&[("path", &[b'a'; 4096])]).file("x", b"").end(), &["longer than 4095"]);
    refused("component", &Tar::new().pax(&[("path", &[b'a'; 256])]).file("x", b"").end(), &["too long"]);
    refused("target", &Tar::new().symlink("x", "").end(), &["\"x\"", "target", "empty"]);
    refused("root", &Tar::new().symlink("./", "/etc").end(), &["root"]);
    refused("uid", &Tar::new().pax(&[("uid", b"4294967295")]).file("x", b"").end(), &["uid"]);
    refused("uid", &Tar::new().pax(&[("uid", b"4294967296")]).file("x", b"").end(), &["uid"]);
    refused("size", &Tar::new().pax(&[("size", b"9223372036854775808")]).file("x", b"").end(), &["size"]);
    let huge = Header { size: 1 << 20 | 1, ..Header::new("x", b'x') };
    refused("meta", &Tar::new().entry(huge, b"").end(), &["too large"]);
    let mut negative = Header::new("x", b'0').bytes();
    negative[124..136].fill(0xff);
    refused("negative", &Tar::new().raw(&sealed(negative)).end(), &["size"]);
    let below = Tar::new().file("a", b"").file("a/b", b"").end();
    refused("below a file", &below, &["\"a/b\"", "Not a directory"]);
}

#[test]
fn holes_that_lie() {
    let map = |map: &[u8], size: &[u8], data: &[u8]| {
        Tar::new().pax(&[("GNU.sparse.size", size), ("GNU.sparse.map", map)]).file("f", data).end()
    };
    for (name, text, size, words) in [
        ("overlap", "0,4,2,4", "10", "overlap"),
        ("backwards", "5,4,0,4", "10", "backwards"),
        ("past the end", "5,8", "10", "past the end"),
        ("too little", "0,4", "10", "add up"),
        ("half a pair", "0,4,5", "10", "half a pair"),
        ("far", "9223372036854775807,8", "9223372036854775807", "past the end"),
        ("no number", "0,x", "10", "no number"),
    ] {
        refused(name, &map(text.as_bytes(), size.as_bytes(), b"12345678"), &[words]);
    }
    let version1: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"10")];
    for data in [&b"99999999\n"[..], b"1\n0\n", b"x\n", b"111111111111111111111111111111"] {
        let mut block = data.to_vec();
        block.resize(512, b'\n');
        assert!(attempt(&Tar::new().pax(&version1).file("f", &block).end()).0.is_err());
    }
    let short = Tar::new().pax(&version1).file("f", b"1\n0\n1\n").end();
    refused("short", &short, &["longer than its data"]);
    let version2: [(&str, &[u8]); 2] = [("GNU.sparse.major", b"2"), ("GNU.sparse.realsize", b"10")];
    refused("version", &Tar::new().pax(&version2).file("f", b"").end(), &["version"]);
    // 8 EiB less one of nothing: more than any file system's files can have.
    refused("huge", &map(b"0,0", b"9223372036854775807", b""), &["\"f\"", "too large"]);
}

/// A directory that is its own grandparent's symlink, ten thousand times: time and memory stay bounded.
#[test]
fn deep_names_cost_little() {
    let deep = "d/".repeat(2000);
    let mut tar = Tar::new();
    for number in 0..50 {
        tar = tar.pax(&[("path", format!("{deep}{number}").as_bytes())]).file("x", b"");
    }
    assert!(attempt(&tar.end()).0.is_ok());
}
