//! Archives and layouts that are damaged, or made to do harm.

use super::*;
use image::archive::{Kind, LayoutSink, LayoutSource, OciArchive, detect};

/// What is told of the image in this tar, when it is opened or copied.
fn told(scratch: &Scratch, tar: &[u8]) -> String {
    let path = scratch.0.join("hostile");
    std::fs::write(&path, tar).unwrap();
    let images = match open(&path, &scratch.0) {
        Ok(images) => images,
        Err(error) => return error.to_string(),
    };
    let to = scratch.0.join("hostile.layout");
    let _ = std::fs::remove_dir_all(&to);
    let copied = images.iter().try_for_each(|image| copy_all(&*image.source, &LayoutSink::open(&to, None)?).map(drop));
    copied.map_or_else(|error| error.to_string(), |()| "copied".into())
}

fn docker(items: &str, config: &[u8]) -> Tar {
    let name = format!("{}.json", Digest::of(config).hex());
    Tar::new().file("manifest.json", items.replace("CONFIG", &name).as_bytes()).file(name, config)
}

fn config(layers: usize) -> Vec<u8> {
    let diff_ids = vec![Digest::of(&layer("x", b"1")); layers];
    let rootfs = serde_json::json!({"type": "layers", "diff_ids": diff_ids});
    serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).to_string().into_bytes()
}

#[test]
fn docker_archives() {
    let scratch = Scratch::new();
    std::fs::write(scratch.0.join("secret"), layer("x", b"1")).unwrap();
    let secret = scratch.0.join("secret");
    let item = |layer: &str| format!(r#"[{{"Config":"CONFIG","Layers":["{layer}"]}}]"#);
    let with = |layer: &str| docker(&item(layer), &config(1));
    let good = layer("x", b"1");
    let many = format!(r#"[{{"Config":"CONFIG","Layers":[{}""]}}]"#, r#""","#.repeat(1_000_000));
    let ten_million = format!(r#"[{{"Config":"CONFIG","Layers":[{}""]}}]"#, r#""","#.repeat(10_000_000));
    let images = format!("[{}{{\"Config\":\"CONFIG\"}}]", r#"{"Config":"CONFIG"},"#.repeat(2000));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("as it should be", with("l").file("l", &good).end(), "copied"),
        ("absolute", with(secret.to_str().unwrap()).end(), "it has no"),
        ("climbing", with("../secret").end(), "it has no"),
        ("an entry that climbs", with("../secret").file("../secret", &good).end(), "it has no"),
        ("a link out", with("l").symlink("l", "../secret").end(), "out of the archive"),
        ("an absolute link", with("l").symlink("l", secret.to_str().unwrap()).end(), "out of the archive"),
        ("a hard link out", with("l").hardlink("l", "../secret").end(), "out of the archive"),
        ("a link to nothing", with("l").symlink("l", "m").end(), "it has no \"l\""),
        ("links in a circle", with("l").symlink("l", "m").symlink("m", "l").end(), "a link to a link"),
        ("a device", with("l").entry(Header { device: (8, 0), ..Header::new("l", b'4') }, b"").end(), "is a device"),
        ("a pipe", with("l").entry(Header::new("l", b'6'), b"").end(), "is a pipe"),
        ("twice", with("l").file("l", &good).file("./l", b"").end(), "is there twice"),
        ("manifest twice", with("l").file("l", &good).file("manifest.json", b"[]").end(), "is there twice"),
        ("no configuration", Tar::new().file("manifest.json", item("l").as_bytes()).end(), "it has no \"CONFIG\""),
        (
            "another configuration",
            {
                let name = format!("{}.json", Digest::of(b"x").hex());
                let items = item("l").replace("CONFIG", &name);
                Tar::new().file("manifest.json", items.as_bytes()).file(name, &config(1)).file("l", &good).end()
            },
            "is not that: its digest is",
        ),
        ("another layer", with("l").file("l", &layer("x", b"2")).end(), "is not that: its digest is"),
        ("too few layers", docker(&item("l"), &config(2)).file("l", &good).end(), "speaks of 2 layers, and it has 1"),
        ("no JSON", docker("{", &config(1)).end(), "not what it should be"),
        ("no list", docker("{}", &config(1)).end(), "not what it should be"),
        ("deep JSON", docker(&"[".repeat(100_000), &config(1)).end(), "not what it should be"),
        ("a million layers", docker(&many, &config(1)).end(), "names 1000001 layers"),
        ("ten million layers", docker(&ten_million, &config(1)).end(), "bytes; 4194304 are the most"),
        ("many images", docker(&images, &config(1)).end(), "names 2001 images"),
        ("none", docker("[]", &config(1)).end(), "no index.json"),
        ("a configuration too big", docker(&item("l"), &vec![b' '; 5 << 20]).end(), "are the most"),
        (
            "cut short",
            {
                let mut t = with("l").file("l", &good).end();
                t.truncate(t.len() - 2000);
                t
            },
            "truncated",
        ),
        (
            "cut at the end",
            {
                let mut t = with("l").file("l", &good).end();
                t.truncate(t.len() - 1024);
                t
            },
            "truncated",
        ),
    ];
    for (name, tar, expected) in cases {
        let told = told(&scratch, &tar);
        assert!(told.contains(expected), "{name}: {told}");
    }
}

#[test]
fn a_size_beyond_the_end() {
    let scratch = Scratch::new();
    for size in [1 << 20, 8 << 30, u64::MAX >> 1] {
        let mut header = Header::new("l", b'0');
        header.size = size.min(0o77_777_777_777);
        let tar = Tar::new().pax(&[("size", size.to_string().as_bytes())]).raw(&header.bytes()).end();
        let told = told(&scratch, &tar);
        assert!(told.contains("truncated") && told.contains("in \"l\""), "{size}: {told}");
    }
}

#[test]
fn more_entries_than_any_image_has() {
    let scratch = Scratch::new();
    let entry = Tar::new().file("x", b"").0;
    let tar = Tar::new().raw(&entry.repeat(100_001)).end();
    assert!(told(&scratch, &tar).contains("too many entries"));
    assert_eq!(detect(&scratch.0.join("hostile")).unwrap(), Kind::Export);
}

#[test]
fn layouts() {
    let scratch = Scratch::new();
    std::fs::write(scratch.0.join("secret"), b"secret").unwrap();
    let fresh = || {
        let mut made = Made::default();
        let top = made.image("amd64", &[&layer("x", b"1")]);
        made.name(&top, "x");
        let layout = scratch.0.join("layout");
        let _ = std::fs::remove_dir_all(&layout);
        made.write(&layout);
        let layer = format!("blobs/sha256/{}", Digest::of(&layer("x", b"1")).hex());
        (layer, format!("blobs/sha256/{}", top.digest.hex()))
    };
    let cases: [(&str, &str, &str); 13] = [
        ("as it should be", "true", "copied"),
        ("a layer that is a link", "ln -sf ../../../secret LAYER", "behind a symlink"),
        ("a directory that is a link", "mv blobs ../b; ln -s ../b blobs", "behind a symlink"),
        ("a layer that is a pipe", "rm LAYER; mkfifo LAYER", "is a pipe"),
        ("a layer that is a directory", "rm LAYER; mkdir LAYER", "is a directory"),
        ("a layer that is a device", "rm LAYER; mknod LAYER c 1 5", "is a device"),
        ("a layer that is missing", "rm LAYER", "it has no"),
        ("a longer layer", "echo >> LAYER", "should have"),
        ("another manifest", "echo >> TOP", "is not that"),
        ("a manifest too big", "truncate -s 5M TOP", "are the most"),
        ("an index that is a link", "mv index.json ..; ln -s ../index.json .", "behind a symlink"),
        ("an index too big", "truncate -s 5M index.json", "are the most"),
        ("another version", "echo '{\"imageLayoutVersion\":\"2.0.0\"}' > oci-layout", "of version \"2.0.0\""),
    ];
    for (name, spoil, expected) in cases {
        shell(&scratch.0, "rm -rf b index.json to");
        let (layer, top) = fresh();
        shell(&scratch.0.join("layout"), &spoil.replace("LAYER", &layer).replace("TOP", &top));
        let source = LayoutSource::open(&scratch.0.join("layout"), None);
        let copied = source.and_then(|source| copy_all(&source, &LayoutSink::open(&scratch.0.join("to"), None)?));
        let told = copied.map_or_else(|error| error.to_string(), |_| "copied".into());
        assert!(told.contains(expected), "{name}: {told}");
        // A layer is hidden from a sink by the same tricks, and not followed there either.
        let (layer, _) = fresh();
        if name.contains("that is") {
            shell(&scratch.0.join("layout"), &spoil.replace("LAYER", &layer));
            let sink = LayoutSink::open(&scratch.0.join("layout"), None);
            let mut made = Made::default();
            let other = made.image("amd64", &[&crate::moved::layer("x", b"1")]);
            made.name(&other, "y");
            made.write(&scratch.0.join("other"));
            let source = LayoutSource::open(&scratch.0.join("other"), None).unwrap();
            let _ = sink.and_then(|sink| copy_all(&source, &sink));
            assert_eq!(std::fs::read(scratch.0.join("secret")).unwrap(), b"secret", "{name}");
        }
    }
}

#[test]
fn an_archive_that_was_begun_with_wrong_content_is_never_finished() {
    let scratch = Scratch::new();
    let mut made = Made::default();
    let top = made.image("amd64", &[&layer("x", b"1")]);
    made.name(&top, "x");
    for (_, bytes) in made.blobs.iter_mut().filter(|(_, bytes)| bytes.len() > 1000) {
        bytes[3] ^= 1;
    }
    made.write(&scratch.0.join("layout"));
    let source = LayoutSource::open(&scratch.0.join("layout"), None).unwrap();
    let archive = OciArchive::new(Box::new(std::io::sink()), "x");
    assert!(copy_all(&source, &*archive.image(&[])).unwrap_err().to_string().contains("is not that"));
    assert!(archive.finish().err().unwrap().to_string().contains("incomplete"));
    let archive = image::archive::DockerArchive::new(Box::new(std::io::sink()), "x", &scratch.0);
    assert!(copy_all(&source, &*archive.image(&[])).unwrap_err().to_string().contains("is not that"));
    assert!(archive.finish().err().unwrap().to_string().contains("incomplete"));
}

#[test]
fn what_things_are() {
    let scratch = Scratch::new();
    let mut made = Made::default();
    let top = made.image("amd64", &[]);
    made.name(&top, "x");
    made.write(&scratch.0.join("layout"));
    let root = Tar::new().directory("etc/").file("etc/passwd", b"root").file("index.json", b"{}").end();
    let files: Vec<(&str, Vec<u8>, Kind)> = vec![
        ("oci", made.tar(), Kind::OciArchive),
        ("docker", docker("[]", &config(0)).end(), Kind::DockerArchive),
        ("export", root, Kind::Export),
        ("other names", Tar::new().file("a", b"").end(), Kind::Export),
        ("empty", Vec::new(), Kind::Unknown),
        ("empty tar", Tar::new().end(), Kind::Unknown),
        ("text", b"hello\n".to_vec(), Kind::Unknown),
    ];
    for (name, bytes, expected) in &files {
        let path = scratch.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(detect(&path).unwrap(), *expected, "{name}");
        shell(&scratch.0, &format!("gzip -k '{name}'; zstd -q '{name}'"));
        for ending in ["gz", "zst"] {
            assert_eq!(detect(&scratch.0.join(format!("{name}.{ending}"))).unwrap(), *expected, "{name}.{ending}");
        }
    }
    assert_eq!(detect(&scratch.0.join("layout")).unwrap(), Kind::Layout);
    assert_eq!(detect(&scratch.0).unwrap(), Kind::Unknown);
    assert_eq!(detect(Path::new("/dev/null")).unwrap(), Kind::Unknown);
    assert!(detect(&scratch.0.join("nothing")).is_err());
    let told = open(&scratch.0.join("export"), &scratch.0).err().unwrap().to_string();
    assert!(told.contains("`import` makes an image of it"), "{told}");
}
