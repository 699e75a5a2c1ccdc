//! Images in layouts and archives: written by other tools and read by us, and the other way round.

mod copies;
mod docker;
mod examined;
mod layouts;
mod trees;
mod wrong;

use crate::support::*;
use image::archive::{Found, Platforms, copy, open, pick};
use image::{Raw, Sink, Source};
use registry::{Descriptor, Digest, ImageManifest, Manifest, media};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What a program says that must succeed.
fn said(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A layout of umoci's in `layout`, with the image `one` of two layers, and `two` that has one more.
fn umoci_layout(scratch: &Scratch) {
    shell(
        &scratch.0,
        "mkdir a b; echo hello > a/hello; head -c 300000 /dev/urandom > a/random; echo bye > b/bye; ln -s bye b/link
        umoci init --layout layout; umoci new --image layout:one
        umoci insert --image layout:one a /a; umoci insert --image layout:one b /b
        umoci config --image layout:one --config.env A=1 --config.cmd /bin/sh
        umoci tag --image layout:one two; umoci insert --image layout:two a/hello /c",
    );
}

/// The image of this name in an archive or layout.
fn image_in(scratch: &Scratch, path: &str, name: Option<&str>) -> Found {
    pick(open(&scratch.0.join(path), &scratch.0).unwrap(), name, path).unwrap()
}

fn manifest_of(raw: &Raw) -> ImageManifest {
    match Manifest::parse(&raw.bytes, &raw.media_type).unwrap() {
        Manifest::Image(manifest) => *manifest,
        Manifest::Index(_) => panic!("an index"),
    }
}

fn copy_all(source: &dyn Source, sink: &dyn Sink) -> Result<Descriptor, image::Error> {
    copy(source, sink, &Platforms::All, &image::Silent)
}

/// Something to write to that can be looked at afterwards.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

fn file(path: &Path) -> Box<dyn Write + Send> {
    Box::new(std::fs::File::create(path).unwrap())
}

/// An OCI archive, or a layout, made by hand; nothing of it is checked.
#[derive(Default)]
struct Made {
    blobs: Vec<(String, Vec<u8>)>,
    entries: Vec<serde_json::Value>,
}

impl Made {
    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        self.blobs.push((format!("blobs/sha256/{}", descriptor.digest.hex()), bytes.to_vec()));
        descriptor
    }

    /// An image for `architecture` with these plain layers.
    fn image(&mut self, architecture: &str, layers: &[&[u8]]) -> Descriptor {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
        let rootfs = serde_json::json!({"type": "layers", "diff_ids": diff_ids});
        let config = serde_json::json!({"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs});
        let config = self.blob(media::OCI_CONFIG, config.to_string().as_bytes());
        let layers: Vec<Descriptor> = layers.iter().map(|layer| self.blob(media::OCI_LAYER, layer)).collect();
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
        let mut manifest = self.blob(media::OCI_MANIFEST, manifest.to_string().as_bytes());
        manifest.platform = Some(registry::Platform::parse(&format!("linux/{architecture}")).unwrap());
        manifest
    }

    fn index(&mut self, manifests: &[Descriptor]) -> Descriptor {
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": manifests});
        self.blob(media::OCI_INDEX, index.to_string().as_bytes())
    }

    fn name(&mut self, top: &Descriptor, name: &str) {
        let mut top = top.clone();
        top.annotations.insert("org.opencontainers.image.ref.name".into(), name.into());
        self.entries.push(serde_json::to_value(top).unwrap());
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = self.blobs.clone();
        let index = serde_json::json!({"schemaVersion": 2, "manifests": self.entries});
        files.push(("index.json".into(), index.to_string().into_bytes()));
        files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
        files
    }

    fn tar(&self) -> Vec<u8> {
        let tar = Tar::new().directory("blobs/").directory("blobs/sha256/");
        self.files().iter().fold(tar, |tar, (name, bytes)| tar.file(name, bytes)).end()
    }

    fn write(&self, directory: &Path) {
        std::fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
        for (name, bytes) in self.files() {
            std::fs::write(directory.join(name), bytes).unwrap();
        }
    }
}

/// The layer of one file.
fn layer(name: &str, content: &[u8]) -> Vec<u8> {
    Tar::new().file(name, content).end()
}
