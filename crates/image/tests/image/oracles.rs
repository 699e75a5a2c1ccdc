//! Archives made by other programs, unpacked by us and by GNU tar: the two trees must be the same, entry by entry.

use crate::support::*;
use std::ffi::OsStr;
use std::path::Path;

/// A tree with everything a root file system can have, as far as the format (`rich` or not) can tell it.
pub(crate) fn make_tree(at: &Path, rich: bool) {
    std::fs::create_dir(at).unwrap();
    shell(
        at,
        "umask 022
        mkdir -p usr/bin empty sticky closed 'with space'
        echo hello > usr/bin/hello; chmod 4755 usr/bin/hello
        printf '%0700d' 7 > with\\ space/seven; head -c 300000 /dev/urandom > usr/random
        ln usr/bin/hello usr/bin/again; ln usr/bin/hello hello; ln -s usr/bin bin; ln -s /etc/nowhere dangling
        mkfifo pipe; mknod null c 1 3; mknod disk b 7 200; chmod 600 disk
        touch closed/file; chmod 0 closed; chmod 1777 sticky; chmod 2750 empty
        chown 1000:2000 usr/random; chown -h 33:33 bin; chown 5:60 disk empty
        long=$(printf '%090d' 1); mkdir -p $long/$long; echo long > $long/$long/short
        touch -h -d '2001-02-03 04:05:06' bin; touch -d '2019-12-31 23:59:59' usr/random; touch -d '1999-01-01' empty",
    );
    if rich {
        shell(
            at,
            "long=$(printf '%0200d' 2); mkdir -p $long/$long; echo longer > $long/$long/$long; ln -s $long/$long link
            ln $long/$long/$long hardlong; touch \"$(printf 'raw\\377\\001\\nname')\"
            truncate -s 9000000000 holes; printf end | dd of=holes bs=1 seek=8999999000 conv=notrunc status=none
            truncate -s 3M some; for n in $(seq 0 29)
            do printf X | dd of=some bs=1 seek=$((n * 100000 + 5)) conv=notrunc status=none; done
            touch many; chown 2147483648:2147483649 many",
        );
    }
}

/// Times finer than seconds, times before 1970, extended attributes.
pub(crate) fn add_finer_things(at: &Path) {
    shell(
        at,
        "touch -d '2020-01-01 00:00:00.123456789' usr/bin/hello; touch -d '1965-05-05 05:05:05.25' null
        touch -d '2020-01-01 00:00:00.5' sticky",
    );
    use rustix::fs::{XattrFlags, lsetxattr};
    let set = |path: &str, name: &str, value: &[u8]| {
        lsetxattr(at.join(path), OsStr::new(name), value, XattrFlags::empty()).unwrap();
    };
    set("usr/random", "user.colour", b"blue\n=\0");
    set("sticky", "user.on.directory", b"1");
    set("hello", "security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
}

fn compare(name: &str, scratch: &Scratch, tar: &Path) {
    let theirs = scratch.0.join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    run(
        "tar",
        &[
            OsStr::new("-xpf"),
            tar.as_os_str(),
            OsStr::new("-C"),
            theirs.as_os_str(),
            OsStr::new("--numeric-owner"),
            OsStr::new("--same-owner"),
            OsStr::new("--xattrs"),
            OsStr::new("--xattrs-include=*"),
        ],
    );
    let ours = scratch.store().archive(tar).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (ours, theirs, original) = (picture(&ours.path), picture(&theirs), picture(&scratch.0.join("tree")));
    assert!(theirs.len() > 10, "{name}: the oracle unpacked next to nothing");
    for (path, picture) in &theirs {
        let Some(our) = ours.get(path) else { panic!("{name}: {path:?} is missing") };
        let short = |picture: &Picture| Picture {
            content: picture.content[..picture.content.len().min(40)].into(),
            ..picture.clone()
        };
        // GNU tar itself spoils the time of a directory when something is made in it late: then the original decides.
        let mut told = original[path].clone();
        if our.mtime.1 == 0 {
            told.mtime.1 = 0;
        }
        assert!(
            our == picture || (our.kind == "directory" && *our == told),
            "{name}: {path:?}\n ours {:?}\n tar's {:?}",
            short(our),
            short(picture)
        );
    }
    assert_eq!(ours.len(), theirs.len(), "{name}");
}

#[test]
fn gnu_tar() {
    for (name, options, rich, finer) in [
        ("v7", "--format=v7 --exclude=0000* --exclude=pipe --exclude=null --exclude=disk", false, false),
        ("ustar", "--format=ustar", false, false),
        ("gnu", "--format=gnu", true, false),
        ("gnu, sparse", "--format=gnu --sparse", true, false),
        ("oldgnu", "--format=oldgnu --sparse", true, false),
        ("posix", "--format=posix --xattrs --xattrs-include=* --exclude=holes", true, true),
        ("posix, sparse 0.0", "--format=posix --sparse --sparse-version=0.0 --xattrs", true, true),
        ("posix, sparse 0.1", "--format=posix --sparse --sparse-version=0.1 --xattrs --gzip", true, true),
        ("posix, sparse 1.0", "--format=posix --sparse --sparse-version=1.0 --xattrs --zstd", true, true),
    ] {
        let scratch = Scratch::new();
        let tree = scratch.0.join("tree");
        make_tree(&tree, rich);
        if finer {
            add_finer_things(&tree);
        }
        let exclude = if name == "gnu" { "--exclude=holes" } else { "" };
        shell(&scratch.0, &format!("set -f; tar {options} {exclude} -C tree -cf archive ."));
        compare(name, &scratch, &scratch.0.join("archive"));
    }
}

#[test]
fn bsdtar() {
    for (format, rich, finer) in [("pax", true, true), ("ustar", false, false), ("gnutar", true, false)] {
        let scratch = Scratch::new();
        let tree = scratch.0.join("tree");
        make_tree(&tree, rich);
        if finer {
            add_finer_things(&tree);
        }
        let exclude = if format == "pax" { "" } else { "--exclude ./holes --exclude ./many" };
        shell(&scratch.0, &format!("LC_ALL=C bsdtar --format {format} {exclude} -C tree -cf archive ."));
        compare(format, &scratch, &scratch.0.join("archive"));
    }
}

#[test]
fn python_tarfile() {
    for format in ["USTAR", "GNU", "PAX"] {
        let scratch = Scratch::new();
        let tree = scratch.0.join("tree");
        make_tree(&tree, format != "USTAR");
        shell(
            &scratch.0,
            &format!(
                "rm -f tree/holes; python3 -c \"
import tarfile
with tarfile.open('archive', 'w:gz', format=tarfile.{format}_FORMAT) as t: t.add('tree', arcname='.')\""
            ),
        );
        compare(format, &scratch, &scratch.0.join("archive"));
    }
}
