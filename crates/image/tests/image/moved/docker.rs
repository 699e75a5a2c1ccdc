//! Archives of `docker save`, with skopeo and Podman as judges.

use super::*;
use image::archive::{DockerArchive, Kind, LayoutSink, LayoutSource, detect};

fn hex(bytes: &[u8]) -> String {
    Digest::of(bytes).hex().to_owned()
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let rootfs = serde_json::json!({"type": "layers", "diff_ids": diff_ids});
    serde_json::json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).to_string().into_bytes()
}

/// Podman with a store of its own.
fn podman(scratch: &Scratch, arguments: &str) {
    let options = "--root $PWD/store --runroot $PWD/run --storage-driver vfs --cgroup-manager cgroupfs";
    shell(&scratch.0, &format!("podman {options} {arguments}"));
}

#[test]
fn what_we_write_is_loaded_by_podman_and_read_by_skopeo() {
    let scratch = Scratch::new();
    umoci_layout(&scratch);
    let write = |path: &str| {
        let archive = DockerArchive::new(file(&scratch.0.join(path)), path, &scratch.0);
        for (image, names) in [("one", vec!["docker.io/library/one:1", "localhost/other:2"]), ("two", vec!["two"])] {
            let source = LayoutSource::open(&scratch.0.join("layout"), Some(image)).unwrap();
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            copy_all(&source, &*archive.image(&names)).unwrap();
        }
        archive.finish().unwrap();
    };
    write("saved");
    write("again");
    shell(
        &scratch.0,
        "cmp saved again; test $(tar -tf saved | grep -c '\\.tar$') = 3; test $(tar -tf saved | sort | uniq -d | wc -l) = 0
        skopeo inspect --config oci:layout:one > expected; skopeo inspect --config docker-archive:saved:one:1 | cmp - expected
        skopeo copy -q docker-archive:saved:two:latest oci:read:two
        umoci unpack --image read:two bundle; cmp a/random bundle/rootfs/a/random",
    );
    podman(&scratch, "load -q -i saved");
    podman(&scratch, "image exists localhost/other:2");
    podman(&scratch, "save -q -m -o back docker.io/library/one:1 docker.io/library/two:latest");
    assert_eq!(detect(&scratch.0.join("saved")).unwrap(), Kind::DockerArchive);
    let config_of = |path: &str, name| manifest_of(&image_in(&scratch, path, Some(name)).source.top().unwrap()).config;
    for name in ["docker.io/library/one:1", "two"] {
        assert_eq!(config_of("saved", name), config_of("back", name), "{name}");
    }
    // What we wrote we read, and the layers are what they say.
    let found = image_in(&scratch, "saved", Some("localhost/other:2"));
    copy_all(&*found.source, &LayoutSink::open(&scratch.0.join("ours"), Some("x")).unwrap()).unwrap();
    shell(&scratch.0, "umoci unpack --image ours:x b2; cmp a/random b2/rootfs/a/random");
}

#[test]
fn what_other_tools_write() {
    let scratch = Scratch::new();
    umoci_layout(&scratch);
    shell(
        &scratch.0,
        "skopeo copy -q oci:layout:two docker-archive:skopeo:x/two:3; skopeo copy -q oci:layout:two oci-archive:oci:x/two:3",
    );
    podman(&scratch, "load -q -i skopeo");
    podman(&scratch, "save -q --format docker-archive -o podman x/two:3");
    podman(&scratch, "save -q --format oci-archive -o podman-oci x/two:3");
    let source = LayoutSource::open(&scratch.0.join("layout"), Some("two")).unwrap();
    let expected = manifest_of(&source.top().unwrap()).config.digest;
    for (path, kind, name) in [
        ("skopeo", Kind::DockerArchive, "docker.io/x/two:3"),
        ("podman", Kind::DockerArchive, "x/two:3"),
        ("podman-oci", Kind::OciArchive, "docker.io/x/two:3"),
    ] {
        assert_eq!(detect(&scratch.0.join(path)).unwrap(), kind, "{path}");
        let found = image_in(&scratch, path, Some(name));
        if path != "podman-oci" {
            assert_eq!(manifest_of(&found.source.top().unwrap()).config.digest, expected, "{path}");
        }
        copy_all(&*found.source, &LayoutSink::open(&scratch.0.join("all"), Some(path)).unwrap()).unwrap();
        shell(&scratch.0, &format!("umoci unpack --image all:{path} {path}.b; cmp a/random {path}.b/rootfs/a/random"));
    }
}

#[test]
fn the_old_layout_with_its_links() {
    let scratch = Scratch::new();
    let (low, high) = (layer("low", b"1"), layer("high", b"2"));
    let (one, two) = (config(&[&low]), config(&[&low, &high]));
    let manifest = serde_json::json!([
        {"Config": format!("{}.json", hex(&one)), "RepoTags": ["one:1"], "Layers": ["aaa/layer.tar"]},
        {"Config": format!("{}.json", hex(&two)), "RepoTags": null, "Layers": ["bbb/layer.tar", "ccc/layer.tar"]},
    ]);
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let archive = |high: &[u8]| {
        Tar::new()
            .file("aaa/VERSION", b"1.0")
            .file("aaa/layer.tar", &low)
            .symlink("bbb/layer.tar", "../aaa/layer.tar")
            .file("ccc/layer.tar", high)
            .file(format!("{}.json", hex(&one)), &one)
            .file(format!("./{}.json", hex(&two)), &two)
            .file("manifest.json", manifest.to_string().as_bytes())
            .file("repositories", b"{}")
            .end()
    };
    for (name, high) in [("plain", high.clone()), ("compressed", gzip(&high))] {
        std::fs::write(scratch.0.join(name), archive(&high)).unwrap();
        let images = open(&scratch.0.join(name), &scratch.0).unwrap();
        assert_eq!(images.iter().map(|i| i.names.len()).collect::<Vec<_>>(), [1, 0]);
        let sink = LayoutSink::open(&scratch.0.join("layout"), Some(name)).unwrap();
        let top = copy_all(&*images[1].source, &sink).unwrap();
        let again = open(&scratch.0.join(name), &scratch.0).unwrap().remove(1).source.top().unwrap();
        assert_eq!(Digest::of(&again.bytes), top.digest, "the manifest that is made is the same each time");
        shell(
            &scratch.0,
            &format!("umoci unpack --image layout:{name} {name}.b; cd {name}.b/rootfs; test -e low -a -e high"),
        );
    }
}

/// Docker 25: the manifests of the layout are kept, and `manifest.json` says the names.
#[test]
fn a_layout_and_a_docker_archive_at_once() {
    let scratch = Scratch::new();
    let mut made = Made::default();
    let here = made.image("amd64", &[&layer("x", b"1")]);
    let manifest: ImageManifest = serde_json::from_slice(&made.blobs.last().unwrap().1).unwrap();
    let mut other = Made::default();
    let absent = other.image("arm64", &[&layer("y", b"2")]);
    let index = made.index(&[here, absent]);
    made.name(&index, "1");
    let blob = |descriptor: &Descriptor| format!("blobs/sha256/{}", descriptor.digest.hex());
    let items = |config: String| serde_json::json!([{"Config": config, "RepoTags": ["x:1", "y:2"], "Layers": [blob(&manifest.layers[0])]}]);
    let tar = |items: &serde_json::Value, index: Option<&[u8]>| {
        let files = made.files();
        let tar = files.iter().filter(|(name, _)| index.is_none() || name != "index.json");
        let tar = tar.fold(Tar::new(), |tar, (name, bytes)| tar.file(name, bytes));
        let tar = index.map_or(tar.clone(), |index| tar.file("index.json", index));
        tar.file("manifest.json", items.to_string().as_bytes()).end()
    };
    std::fs::write(scratch.0.join("both"), tar(&items(blob(&manifest.config)), None)).unwrap();
    let images = open(&scratch.0.join("both"), &scratch.0).unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].names, ["x:1", "y:2"]);
    assert_eq!(Digest::of(&images[0].source.top().unwrap().bytes), index.digest, "the index itself");
    let one = Platforms::One(registry::Platform::parse("linux/amd64").unwrap());
    let sink = LayoutSink::open(&scratch.0.join("layout"), None).unwrap();
    copy(&*images[0].source, &sink, &one, &image::Silent).unwrap();
    let told = copy_all(&*images[0].source, &sink).unwrap_err().to_string();
    assert!(told.starts_with("the image for linux/arm64 (sha256:"), "{told}");
    // Only the one half can be used.
    std::fs::write(scratch.0.join("half"), tar(&items(blob(&manifest.config)), Some(b"{"))).unwrap();
    let images = open(&scratch.0.join("half"), &scratch.0).unwrap();
    copy_all(&*images[0].source, &sink).unwrap();
}

#[test]
fn what_such_an_archive_cannot_hold() {
    let scratch = Scratch::new();
    let mut made = Made::default();
    let one = made.image("amd64", &[&layer("x", b"1")]);
    let two = made.image("arm64", &[&layer("y", b"2")]);
    let index = made.index(&[one, two]);
    made.name(&index, "index");
    made.write(&scratch.0.join("layout"));
    let source = LayoutSource::open(&scratch.0.join("layout"), Some("index")).unwrap();
    let archive = DockerArchive::new(Box::new(std::io::sink()), "x", &scratch.0);
    let told = copy_all(&source, &*archive.image(&[])).unwrap_err().to_string();
    assert!(told.contains("say which platform"), "{told}");
    let arm = Platforms::One(registry::Platform::parse("arm64").unwrap());
    copy(&source, &*archive.image(&[]), &arm, &image::Silent).unwrap();
    archive.finish().unwrap();
}
