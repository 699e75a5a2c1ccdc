//! Archives made by hand, one for each thing that the format can say.

use crate::support::*;
use std::path::Path;

fn tree(bytes: &[u8]) -> std::collections::BTreeMap<std::path::PathBuf, Picture> {
    let scratch = Scratch::new();
    picture(&scratch.unpack(bytes).unwrap().path)
}

fn names(bytes: &[u8]) -> Vec<String> {
    let all = tree(bytes);
    all.keys().map(|path| path.to_string_lossy().into_owned()).filter(|path| !path.is_empty()).collect()
}

#[test]
fn every_kind_of_entry() {
    let owned = Header { mode: 0o6751, uid: 1000, gid: 2000, size: 3, ..Header::new("suid", b'0') };
    let all = tree(
        &Tar::new()
            .entry(Header { mode: 0o1777, uid: 3, gid: 4, ..Header::new("./", b'5') }, b"")
            .entry(owned, b"abc")
            .entry(Header { mode: 0o600, device: (1, 3), ..Header::new("null", b'3') }, b"")
            .entry(Header { mode: 0o660, gid: 6, device: (259, 1_000_000), ..Header::new("disk", b'4') }, b"")
            .entry(Header { mode: 0o622, ..Header::new("pipe", b'6') }, b"")
            .entry(Header { uid: 5, link: b"suid".into(), ..Header::new("link", b'2') }, b"")
            .hardlink("again", "suid")
            .entry(Header { mode: 0o3000, ..Header::new("closed/", b'5') }, b"")
            .file("closed/inside", b"")
            .file("v7directory/", b"")
            .meta(b'V', b"a label")
            .end(),
    );
    let at = |path: &str| &all[Path::new(path)];
    assert_eq!((at("").mode, at("").owner, at("").mtime), (0o1777, (3, 4), (1_600_000_000, 0)));
    assert_eq!((at("suid").mode, at("suid").owner, at("suid").links), (0o6751, (1000, 2000), 2));
    assert_eq!((at("again").same_as.as_path(), at("again").content.as_slice()), (Path::new("again"), &b"abc"[..]));
    assert_eq!(at("suid").same_as, Path::new("again"));
    assert_eq!((at("null").kind, at("null").device, at("null").mode), ("char", rustix::fs::makedev(1, 3), 0o600));
    assert_eq!((at("disk").kind, at("disk").device), ("block", rustix::fs::makedev(259, 1_000_000)));
    assert_eq!((at("pipe").kind, at("pipe").mode), ("fifo", 0o622));
    assert_eq!((at("link").kind, at("link").owner, &at("link").content[..]), ("symlink", (5, 0), &b"suid"[..]));
    assert_eq!((at("closed").mode, at("closed").mtime), (0o3000, (1_600_000_000, 0)));
    assert_eq!(at("closed/inside").kind, "file");
    assert_eq!(at("v7directory").kind, "directory");
    assert_eq!(all.len(), 10);
}

#[test]
fn children_before_parents_and_parents_that_never_come() {
    let all = tree(
        &Tar::new()
            .file("a/b/c", b"1")
            .entry(Header { mode: 0o700, uid: 9, ..Header::new("a/b", b'5') }, b"")
            .file("x/y", b"2")
            .end(),
    );
    assert_eq!((all[Path::new("a/b")].mode, all[Path::new("a/b")].owner), (0o700, (9, 0)));
    assert_eq!((all[Path::new("a")].mode, all[Path::new("x")].mode), (0o755, 0o755));
    assert_eq!(all[Path::new("a/b")].mtime, (1_600_000_000, 0), "not the time at which c was made");
}

#[test]
fn the_last_entry_of_a_name_wins() {
    let by = |first: fn(Tar) -> Tar, second: fn(Tar) -> Tar| {
        let all = tree(&second(first(Tar::new().file("keep", b"kept").directory("full"))).end());
        assert_eq!(all[Path::new("keep")].content, b"kept");
        let picture = &all[Path::new("n")];
        (picture.kind, String::from_utf8(picture.content.clone()).unwrap(), all.contains_key(Path::new("n/x")))
    };
    let file = |tar: Tar| tar.file("n", b"new");
    let old = |tar: Tar| tar.file("n", b"older and longer");
    let directory = |tar: Tar| tar.directory("n/");
    let full = |tar: Tar| tar.directory("n").file("n/x", b"x");
    let to_file = |tar: Tar| tar.symlink("n", "keep");
    let to_directory = |tar: Tar| tar.symlink("n", "full");
    let fifo = |tar: Tar| tar.entry(Header::new("n", b'6'), b"");
    let hardlink = |tar: Tar| tar.hardlink("n", "keep");
    assert_eq!(by(old, file), ("file", "new".into(), false));
    assert_eq!(by(full, file), ("file", "new".into(), false));
    assert_eq!(by(full, directory), ("directory", "".into(), true));
    assert_eq!(by(full, to_file), ("symlink", "keep".into(), false));
    assert_eq!(by(to_file, file), ("file", "new".into(), false));
    assert_eq!(by(to_directory, directory), ("directory", "".into(), false));
    assert_eq!(by(hardlink, file), ("file", "new".into(), false));
    assert_eq!(by(file, fifo), ("fifo", "".into(), false));
    assert_eq!(by(fifo, hardlink), ("file", "kept".into(), false));
    assert_eq!(by(full, hardlink), ("file", "kept".into(), false));
    assert_eq!(by(hardlink, hardlink), ("file", "kept".into(), false));
}

#[test]
fn a_directory_that_was_replaced_leaves_its_attributes_to_nobody() {
    let closed = Header { mode: 0, uid: 7, ..Header::new("d", b'5') };
    let all = tree(&Tar::new().directory("t").entry(closed, b"").symlink("d", "t").end());
    assert_eq!((all[Path::new("t")].mode, all[Path::new("t")].owner), (0o755, (0, 0)));
    assert_eq!(all[Path::new("d")].kind, "symlink");
}

#[test]
fn long_and_strange_names() {
    let long = "d/".repeat(100) + &"n".repeat(255);
    let target = "t".repeat(3000);
    let gnu = Tar::new().meta(b'L', format!("{long}\0").as_bytes()).meta(b'K', format!("{target}\0").as_bytes());
    let all = tree(&gnu.symlink("short", "short").end());
    assert_eq!(all[Path::new(&long)].content, target.as_bytes());
    let pax = Tar::new().pax(&[("path", long.as_bytes()), ("linkpath", target.as_bytes())]);
    let all = tree(&pax.symlink("short", "short").end());
    assert_eq!(all[Path::new(&long)].content, target.as_bytes());

    let both = Tar::new().meta(b'L', b"gnu\0").pax(&[("path", b"pax")]).file("ustar", b"").file("next", b"").end();
    assert_eq!(names(&both), ["next", "pax"]);
    let taken_back = Tar::new().pax(&[("path", b"pax"), ("path", b"")]).file("ustar", b"").end();
    assert_eq!(names(&taken_back), ["ustar"]);

    let mut split = Header::new("name", b'0').bytes();
    split[345..351].copy_from_slice(b"prefix");
    assert_eq!(names(&Tar::new().raw(&sealed(split)).end()), ["prefix", "prefix/name"]);
    let mut gnu = split;
    gnu[257..265].copy_from_slice(b"ustar  \0");
    assert_eq!(names(&Tar::new().raw(&sealed(gnu)).end()), ["name"], "GNU keeps other things there");

    use std::os::unix::ffi::OsStrExt;
    let strange = b"\xff\xfe \n'\\";
    let all = tree(&Tar::new().file(strange, b"!").end());
    assert_eq!(all[Path::new(std::ffi::OsStr::from_bytes(strange))].content, b"!");
}

#[test]
fn numbers_that_need_more_than_octal() {
    let mut base256 = Header { size: 1, ..Header::new("base256", b'0') }.bytes();
    base256[108..116].copy_from_slice(b"\x80\0\0\0\x80\0\0\0");
    base256[116..124].copy_from_slice(b"\x80\0\0\0\xff\xff\xff\xfe");
    base256[136..148].copy_from_slice(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe");
    let tar = Tar::new().raw(&sealed(base256)).raw(&[b'!'; 1]).raw(&[0; 511]);
    let pax: [(&str, &[u8]); 3] = [("uid", b"2147483648"), ("gid", b"4294967294"), ("mtime", b"-1.25")];
    let all = tree(&tar.pax(&pax).file("pax", b"?").end());
    assert_eq!(all[Path::new("base256")].owner, (1 << 31, u32::MAX - 1));
    assert_eq!(all[Path::new("base256")].mtime, (-2, 0));
    assert_eq!(all[Path::new("pax")].owner, (1 << 31, u32::MAX - 1));
    assert_eq!(all[Path::new("pax")].mtime, (-2, 750_000_000));
}

#[test]
fn global_headers_hold_until_an_entry_says_otherwise() {
    let global = pax_records(&[("uid", b"77"), ("comment", b"from git archive"), ("mtime", b"5.5")]);
    let tar = Tar::new().file("before", b"").meta(b'g', &global).file("a", b"");
    let all = tree(&tar.pax(&[("uid", b"88")]).file("b", b"").pax(&[("uid", b"")]).file("c", b"").file("d", b"").end());
    let uid = |name: &str| all[Path::new(name)].owner.0;
    assert_eq!([uid("before"), uid("a"), uid("b"), uid("c"), uid("d")], [0, 77, 88, 0, 77]);
    assert_eq!(all[Path::new("d")].mtime, (5, 500_000_000));
}

/// The header says 0, the records say 600: a reader that believes the header would take the data for headers.
#[test]
fn the_pax_size_counts_for_finding_the_next_header() {
    let inner = Tar::new().file("smuggled", b"").0;
    let data = [inner.as_slice(), &[0; 88]].concat();
    assert_eq!(data.len(), 600);
    let header = Header { size: 0, ..Header::new("outer", b'0') };
    let tar = Tar::new().pax(&[("size", b"600")]).entry(header, &data).file("after", b"").end();
    assert_eq!(names(&tar), ["after", "outer"]);
    // Nor does it count for a header that stands between the records and the entry.
    let tar = Tar::new().pax(&[("size", b"3")]).meta(b'L', &[b'n'; 200]).file("x", b"abc").end();
    assert_eq!(names(&tar), ["n".repeat(200)]);
}

#[test]
fn files_with_holes_in_all_four_notations() {
    let mut expected = vec![0; 5000];
    expected[1000..1003].copy_from_slice(b"abc");
    expected[4000..4004].copy_from_slice(b"defg");
    let data = b"abcdefg";

    let mut old = Header { size: 7, ..Header::new("f", b'S') }.bytes();
    old[257..265].copy_from_slice(b"ustar  \0");
    old[345..512].fill(0);
    for (at, value) in [(386, 1000), (398, 3), (410, 4000), (422, 4), (483, 5000)] {
        octal(&mut old[at..at + 12], value);
    }
    let old = Tar::new().raw(&sealed(old)).raw(data).raw(&[0; 505]);
    let records: [(&str, &[u8]); 7] = [
        ("GNU.sparse.size", b"5000"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"1000"),
        ("GNU.sparse.numbytes", b"3"),
        ("GNU.sparse.offset", b"4000"),
        ("GNU.sparse.numbytes", b"4"),
        ("GNU.sparse.name", b"f"),
    ];
    let v00 = Tar::new().pax(&records).file("GNUSparseFile.0/f", data);
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.size", b"5000"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.map", b"1000,3,4000,4"),
        ("GNU.sparse.name", b"f"),
    ];
    let v01 = Tar::new().pax(&records).file("GNUSparseFile.0/f", data);
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"5000"),
        ("GNU.sparse.name", b"f"),
    ];
    let mut mapped = b"2\n1000\n3\n4000\n4\n".to_vec();
    mapped.resize(512, 0);
    mapped.extend_from_slice(data);
    let v10 = Tar::new().pax(&records).file("GNUSparseFile.0/f", &mapped);
    for (name, tar) in [("old", old), ("0.0", v00), ("0.1", v01), ("1.0", v10)] {
        let all = tree(&tar.file("after", b"here").end());
        assert_eq!(all.len(), 3, "{name}");
        assert!(all[Path::new("f")].content == expected, "{name}");
        assert_eq!(all[Path::new("after")].content, b"here", "{name}");
    }
}

#[test]
fn attributes_of_every_kind_of_file() {
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let xattrs: [(&str, &[u8]); 8] = [
        ("SCHILY.xattr.user.a", b"\0=\n"),
        ("SCHILY.xattr.user.empty", b""),
        ("SCHILY.xattr.security.capability", capability),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"system_u:object_r:shadow_t:s0"),
        ("SCHILY.xattr.trusted.else", b"1"),
    ];
    let tar = Tar::new().pax(&xattrs).entry(Header { uid: 5, mode: 0o4755, ..Header::new("file", b'0') }, b"");
    let tar = tar.pax(&xattrs[..2]).directory("dir").pax(&xattrs[3..6]).directory("overlay");
    // A symlink cannot have `user.*`; that is no reason to fail.
    let tar = tar.pax(&xattrs[..2]).symlink("link", "file").pax(&xattrs[2..3]).symlink("capable", "file");
    let all = tree(&tar.end());
    let at = |path: &str| &all[Path::new(path)].xattrs;
    assert_eq!(at("file").keys().collect::<Vec<_>>(), ["security.capability", "user.a", "user.empty"]);
    assert_eq!(at("file")["security.capability"], capability);
    assert_eq!(at("file")["user.a"], b"\0=\n");
    assert_eq!(all[Path::new("file")].mode, 0o4755);
    assert_eq!(at("dir").keys().collect::<Vec<_>>(), ["user.a", "user.empty"]);
    assert!(at("overlay").is_empty() && at("link").is_empty());
    assert_eq!(at("capable").len(), 1, "and the file it points to keeps its own");
}
