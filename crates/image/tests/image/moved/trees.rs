//! Tars of trees, unpacked by other programs; upper directories of real overlays, applied by umoci.

use super::*;
use crate::oracles::{add_finer_things, make_tree};
use image::archive::{AS_ON_DISK, Commit, LayoutSink, Marks, NewLayer, commit, diff_layer, export_tree, timestamp};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::path::PathBuf;

fn directory(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

/// Seconds only, and nothing of the top's, which is not in a tar.
fn in_seconds(mut tree: BTreeMap<PathBuf, Picture>) -> BTreeMap<PathBuf, Picture> {
    tree.remove(Path::new(""));
    tree.values_mut().for_each(|picture| picture.mtime.1 = 0);
    tree
}

fn assert_same(name: &str, ours: &BTreeMap<PathBuf, Picture>, theirs: &BTreeMap<PathBuf, Picture>) {
    let names = |tree: &BTreeMap<PathBuf, Picture>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(ours), names(theirs), "{name}");
    for (path, picture) in ours {
        let short = |p: &Picture| Picture { content: p.content[..p.content.len().min(40)].into(), ..p.clone() };
        assert!(picture == &theirs[path], "{name}: {path:?}\n {:?}\n {:?}", short(picture), short(&theirs[path]));
    }
}

#[test]
fn a_tree_is_the_same_after_other_programs_unpacked_it() {
    let scratch = Scratch::new();
    let tree = scratch.0.join("tree");
    make_tree(&tree, true);
    add_finer_things(&tree);
    shell(
        &tree,
        "rm holes; truncate -s 5M late; printf x >> late; setfacl -m u:5:r usr/random 2>/dev/null || true
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'",
    );
    let write = || {
        let mut bytes = Vec::new();
        export_tree(directory(&tree).as_fd(), AS_ON_DISK, &mut bytes).unwrap();
        bytes
    };
    let bytes = write();
    assert!(bytes == write(), "the same tree gives the same bytes");
    std::fs::write(scratch.0.join("tar"), &bytes).unwrap();
    shell(&tree, "rm socket");
    let expected = in_seconds(picture(&tree));
    for (name, command) in [
        ("GNU tar", "tar --numeric-owner --same-owner --xattrs --xattrs-include=* -xpf tar -C out1"),
        ("bsdtar", "LC_ALL=C bsdtar --numeric-owner -xpf tar -C out2"),
    ] {
        shell(&scratch.0, &format!("set -f; mkdir -p out1 out2; {command}"));
        let out = scratch.0.join(if name == "bsdtar" { "out2" } else { "out1" });
        assert_same(name, &in_seconds(picture(&out)), &expected);
    }
    let ours = scratch.store().archive(&scratch.0.join("tar")).unwrap();
    assert_same("our own", &in_seconds(picture(&ours.path)), &expected);
}

#[test]
fn names_are_those_that_tar_lists() {
    let scratch = Scratch::new();
    make_tree(&scratch.0.join("tree"), true);
    shell(&scratch.0, "rm tree/holes");
    let mut bytes = Vec::new();
    export_tree(directory(&scratch.0.join("tree")).as_fd(), AS_ON_DISK, &mut bytes).unwrap();
    std::fs::write(scratch.0.join("ours"), &bytes).unwrap();
    shell(
        &scratch.0,
        "tar --format=posix -C tree -cf theirs .; LC_ALL=C bsdtar --format pax -C tree -cf theirs2 .; python3 -c \"
import tarfile
def listed(path):
    kind = lambda m: '0' if m.islnk() else m.type.decode()
    return {m.name.removeprefix('./'): (kind(m), m.mode, m.uid, m.gid, int(m.mtime // 1), m.devmajor if m.isdev() else 0,
        m.devminor if m.isdev() else 0, m.linkname if m.issym() else '')
        for m in tarfile.open(path) if m.name != '.'}
assert len(listed('ours')) > 20
for theirs in ('theirs', 'theirs2'): assert listed('ours') == listed(theirs), (theirs, listed('ours'), listed(theirs))\"",
    );
}

#[test]
fn what_is_mounted_in_a_tree_is_not_in_its_tar() {
    let scratch = Scratch::new();
    shell(&scratch.0, "mkdir -p tree/mnt tree/d; echo secret > host; touch tree/d/file; echo plain > tree/plain");
    // The mounts are in a namespace of the shell's alone, which also opens the tree.
    let tree = scratch.0.join("tree");
    let bytes = std::thread::spawn(move || {
        use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
        sys::fork::unshare(sys::fork::Namespaces::MOUNT).unwrap();
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
        mount("tmpfs", tree.join("mnt"), "tmpfs", MountFlags::empty(), None).unwrap();
        std::fs::write(tree.join("mnt/inner"), "secret").unwrap();
        mount_bind(tree.join("../host"), tree.join("d/file")).unwrap();
        let mut bytes = Vec::new();
        export_tree(directory(&tree).as_fd(), AS_ON_DISK, &mut bytes).unwrap();
        bytes
    })
    .join()
    .unwrap();
    let mut reader = image::tar::Reader::new(bytes.as_slice());
    let mut names = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        names.push((String::from_utf8(entry.name).unwrap(), entry.kind));
    }
    use image::tar::Kind;
    let expected = [
        ("mnt/", Kind::Directory),
        ("plain", Kind::File { size: 6 }),
        ("d/", Kind::Directory),
        ("d/file", Kind::File { size: 0 }),
    ];
    assert_eq!(names, expected.map(|(name, kind)| (name.to_owned(), kind)));
}

/// An image of these plain layers in a layout, by our own hands all the way.
fn image_of(scratch: &Scratch, layers: &[Vec<u8>]) {
    struct Blobs(BTreeMap<Digest, Vec<u8>>, Raw);
    impl Source for Blobs {
        fn top(&self) -> Result<Raw, image::Error> {
            Ok(self.1.clone())
        }
        fn manifest(&self, _: &Descriptor) -> Result<Raw, image::Error> {
            unreachable!()
        }
        fn blob(&self, descriptor: &Descriptor, _: u64) -> Result<image::Content, image::Error> {
            Ok(Box::new(std::io::Cursor::new(self.0[&descriptor.digest].clone())))
        }
        fn shown(&self) -> String {
            "memory".into()
        }
    }
    let mut blobs = BTreeMap::new();
    let mut made: Option<image::archive::Committed> = None;
    for layer in layers {
        let new = NewLayer { descriptor: Descriptor::of(media::OCI_LAYER, layer), diff_id: Digest::of(layer) };
        blobs.insert(new.diff_id.clone(), layer.clone());
        let base = made.as_ref().map(|made| {
            let raw = Raw { bytes: made.manifest.clone(), media_type: media::OCI_MANIFEST.into() };
            (image::ImageConfig::parse(&made.config).unwrap(), manifest_of(&raw))
        });
        let what = Commit {
            base: base.as_ref().map(|(config, manifest)| (config, manifest)),
            layer: Some(&new),
            platform: registry::Platform::here(),
            changes: &[],
            author: "",
            message: "",
            created_by: "test",
            created: &timestamp(std::time::SystemTime::now()),
        };
        made = Some(commit(&what).unwrap());
    }
    let made = made.unwrap();
    blobs.insert(made.config_descriptor.digest, made.config);
    let source = Blobs(blobs, Raw { bytes: made.manifest, media_type: media::OCI_MANIFEST.into() });
    copy_all(&source, &LayoutSink::open(&scratch.0.join("layout"), Some("x")).unwrap()).unwrap();
}

#[test]
fn the_upper_directory_of_an_overlay_applied_is_what_the_overlay_showed() {
    let scratch = Scratch::new();
    make_tree(&scratch.0.join("lower"), false);
    shell(
        &scratch.0,
        "mkdir -p lower/d/e lower/gone lower/emptied lower/kept lower/was-dir lower/d2; echo 1 > lower/d/e/f
        echo 2 > lower/gone/x; echo 3 > lower/emptied/y; echo 4 > lower/was-dir/z; echo 5 > lower/was-file
        echo 6 > lower/kept/same; echo 7 > lower/kept/changed; echo 8 > lower/d2/a; ln lower/kept/same lower/kept/linked
        mkdir upper work merged; echo \"import os; os.setxattr('new/hard', 'user.x', b'1')\" > set.py
        unshare -m sh -ec '
            mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,redirect_dir=off,metacopy=off,index=off merged
            cd merged; rm -r gone; rm usr/random; rm -r emptied; mkdir emptied; echo new > emptied/n; chmod 700 emptied
            echo more >> kept/changed; rm -r was-dir; echo file > was-dir; rm was-file; mkdir was-file; echo in > was-file/in
            rm d2/a; mkdir -p new/deep; echo n > new/deep/n; ln new/deep/n new/hard; ln -s nowhere new/soft
            mkfifo new/pipe; mknod new/null c 1 3; chown 7:8 d; chmod 1755 kept; touch -d 2001-01-01 d/e/f
            touch created; rm created; mkdir empty2; rmdir empty2; python3 ../set.py
            cd ..; cp -a merged expected'",
    );
    let (lower, upper) = (directory(&scratch.0.join("lower")), directory(&scratch.0.join("upper")));
    let mut base = Vec::new();
    export_tree(lower.as_fd(), AS_ON_DISK, &mut base).unwrap();
    let expected = in_seconds(picture(&scratch.0.join("expected")));
    for with_lower in [true, false] {
        let mut diff = Vec::new();
        diff_layer(upper.as_fd(), with_lower.then_some(lower.as_fd()), Marks::Trusted, AS_ON_DISK, &mut diff).unwrap();
        let mut names = Vec::new();
        let mut reader = image::tar::Reader::new(diff.as_slice());
        while let Some(entry) = reader.next().unwrap() {
            assert!(entry.xattrs.iter().all(|(name, _)| !name.starts_with(b"trusted.")), "{entry:?}");
            names.push(String::from_utf8(entry.name).unwrap());
        }
        for name in [".wh.gone", "emptied/.wh..wh..opq", "d2/.wh.a", "kept/changed", "usr/.wh.random", "d/"] {
            assert!(names.iter().any(|own| own == name), "{name} of {names:?}");
        }
        assert!(!names.iter().any(|name| name == "kept/same" || name.contains("created")), "{names:?}");
        let _ = std::fs::remove_dir_all(scratch.0.join("layout"));
        image_of(&scratch, &[base.clone(), diff]);
        shell(&scratch.0, "rm -rf bundle; umoci unpack --image layout:x bundle");
        let applied = in_seconds(picture(&scratch.0.join("bundle/rootfs")));
        // umoci makes files in directories after it has set their times.
        let without_times = |mut tree: BTreeMap<PathBuf, Picture>| {
            tree.values_mut().filter(|p| p.kind == "directory").for_each(|p| p.mtime = (0, 0));
            // `cp -a` of an overlay splits what was linked below and changed above; there is nothing of that here.
            tree
        };
        assert_same(&format!("lower {with_lower}"), &without_times(applied), &without_times(expected.clone()));
    }
}

/// Sets an attribute of overlayfs's.
const MARK: &str =
    "python3 -c \"import os, sys; os.setxattr(sys.argv[2], 'trusted.overlay.' + sys.argv[1], b'/e')\" $1 $2";

#[test]
fn what_a_layer_cannot_say() {
    let scratch = Scratch::new();
    let cases = [
        ("redirect", "mkdir upper/d; mark redirect upper/d", "redirect_dir"),
        ("metacopy", "touch upper/f; mark metacopy upper/f", "metacopy"),
        ("named so", "touch upper/.wh.etc", "deleted file"),
        ("opaque by name", "mkdir upper/etc; touch upper/etc/.wh..wh..opq", "deleted file"),
    ];
    for (name, make, expected) in cases {
        shell(&scratch.0, &format!("mark() {{ {MARK}; }}; rm -rf upper; mkdir upper; {make}"));
        let upper = directory(&scratch.0.join("upper"));
        let told =
            diff_layer(upper.as_fd(), None, Marks::Trusted, AS_ON_DISK, &mut Vec::new()).expect_err(name).to_string();
        assert!(told.contains(expected), "{name}: {told}");
        // Without privileges these attributes are not overlayfs's.
        let user = diff_layer(upper.as_fd(), None, Marks::User, AS_ON_DISK, &mut Vec::new());
        assert_eq!(user.is_ok(), name == "redirect" || name == "metacopy", "{name}");
    }
}

#[test]
fn a_hostile_tree_leads_nowhere() {
    let scratch = Scratch::new();
    shell(
        &scratch.0,
        "mkdir tree outside; echo secret > outside/s; ln -s ../outside tree/out; ln -s / tree/root; ln -s loop tree/loop
        mkfifo tree/pipe",
    );
    let deep = |levels: u32| {
        let make = "import os; os.chdir('tree')
for _ in range(LEVELS): os.path.isdir('ddddddddd') or os.mkdir('ddddddddd'); os.chdir('ddddddddd')
open('bottom', 'w')";
        shell(&scratch.0, &format!("python3 -c \"{}\"", make.replace("LEVELS", &levels.to_string())));
    };
    deep(300);
    let mut bytes = Vec::new();
    export_tree(directory(&scratch.0.join("tree")).as_fd(), AS_ON_DISK, &mut bytes).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
    let mut reader = image::tar::Reader::new(bytes.as_slice());
    let mut count = 0;
    while reader.next().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 4 + 300 + 1);
    // Deeper than a name can be long.
    deep(600);
    let told = export_tree(directory(&scratch.0.join("tree")).as_fd(), AS_ON_DISK, &mut Vec::new()).unwrap_err();
    assert!(told.to_string().contains("File name too long"), "{told}");
}
