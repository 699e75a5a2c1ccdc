//! Copies: what goes over, in which order, and what is told.

use super::*;
use image::archive::{LayoutSink, LayoutSource};
use image::{Content, Events, State};

/// A sink that notes what it is given.
#[derive(Default)]
struct Notes {
    calls: Mutex<Vec<String>>,
    has: Option<Digest>,
}

impl Notes {
    fn note(&self, text: String) {
        self.calls.lock().unwrap().push(text);
    }
}

impl Sink for Notes {
    fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, image::Error> {
        Ok(self.has.as_ref() == Some(&descriptor.digest))
    }

    fn put_blob(
        &self,
        descriptor: &Descriptor,
        open: &dyn Fn() -> Result<Content, image::Error>,
    ) -> Result<(), image::Error> {
        let mut bytes = Vec::new();
        open()?.read_to_end(&mut bytes).unwrap();
        assert!(descriptor.digest.is_of(&bytes));
        self.note(format!("blob {}", descriptor.digest.short()));
        Ok(())
    }

    fn put_manifest(&self, descriptor: &Descriptor, _: &Raw) -> Result<(), image::Error> {
        self.note(format!("manifest {}", descriptor.digest.short()));
        Ok(())
    }

    fn put_top(&self, raw: &Raw) -> Result<(), image::Error> {
        self.note(format!("top {}", Digest::of(&raw.bytes).short()));
        Ok(())
    }

    fn shown(&self) -> String {
        "notes".into()
    }
}

struct Told(Mutex<Vec<(usize, State)>>);

impl Events for Told {
    fn layer_found(&self, index: usize, _: &str, _: u64) {
        self.0.lock().unwrap().push((index, State::Waiting));
    }

    fn layer_progress(&self, _: usize, _: u64) {}

    fn layer_state(&self, index: usize, state: State) {
        self.0.lock().unwrap().push((index, state));
    }
}

#[test]
fn from_below_each_thing_once_and_nothing_that_is_there() {
    let scratch = Scratch::new();
    let mut made = Made::default();
    let shared = layer("shared", b"1");
    let one = made.image("amd64", &[&shared, &layer("x", b"1")]);
    let two = made.image("arm64", &[&shared, &shared]);
    let inner = made.index(&[one.clone(), two]);
    // The same manifest again, and a thing that is no manifest.
    let thing = made.blob("text/plain", b"words");
    let outer = made.index(&[inner, one.clone(), thing]);
    made.name(&outer, "x");
    made.write(&scratch.0.join("layout"));
    let source = LayoutSource::open(&scratch.0.join("layout"), None).unwrap();

    let sink = Notes { has: Some(Digest::of(&shared)), ..Notes::default() };
    let told = Told(Mutex::default());
    copy(&source, &sink, &Platforms::All, &told).unwrap();
    let calls = sink.calls.into_inner().unwrap();
    let kinds: Vec<&str> = calls.iter().map(|call| call.split(' ').next().unwrap()).collect();
    // Two configurations and a layer; a manifest; the words and the index above them.
    assert_eq!(kinds, ["blob", "blob", "manifest", "blob", "manifest", "manifest", "blob", "top"], "{calls:?}");
    assert_eq!(calls.last(), Some(&format!("top {}", outer.digest.short())));
    let told = told.0.into_inner().unwrap();
    let count = |state| told.iter().filter(|(_, told)| *told == state).count();
    assert_eq!((count(State::Waiting), count(State::Present), count(State::Done)), (5, 1, 4), "{told:?}");

    let sink = Notes::default();
    let arm = Platforms::One(registry::Platform::parse("linux/amd64").unwrap());
    let top = copy(&source, &sink, &arm, &image::Silent).unwrap();
    assert_eq!(top.digest, one.digest);
    assert_eq!(sink.calls.into_inner().unwrap().len(), 4);
    let none = Platforms::One(registry::Platform::parse("linux/s390x").unwrap());
    let told = copy(&source, &Notes::default(), &none, &image::Silent).unwrap_err().to_string();
    assert!(told.contains("s390x"), "{told}");
}

/// Digests make a circle impossible for who checks them; a source that gives the same index for every question does not
/// get far.
#[test]
fn an_index_in_itself() {
    struct Circle(Vec<u8>);
    impl Source for Circle {
        fn top(&self) -> Result<Raw, image::Error> {
            Ok(Raw { bytes: self.0.clone(), media_type: media::OCI_INDEX.into() })
        }
        fn manifest(&self, _: &Descriptor) -> Result<Raw, image::Error> {
            self.top()
        }
        fn blob(&self, _: &Descriptor, _: u64) -> Result<Content, image::Error> {
            unreachable!()
        }
        fn shown(&self) -> String {
            "a circle".into()
        }
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests":
        [{"mediaType": media::OCI_INDEX, "digest": Digest::of(b"x"), "size": 10}]});
    for platforms in [Platforms::All, Platforms::One(registry::Platform::here())] {
        let source = Circle(index.to_string().into_bytes());
        let told = copy(&source, &Notes::default(), &platforms, &image::Silent).unwrap_err().to_string();
        assert!(told.contains("of a circle has a wrong length"), "{told}");
    }
    // Of the right length, and still another.
    let text = |digest: &[u8], size: usize| {
        let entry = serde_json::json!({"mediaType": media::OCI_INDEX, "digest": Digest::of(digest), "size": size});
        serde_json::json!({"schemaVersion": 2, "manifests": [entry]}).to_string().into_bytes()
    };
    let length = text(b"x", 100).len();
    let told = copy_all(&Circle(text(b"x", length)), &Notes::default()).unwrap_err().to_string();
    assert!(told.contains("a circle sent wrong content"), "{told}");
}

#[test]
fn indexes_in_indexes_to_a_depth() {
    let scratch = Scratch::new();
    for (depth, works) in [(4, true), (5, false)] {
        let mut made = Made::default();
        let mut top = made.image("amd64", &[]);
        for _ in 0..depth {
            top = made.index(&[top]);
        }
        made.name(&top, "x");
        let path = scratch.0.join(depth.to_string());
        made.write(&path);
        let source = LayoutSource::open(&path, None).unwrap();
        for platforms in [Platforms::All, Platforms::One(registry::Platform::parse("amd64").unwrap())] {
            let copied = copy(&source, &Notes::default(), &platforms, &image::Silent);
            assert_eq!(copied.is_ok(), works, "{depth}, {platforms:?}: {copied:?}");
        }
    }
}

#[test]
fn a_failure_stops_the_rest_and_leaves_nothing_half_made() {
    let scratch = Scratch::new();
    let mut made = Made::default();
    let layers: Vec<Vec<u8>> = (0..8).map(|n| layer("x", &vec![n; 100_000])).collect();
    let top = made.image("amd64", &layers.iter().map(Vec::as_slice).collect::<Vec<_>>());
    made.name(&top, "x");
    // One of the layers is damaged, its length being right.
    let damaged = made.blobs.iter_mut().filter(|(_, bytes)| bytes.len() > 50_000).nth(3).unwrap();
    damaged.1[60_000] ^= 1;
    let digest = damaged.0.rsplit('/').next().unwrap().to_owned();
    made.write(&scratch.0.join("layout"));
    let source = LayoutSource::open(&scratch.0.join("layout"), None).unwrap();
    let to = scratch.0.join("to");
    let told = copy_all(&source, &LayoutSink::open(&to, Some("x")).unwrap()).unwrap_err().to_string();
    assert!(told.contains(&format!("the content of sha256:{digest} is not that")), "{told}");
    shell(&to, &format!("test ! -e index.json; test ! -e blobs/sha256/{digest}; test -z \"$(ls -A | grep tmp)\""));
}
