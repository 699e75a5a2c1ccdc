//! Layouts and OCI archives, with skopeo and umoci as judges.

use super::*;
use image::archive::{Kind, LayoutSink, LayoutSource, OciArchive, detect, open_file, spool};

#[test]
fn a_layout_of_umoci_is_copied_and_skopeo_finds_the_same() {
    let scratch = Scratch::new();
    umoci_layout(&scratch);
    let (from, to) = (scratch.0.join("layout"), scratch.0.join("copy"));
    for name in ["one", "two"] {
        let source = LayoutSource::open(&from, Some(name)).unwrap();
        let top = copy_all(&source, &LayoutSink::open(&to, Some(name)).unwrap()).unwrap();
        let raw = |dir: &Path| said("skopeo", &["inspect", "--raw", &format!("oci:{}:{name}", dir.display())]);
        assert_eq!(Digest::of(&raw(&to)), top.digest);
        assert_eq!(raw(&to), raw(&from));
    }
    shell(
        &scratch.0,
        "umoci unpack --image copy:two bundle; cmp a/random bundle/rootfs/a/random; test -e bundle/rootfs/c",
    );
    // `one` is in `two`: its blobs were there, and nothing is there that nobody names.
    shell(
        &scratch.0,
        "umoci gc --layout layout; diff -r layout/blobs/sha256 copy/blobs/sha256; ls -A copy | wc -l | grep -qx 3",
    );
    shell(&scratch.0, "skopeo copy -q oci:copy:one oci:again:x");
}

#[test]
fn a_name_is_taken_over_and_the_others_stay() {
    let scratch = Scratch::new();
    umoci_layout(&scratch);
    let path = scratch.0.join("layout");
    let mut made = Made::default();
    let top = made.image("amd64", &[&layer("x", b"1")]);
    made.name(&top, "x");
    made.write(&scratch.0.join("other"));
    let source = LayoutSource::open(&scratch.0.join("other"), None).unwrap();
    for _ in 0..2 {
        copy_all(&source, &LayoutSink::open(&path, Some("one")).unwrap()).unwrap();
        copy_all(&source, &LayoutSink::open(&path, None).unwrap()).unwrap();
    }
    let listed = String::from_utf8(said("umoci", &["ls", "--layout", path.to_str().unwrap()])).unwrap();
    let mut listed: Vec<_> = listed.split_whitespace().collect();
    listed.sort();
    assert_eq!(listed, ["one", "two"]);
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(path.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 3, "one, two, and one without a name");
    assert_eq!(LayoutSource::open(&path, Some("one")).unwrap().top().unwrap(), source.top().unwrap());
}

#[test]
fn which_image_is_meant() {
    let scratch = Scratch::new();
    umoci_layout(&scratch);
    let told = |name: Option<&str>| match LayoutSource::open(&scratch.0.join("layout"), name) {
        Ok(_) => panic!("found"),
        Err(error) => error.to_string(),
    };
    assert!(told(None).ends_with("it holds several images (it has one, two): say which"), "{}", told(None));
    assert!(told(Some("x")).contains("it holds no image \"x\" (it has one, two)"), "{}", told(Some("x")));
    let empty = scratch.0.join("empty");
    Made::default().write(&empty);
    assert!(LayoutSource::open(&empty, None).err().unwrap().to_string().contains("no image"));
}

#[test]
fn archives_of_skopeo_plain_and_compressed() {
    let scratch = Scratch::new();
    umoci_layout(&scratch);
    shell(&scratch.0, "skopeo copy -q oci:layout:two oci-archive:plain:two; gzip -k plain; zstd -q plain; mkfifo pipe");
    let expected = LayoutSource::open(&scratch.0.join("layout"), Some("two")).unwrap().top().unwrap();
    for path in ["plain", "plain.gz", "plain.zst"] {
        assert_eq!(detect(&scratch.0.join(path)).unwrap(), Kind::OciArchive, "{path}");
        let found = image_in(&scratch, path, Some("two"));
        assert_eq!((found.names.as_slice(), &found.source.top().unwrap()), (["two".to_owned()].as_slice(), &expected));
        let to = scratch.0.join(format!("{path}.layout"));
        copy_all(&*found.source, &LayoutSink::open(&to, Some("two")).unwrap()).unwrap();
        shell(
            &scratch.0,
            &format!("umoci unpack --image {path}.layout:two {path}.b; cmp a/random {path}.b/rootfs/a/random"),
        );
        let mut stream = std::fs::File::open(scratch.0.join(path)).unwrap();
        let spooled = spool(&mut stream, &scratch.0).unwrap();
        assert_eq!(open_file(spooled, "-", &scratch.0).unwrap()[0].source.top().unwrap(), expected);
    }
    let writer = std::thread::spawn({
        let directory = scratch.0.clone();
        move || shell(&directory, "cat plain.gz > pipe")
    });
    // `cat` may find nobody there when we only look whether it is a pipe; it waits for the next reader.
    assert_eq!(image_in(&scratch, "pipe", None).source.top().unwrap(), expected);
    writer.join().unwrap();
}

#[test]
fn an_archive_of_ours_is_the_same_each_time_and_skopeo_reads_it() {
    let scratch = Scratch::new();
    umoci_layout(&scratch);
    let write = || {
        let buffer = Buffer::default();
        let archive = OciArchive::new(Box::new(buffer.clone()), "buffer");
        for name in ["one", "two"] {
            let source = LayoutSource::open(&scratch.0.join("layout"), Some(name)).unwrap();
            copy_all(&source, &*archive.image(&[name.to_owned()])).unwrap();
        }
        archive.finish().unwrap();
        buffer.bytes()
    };
    let bytes = write();
    assert_eq!(bytes, write());
    std::fs::write(scratch.0.join("ours"), &bytes).unwrap();
    shell(
        &scratch.0,
        "for i in one two; do skopeo inspect --raw oci-archive:ours:$i | sha256sum > x
        skopeo inspect --raw oci:layout:$i | sha256sum | cmp - x; skopeo copy -q oci-archive:ours:$i oci:read:$i; done
        tar -tvf ours > list; bsdtar -tf ours > list2; grep -q oci-layout list2
        umoci unpack --image read:two bundle; cmp a/random bundle/rootfs/a/random",
    );
    assert_eq!(open(&scratch.0.join("ours"), &scratch.0).unwrap().len(), 2);
}
