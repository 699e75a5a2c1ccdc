//! Layers made at random: mounted as images they must show what they show unpacked, one alone and many merged, with
//! overlayfs as the judge of what many make; and what one way refuses, the other refuses, too.

use crate::erofs::{Mounted, layer, merged};
use crate::support::*;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

type Pictures = BTreeMap<PathBuf, Picture>;

const IMPLIED: &str = "trusted.mycontainer.implied";

/// Makes up entries of a layer.
struct Maker {
    random: Random,
    /// Whether entries' directories are told, too: overlayfs has no idea of a directory that a layer does not speak of.
    parents: bool,
}

impl Maker {
    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.random.below(from.len())]
    }

    fn name(&mut self) -> Vec<u8> {
        let long = [b'n'; 255];
        let names: [&[u8]; 12] =
            [b"a", b"b", b"c", b"dir", b"sub", b"x y", b"\xff\n\xc3", b"-dash", b"!bang", b".hidden", b"..b", &long];
        let usual = self.random.below(8) != 0;
        if usual { names[self.random.below(5)].to_vec() } else { names[self.random.below(12)].to_vec() }
    }

    fn path(&mut self) -> Vec<u8> {
        let parts: Vec<_> = (0..=self.random.below(4)).map(|_| self.name()).collect();
        parts.join(&b'/')
    }

    /// Extended headers that go before an entry of this name.
    fn extended(&mut self, path: &[u8], target: Option<&[u8]>) -> Tar {
        let mtime = format!("{}.{:09}", self.random.below(2_000_000_000), self.random.below(1_000_000_000));
        let uid = self.pick(&["0", "1000", "2147483648", "4294967294"]);
        let mut records: Vec<(&str, &[u8])> =
            vec![("path", path), ("mtime", mtime.as_bytes()), ("uid", uid.as_bytes())];
        records.extend(target.map(|target| ("linkpath", target)));
        let capability: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let attributes: [(&str, &[u8]); 4] = [
            ("SCHILY.xattr.user.x", b"1"),
            ("SCHILY.xattr.user.long", &[b'v'; 600]),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.empty", b""),
        ];
        for attribute in attributes {
            if self.random.below(6) == 0 {
                records.push(attribute);
            }
        }
        if self.random.below(8) == 0 {
            records.push(("SCHILY.xattr.security.capability", capability));
        }
        Tar::new().pax(&records)
    }

    /// One entry, with those of its directories before it.
    fn entry(&mut self) -> Vec<u8> {
        let path = self.path();
        let mut tar = Tar::new();
        if self.parents {
            for (slash, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                // Each time: what was told before may have been replaced by now.
                tar = tar.raw(&self.extended(&path[..slash], None).0).directory("x");
            }
        }
        let mode = self.random.below(0o10000) as u32;
        let header = |kind| Header { mode, ..Header::new("x", kind) };
        match self.random.below(16) {
            0..=3 => {
                let size = [0, 1, 511, 4096, 4097, 70_000, 200_000][self.random.below(7)];
                let seed = self.random.below(256) as u8;
                let data: Vec<u8> = (0..size).map(|at: usize| seed.wrapping_add((at % 253) as u8)).collect();
                let header = Header { size: data.len() as u64, ..header(b'0') };
                tar.raw(&self.extended(&path, None).0).entry(header, &data)
            }
            4..=6 => tar.raw(&self.extended(&path, None).0).entry(header(b'5'), b""),
            7 | 8 => {
                let target = self.path();
                tar.pax(&[("path", &path), ("linkpath", &target)]).hardlink("x", "x")
            }
            9 => {
                let mut target = self.path();
                if self.random.below(3) == 0 {
                    target.splice(0..0, *b"/");
                }
                tar.raw(&self.extended(&path, Some(&target)).0).symlink("x", "x")
            }
            10 => tar.raw(&self.extended(&path, None).0).entry(header(b'6'), b""),
            11 => {
                let device = (self.random.below(4096) as u32, 1 + self.random.below(1 << 20) as u32 % 1_048_575);
                let kind = [b'3', b'4'][self.random.below(2)];
                tar.raw(&self.extended(&path, None).0).entry(Header { device, ..header(kind) }, b"")
            }
            12 => {
                let start = self.random.below(3) * 4096 + self.random.below(4096);
                let size = start + 5000 + self.random.below(300_000);
                let map = format!("{start},100,{},1", start + 4000);
                let records = [("path", path.as_slice()), ("GNU.sparse.map", map.as_bytes())];
                let all = [records[0], records[1], ("GNU.sparse.size", &size.to_string().into_bytes())];
                tar.pax(&all).file("x", &[b'S'; 101])
            }
            13 | 14 => self.marked(tar, &path, ".wh."),
            _ if path.contains(&b'/') => self.marked(tar, &path, ".wh..wh..opq"),
            _ => self.marked(tar, &path, ".wh..wh.plnk"),
        }
        .0
    }

    fn marked(&mut self, tar: Tar, path: &[u8], mark: &str) -> Tar {
        let slash = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (parent, name) = path.split_at(slash);
        let name: &[u8] = if mark == ".wh." { &name[..name.len().min(251)] } else { b"" };
        let whole = [parent, mark.as_bytes(), name].concat();
        tar.pax(&[("path", &whole)]).file("x", b"")
    }
}

/// What a tar is unpacked to, in a directory of this name.
fn unpacked(scratch: &Scratch, name: &str, tar: &[u8]) -> Result<(OwnedFd, PathBuf), image::Fault> {
    let path = scratch.0.join(name);
    run("rm", &[OsStr::new("-rf"), path.as_os_str()]);
    std::fs::create_dir(&path).unwrap();
    rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
    let directory = OwnedFd::from(File::open(&path).unwrap());
    image::unpack_layer(tar, directory.as_fd(), u64::MAX).map(|()| (directory, path))
}

/// A layer of entries that both ways take. What one refuses, the other must refuse.
fn make_layer(scratch: &Scratch, seed: u64, entries: usize, parents: bool) -> Vec<u8> {
    let mut maker = Maker { random: Random(seed), parents };
    let mut tar = Tar::new().directory("./").0;
    let mut refused = 0;
    for _ in 0..entries {
        let before = tar.len();
        tar.extend(maker.entry());
        let whole = Tar(tar.clone()).end();
        let file = crate::erofs::image_file(&scratch.0.join("attempt"));
        let ours = image::erofs::write_layer(whole.as_slice(), &file, &image::erofs::Limits::default());
        let theirs = if ours.is_err() || maker.random.below(8) == 0 {
            Some(unpacked(scratch, "attempt-tree", &whole).map(drop))
        } else {
            None
        };
        if let Some(theirs) = theirs {
            assert_eq!(ours.is_err(), theirs.is_err(), "seed {seed:x}: {ours:?}, {theirs:?}");
        }
        if ours.is_err() {
            refused += 1;
            tar.truncate(before);
        }
    }
    assert!(refused < entries * 2 / 3, "so much is refused that little is tried: {refused} of {entries}");
    Tar(tar).end()
}

/// That two trees are the same, up to what a directory that no entry speaks of has.
fn same(what: &str, ours: &Pictures, theirs: &Pictures) {
    let names = |of: &Pictures| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(ours), names(theirs), "{what}");
    for (path, our) in ours {
        let mut our = our.clone();
        let their = &theirs[path];
        let whiteout = our.kind == "char" && our.device == 0;
        if our.xattrs.remove(IMPLIED).is_some() || whiteout {
            our.mtime = their.mtime;
        }
        let short = |picture: &Picture| Picture {
            content: Vec::new(),
            xattrs: picture.xattrs.keys().map(|name| (name.clone(), Vec::new())).collect(),
            ..picture.clone()
        };
        assert!(our == *their, "{what}: {path:?}\n ours   {:?}\n theirs {:?}", short(&our), short(their));
    }
}

/// Links of directories, which pictures leave out.
fn directory_links(root: &Path, of: &Pictures) -> Vec<(PathBuf, u64)> {
    let directories = of.iter().filter(|(_, picture)| picture.kind == "directory");
    directories.map(|(path, _)| (path.clone(), root.join(path).symlink_metadata().unwrap().nlink())).collect()
}

#[test]
fn one_layer_mounted_is_the_layer_unpacked() {
    for seed in 1..=30u64 {
        let scratch = Scratch::new();
        let tar = make_layer(&scratch, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), 40, false);
        let (file, _) = layer(&scratch, "layer", &tar).unwrap();
        let mounted = Mounted::new(&file, &[]);
        let (_directory, tree) = unpacked(&scratch, "tree", &tar).unwrap();
        let (ours, theirs) = (picture(&mounted.path), picture(&tree));
        same(&format!("seed {seed}"), &ours, &theirs);
        assert_eq!(directory_links(&mounted.path, &ours), directory_links(&tree, &theirs), "seed {seed}");
    }
}

#[test]
fn merged_layers_are_what_overlayfs_makes_of_the_unpacked() {
    for seed in 1..=16u64 {
        let scratch = Scratch::new();
        let count = 2 + (seed as usize) % 4;
        let tars: Vec<_> = (0..count as u64)
            .map(|number| make_layer(&scratch, (seed * 16 + number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15), 25, true))
            .collect();
        let files: Vec<File> =
            tars.iter().enumerate().map(|(n, tar)| layer(&scratch, &format!("l{n}"), tar).unwrap().0).collect();
        let trees: Vec<_> =
            tars.iter().enumerate().map(|(n, tar)| unpacked(&scratch, &format!("t{n}"), tar).unwrap().0).collect();
        let files: Vec<&File> = files.iter().collect();
        let top = merged(&scratch, "merged", &files);
        let mounted = Mounted::new(&top, &files);
        let judge = overlay(&trees);
        let (mut ours, mut theirs) = (picture(&mounted.path), picture(&judge.1));
        // Overlayfs counts the names in the lower layer, seen or not.
        let mut names = BTreeMap::<PathBuf, u64>::new();
        ours.values().for_each(|picture| *names.entry(picture.same_as.clone()).or_default() += 1);
        for (path, picture) in &mut ours {
            if picture.kind != "directory" {
                assert_eq!(picture.links, names[&picture.same_as], "seed {seed}: {path:?}");
            }
            picture.links = 0;
        }
        theirs.values_mut().for_each(|picture| picture.links = 0);
        same(&format!("seed {seed}"), &ours, &theirs);
    }
}

/// An overlay of directories, the lowest first, and a path to it.
fn overlay(trees: &[OwnedFd]) -> (OwnedFd, PathBuf) {
    use rustix::mount::*;
    use std::os::fd::AsRawFd;
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for tree in trees.iter().rev() {
        fsconfig_set_string(&fs, "lowerdir+", format!("/proc/self/fd/{}", tree.as_raw_fd())).unwrap();
    }
    fsconfig_create(&fs).unwrap();
    let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), mount.as_raw_fd()));
    (mount, path)
}

#[test]
fn marks_that_the_archive_makes_itself_are_none() {
    let opaque: [(&str, &[u8]); 2] =
        [("SCHILY.xattr.trusted.overlay.opaque", b"y"), (&format!("SCHILY.xattr.{IMPLIED}"), b"y")];
    let tar = Tar::new().pax(&opaque).directory("d").end();
    let scratch = Scratch::new();
    assert!(!layer(&scratch, "layer", &tar).unwrap().1.needs_merge);
    let device = Tar::new().entry(Header::new("c", b'3'), b"").end();
    let error = layer(&scratch, "layer", &device).unwrap_err().to_string();
    assert!(error.contains("is a whiteout (character device 0/0)"), "{error}");
    assert!(unpacked(&scratch, "tree", &device).unwrap_err().to_string() == error);
}

/// Archives that want out or want us to guess: both ways refuse them in the same words.
#[test]
fn hostile_layers() {
    let link = |target: &str| Tar::new().directory("d").symlink("s", "d").hardlink("h", target);
    let through = |target: &str| Tar::new().symlink("door", target).file("door/x", b"");
    let name = |name: &[u8]| Tar::new().pax(&[("path", name)]).file("x", b"");
    let capability: [(&str, &[u8]); 1] = [("SCHILY.xattr.security.capability", b"short")];
    let table: [(&str, Tar, &str); 26] = [
        ("climbs", name(b"../x"), "climbs with `..`"),
        ("climbs inside", name(b"a/../../x"), "climbs with `..`"),
        ("link climbs", link("../x"), "climbs with `..`"),
        ("link to nothing", link("gone"), "link to \"gone\", which is not in this layer"),
        ("link to nothing below", link("gone/x"), "which is not in this layer"),
        ("link to what is gone", Tar::new().file(".wh.g", b"").hardlink("h", "g"), "which is not in this layer"),
        ("link to the host", link("/etc/passwd"), "which is not in this layer"),
        ("link to a directory", link("d"), "not permitted"),
        ("link to the root", link("/"), "the root itself"),
        ("link below a file", Tar::new().file("f", b"").hardlink("h", "f/x"), "Not a directory"),
        ("door to nowhere", through("nowhere"), "No such file"),
        ("door to the host", through("/proc/self/root"), "No such file"),
        ("door climbs", through("../../../etc"), "No such file"),
        ("door to a file", Tar::new().file("f", b"").symlink("door", "f").file("door/x", b""), "Not a directory"),
        ("door to itself", through("door"), "symbolic links"),
        ("file is no directory", Tar::new().file("f", b"").file("f/x", b""), "Not a directory"),
        ("root is no file", name(b"./."), "is the root's"),
        ("name too long", name(&[b'n'; 256]), "name too long"),
        ("directory too long", name(&[&[b'n'; 256][..], b"/x"].concat()), "name too long"),
        ("whiteout of itself", name(b"d/.wh.."), "a whiteout of nothing"),
        ("whiteout of the one above", name(b"d/.wh..."), "a whiteout of nothing"),
        ("whiteout of no name", name(b".wh."), "a whiteout of nothing"),
        ("below a whiteout", name(b".wh.d/x"), "below a whiteout"),
        ("a whiteout device", Tar::new().entry(Header::new("c", b'3'), b""), "character device 0/0"),
        ("wrong capability", Tar::new().pax(&capability).file("f", b""), "security.capability"),
        ("too many links", many_links(), "symbolic links"),
    ];
    for (what, tar, words) in table {
        let scratch = Scratch::new();
        let tar = tar.end();
        let Err(ours) = layer(&scratch, "layer", &tar) else { panic!("{what}: not refused") };
        let ours = ours.to_string();
        let theirs = unpacked(&scratch, "tree", &tar).map(drop).unwrap_err().to_string();
        assert!(ours.contains(words), "{what}: {ours}");
        assert_eq!(ours, theirs, "{what}");
    }
}

/// What a directory gets at the end must reach it, and no other, whatever became of the names that led to it.
#[test]
fn directories_by_other_names() {
    let directory = |name: &str, mode| Tar::new().entry(Header { mode, ..Header::new(name, b'5') }, b"").0;
    let table: [(&str, Tar); 2] = [
        ("told through a symlink", Tar::new().file("a/b/x", b"").symlink("c", "a").raw(&directory("c/b", 0o700))),
        (
            "replaced by a symlink to another",
            Tar::new().raw(&directory("e/b", 0o700)).raw(&directory("d/b", 0o755)).symlink("d", "e").symlink("a", "e"),
        ),
    ];
    for (what, tar) in table {
        let tar = tar.end();
        let scratch = Scratch::new();
        let (file, _) = layer(&scratch, "layer", &tar).unwrap();
        let (_directory, tree) = unpacked(&scratch, "tree", &tar).unwrap();
        for all in [picture(&Mounted::new(&file, &[]).path), picture(&tree)] {
            let told: Vec<_> = all.iter().filter(|(path, _)| path.ends_with("b")).map(|(_, b)| b.mode).collect();
            assert_eq!(told, [0o700], "{what}");
        }
    }
}

/// Forty-one symlinks, one behind the other.
fn many_links() -> Tar {
    let tar = Tar::new().directory("l0");
    let tar = (0..41).fold(tar, |tar, n| tar.symlink(format!("l{}", n + 1), &format!("l{n}")));
    tar.file("l40/x", b"").file("l41/x", b"")
}

#[test]
fn names_that_stay_inside() {
    let tar = Tar::new().directory("etc").symlink("door", "/../../etc").file("door/x", b"in").file("/abs", b"");
    let tar = tar.hardlink("door/h", "door/x").file(OsStr::from_bytes(b"..b").as_bytes(), b"").end();
    let scratch = Scratch::new();
    let (file, _) = layer(&scratch, "layer", &tar).unwrap();
    let all = picture(&Mounted::new(&file, &[]).path);
    let names: Vec<_> = all.keys().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, ["", "..b", "abs", "door", "etc", "etc/h", "etc/x"]);
    assert_eq!(all[Path::new("etc/h")].links, 2);
}

#[test]
fn damaged_images_are_told_or_read_but_never_believed() {
    use std::os::unix::fs::FileExt;
    let scratch = Scratch::new();
    let tar =
        Tar::new().directory("d").file("d/f", &[1; 5000]).hardlink("d/h", "d/f").symlink("s", "d").file("d/.wh.x", b"");
    let holes = [("GNU.sparse.size", &b"90000"[..]), ("GNU.sparse.map", b"4096,2,50000,3")];
    let tar = tar.pax(&[("SCHILY.xattr.user.a", b"b")]).directory("e").pax(&holes).file("holes", b"abcde").end();
    let (file, written) = layer(&scratch, "layer", &tar).unwrap();
    let good = std::fs::read(scratch.0.join("layer")).unwrap();
    let out = crate::erofs::image_file(&scratch.0.join("merged"));
    let mut random = Random(0x1357_9bdf_0246_8ace);
    let metadata = 4096 + written.content as usize;
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut changes = Vec::new();
        for _ in 0..=random.below(3) {
            // The inodes fill a quarter of the block.
            let at = metadata + random.below(1500);
            let value = match random.below(3) {
                0 => random.below(256) as u8,
                1 => good[at] ^ (1 << random.below(8)),
                _ => [0, 1, 0xff, b'/', b'.'][random.below(5)],
            };
            changes.push(at);
            file.write_all_at(&[value], at as u64).unwrap();
        }
        match image::erofs::merge(&[&file, &file], &out) {
            Ok(()) => taken += 1,
            Err(image::MergeFault::Damaged { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        changes.iter().for_each(|at| file.write_all_at(&good[*at..=*at], *at as u64).unwrap());
    }
    assert!(taken > 1000 && refused > 1000, "{taken} taken, {refused} refused");
    // The superblock has a checksum, and the length must be the one it tells.
    for at in (1024..4096).step_by(7) {
        file.write_all_at(&[good[at] ^ 4], at as u64).unwrap();
        assert!(image::erofs::merge(&[&file], &out).is_err() && image::erofs::needs_merge(&file).is_err(), "{at}");
        file.write_all_at(&good[at..=at], at as u64).unwrap();
    }
    file.set_len(written.bytes - 1).unwrap();
    let error = image::erofs::merge(&[&file], &out).unwrap_err().to_string();
    assert_eq!(error, "layer 1 is damaged: it is not as long as its superblock says");
}
