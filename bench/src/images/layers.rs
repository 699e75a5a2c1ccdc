//! The images that are moved: made once by `images.sh`, and kept.
//!
//! ```text
//! ~/.cache/mycontainer-bench/     or MYCONTAINER_BENCH: on a disk as a store's would be, never in memory
//!   images-1/                     what images.sh makes: layers, and busybox as a directory
//!   layout-1/                     an OCI layout of all images; its blobs are hard links of the layers
//!   registry-1/                   a registry's storage with all of them
//!   run-PID/                      a run's own; a run whose process is gone is swept by the next
//! ```

use super::registry::Registry;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SCRIPT: &str = include_str!("../../images.sh");
/// To be changed with what the script makes.
const EDITION: u32 = 1;

/// One image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Its repository: the distribution.
    pub(crate) repository: &'static str,
    /// Its tag: how many layers, packed how.
    pub(crate) tag: String,
    /// Its layers, the lowest first.
    pub(crate) layers: Vec<Layer>,
}

/// One layer of it.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The packed archive.
    pub(crate) file: PathBuf,
    /// The packed archive's digest.
    pub(crate) digest: String,
    /// The archive's own.
    diff_id: String,
    /// The archive's own size.
    pub(crate) unpacked: u64,
}

/// All that is kept between runs.
pub(crate) struct Cache {
    dir: PathBuf,
    /// Debian in one layer and in twelve, as gzip and as zstd; then busybox in one and in sixty.
    pub(crate) images: Vec<Image>,
}

impl Image {
    /// `debian:12-zstd`, as a registry knows it.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// `debian-12-zstd`, as the layout knows it.
    pub(crate) fn reference(&self) -> String {
        format!("{}-{}", self.repository, self.tag)
    }

    fn media_type(&self) -> &'static str {
        if self.tag.ends_with("zstd") {
            "application/vnd.oci.image.layer.v1.tar+zstd"
        } else {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        }
    }
}

impl Cache {
    /// Makes what is missing: minutes the first time, nothing later.
    pub(crate) fn open() -> Result<Cache> {
        let dir = match std::env::var_os("MYCONTAINER_BENCH") {
            Some(dir) => PathBuf::from(dir),
            None => Path::new(&std::env::var_os("HOME").context("HOME is not set")?).join(".cache/mycontainer-bench"),
        };
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        sweep(&dir)?;
        let made = dir.join(format!("images-{EDITION}"));
        if !made.exists() {
            eprintln!("making the images in {}: some minutes, once", dir.display());
            let status = Command::new("sh").args(["-c", SCRIPT, "images.sh"]).arg(&made).status();
            if !status.context("cannot run sh")?.success() {
                bail!("cannot make the images; what failed says so above");
            }
        }
        let mut images = Vec::new();
        for (repository, layers, packed) in
            [("debian", 1, "gzip"), ("debian", 12, "gzip"), ("debian", 1, "zstd"), ("debian", 12, "zstd")]
        {
            images.push(image(&made, repository, layers, packed, &format!("{layers}-{packed}"))?);
        }
        for layers in [1, 60] {
            images.push(image(&made, "busybox", layers, "gzip", &layers.to_string())?);
        }
        let cache = Cache { dir, images };
        cache.write_layout()?;
        Ok(cache)
    }

    /// The Debian images.
    pub(crate) fn debian(&self) -> impl Iterator<Item = &Image> {
        self.images.iter().filter(|image| image.repository == "debian")
    }

    /// How many files and directories Debian has, and how large it is: unpacked, as gzip, as zstd.
    pub(crate) fn described(&self) -> Result<String> {
        let mut sizes = Vec::new();
        let mut unpacked = 0;
        for image in self.debian().filter(|image| image.layers.len() == 1) {
            sizes.push(fs::metadata(&image.layers[0].file)?.len());
            unpacked = image.layers[0].unpacked;
        }
        let first = &self.images[0].layers[0].file;
        let list = Command::new("tar").arg("-tzf").arg(first).output().context("cannot run tar")?;
        let entries = list.stdout.iter().filter(|byte| **byte == b'\n').count();
        let mb = |bytes: u64| bytes.div_ceil(1_000_000);
        let [gzip, zstd] = sizes[..] else { bail!("there are not two images of one layer") };
        Ok(format!("{entries} entries, {} MB, {} MB as gzip, {} MB as zstd", mb(unpacked), mb(gzip), mb(zstd)))
    }

    /// The tree of the busybox images as a directory.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join(format!("images-{EDITION}/busybox-root"))
    }

    /// The layout that has all images.
    pub(crate) fn layout(&self) -> PathBuf {
        self.dir.join(format!("layout-{EDITION}"))
    }

    /// A directory of this run's own, on the same file system.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.dir.join(format!("run-{}", std::process::id()))
    }

    /// A registry that has all images.
    pub(crate) fn serve(&self, scratch: &Path) -> Result<Registry> {
        let storage = self.dir.join(format!("registry-{EDITION}"));
        let registry = Registry::start(&storage, &scratch.join("source"))?;
        let complete = storage.join("complete");
        if !complete.exists() {
            for image in &self.images {
                let from = format!("oci:{}:{}", self.layout().display(), image.reference());
                let to = format!("docker://{}/{}", registry.address, image.name());
                let status = Command::new("skopeo")
                    .args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false", &from, &to])
                    .status();
                if !status.context("cannot run skopeo, which fills the registry (scripts/setup-bench)")?.success() {
                    bail!("skopeo could not fill the registry");
                }
            }
            fs::write(complete, "")?;
        }
        Ok(registry)
    }

    fn write_layout(&self) -> Result<()> {
        let layout = self.layout();
        if layout.exists() {
            return Ok(());
        }
        let half = layout.with_extension("half");
        let _ = fs::remove_dir_all(&half);
        let blobs = half.join("blobs/sha256");
        fs::create_dir_all(&blobs).context("cannot make the layout")?;
        let mut manifests = Vec::new();
        for image in &self.images {
            let mut layers = Vec::new();
            for layer in &image.layers {
                let blob = blobs.join(hex(&layer.digest));
                if !blob.exists() {
                    fs::hard_link(&layer.file, blob).context("cannot put a layer into the layout")?;
                }
                let size = fs::metadata(&layer.file)?.len();
                layers.push(json!({ "mediaType": image.media_type(), "digest": layer.digest, "size": size }));
            }
            let config = json!({
                "architecture": match std::env::consts::ARCH { "aarch64" => "arm64", _ => "amd64" },
                "os": "linux",
                "config": {
                    "Cmd": ["/bin/sh"],
                    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                },
                "rootfs": { "type": "layers", "diff_ids": image.layers.iter().map(|l| &l.diff_id).collect::<Vec<_>>() },
            });
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": blob(&blobs, "application/vnd.oci.image.config.v1+json", &config)?,
                "layers": layers,
            });
            let mut manifest = blob(&blobs, "application/vnd.oci.image.manifest.v1+json", &manifest)?;
            manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": image.reference() });
            manifests.push(manifest);
        }
        fs::write(half.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        fs::write(half.join("index.json"), json!({ "schemaVersion": 2, "manifests": manifests }).to_string())?;
        fs::rename(&half, &layout).context("cannot give the layout its name")
    }
}

/// Writes a document as a blob: its descriptor.
fn blob(blobs: &Path, media_type: &str, document: &Value) -> Result<Value> {
    let bytes = document.to_string().into_bytes();
    let mut digest = "sha256:".to_owned();
    for byte in Sha256::digest(&bytes) {
        let _ = write!(digest, "{byte:02x}");
    }
    fs::write(blobs.join(hex(&digest)), &bytes).context("cannot write a blob")?;
    Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

fn image(made: &Path, repository: &'static str, layers: usize, packed: &str, tag: &str) -> Result<Image> {
    let read = |path: PathBuf| -> Result<String> {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim().to_owned())
    };
    let dir = made.join(format!("{repository}-{layers}"));
    let layer = |number: usize| -> Result<Layer> {
        let file = |end: &str| dir.join(format!("{number:02}.{end}"));
        Ok(Layer {
            file: file(packed),
            digest: read(file(&format!("{packed}.digest")))?,
            diff_id: read(file("id"))?,
            unpacked: read(file("size"))?.parse().context("what size is that?")?,
        })
    };
    let layers = (0..layers).map(layer).collect::<Result<_>>()?;
    Ok(Image { repository, tag: tag.to_owned(), layers })
}

/// Removes what runs have left that were killed.
fn sweep(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_prefix("run-").is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            fs::remove_dir_all(entry.path()).with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}
