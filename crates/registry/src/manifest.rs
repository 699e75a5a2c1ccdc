//! Descriptors, manifests and indexes, of OCI and of Docker's schema 2. [OCI image-spec; distribution, manifest-v2-2.md]
//!
//! All of it comes from elsewhere and is hostile: [`Manifest::parse`] takes at most [`MANIFEST_MAX`] bytes, counts
//! what it reads, and believes no size. The bytes themselves are kept as they came, for the digest is theirs.

use crate::digest::Digest;
use crate::platform::Platform;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most bytes that a manifest, an index or a configuration may have: what Docker and containerd allow.
pub const MANIFEST_MAX: u64 = 4 << 20;
/// The most layers of an image. Docker stops at 127; overlayfs takes 500.
pub const LAYERS_MAX: usize = 500;
/// The most entries of an index.
pub const INDEX_MAX: usize = 1000;

/// The most values that one document may have. Real ones have some hundreds; what 4 MiB can hold would be twenty times
/// as much in memory.
pub const VALUES_MAX: usize = 100_000;

/// About how many values a JSON text has: each comma and each bracket that is in no string begins one.
pub fn count_values(json: &[u8]) -> usize {
    let (mut count, mut in_string, mut is_escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// Media types, OCI's and Docker's.
pub mod media {
    /// An OCI manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An OCI configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// An OCI layer, plain.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// An OCI layer, gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// An OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker's manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's index.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker's layer, plain.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// What a registry is asked for.
    pub const MANIFESTS: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

    /// True for a layer that overlayfs could stack; other kinds of artifacts have layers of their own types.
    pub fn is_layer(media_type: &str) -> bool {
        // A layer that must not be given away is served by its foreign `urls` in place of the registry.
        let foreign = media_type.replace(".nondistributable", "").replace(".foreign", "");
        [OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, DOCKER_LAYER, DOCKER_LAYER_GZIP].contains(&foreign.as_str())
            || foreign == "application/vnd.docker.image.rootfs.diff.tar.zstd"
    }
}

/// Names some content: what it is, how long it is, and its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Where else it may be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Words beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// For which machines it is; in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What kind of artifact the manifest it names is; in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// Names these bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// From its three parts.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }
}

/// A manifest: one image for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u32,
    /// What it says that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact it is, if it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Words beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An index: several manifests, mostly one a platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    /// Always 2.
    pub schema_version: u32,
    /// What it says that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// Words beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a registry has under a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    /// One image.
    Image(Box<ImageManifest>),
    /// Several.
    Index(ImageIndex),
}

/// Why some bytes are no manifest.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BadManifest {
    #[error("it has more than {MANIFEST_MAX} bytes")]
    TooBig,
    #[error("it has more than {VALUES_MAX} values")]
    Values,
    #[error("it is not JSON of the expected form ({0}){1}")]
    Form(serde_json::Error, String),
    #[error("it is a manifest of Docker's schema 1, which registries gave up in 2019: push the image anew")]
    Schema1,
    #[error("its schemaVersion is {0}, which is not known")]
    Version(u32),
    #[error("it says it is both an image and an index")]
    Ambiguous,
    #[error("it is of the type {0:?}, which is no image and no index")]
    Type(String),
    #[error("it names {0} layers; {LAYERS_MAX} are the most")]
    Layers(usize),
    #[error("it names {0} manifests; {INDEX_MAX} are the most")]
    Manifests(usize),
}

impl Manifest {
    /// Reads a manifest or an index. `media_type` is what the registry, or the descriptor that led here, says that it
    /// is; empty when nothing does.
    pub fn parse(bytes: &[u8], media_type: &str) -> Result<Manifest, BadManifest> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Look<'a> {
            #[serde(default)]
            schema_version: u32,
            #[serde(default)]
            media_type: Option<String>,
            #[serde(default, borrow)]
            layers: Option<&'a serde_json::value::RawValue>,
            #[serde(default, borrow)]
            config: Option<&'a serde_json::value::RawValue>,
            #[serde(default, borrow)]
            manifests: Option<&'a serde_json::value::RawValue>,
        }
        if bytes.len() as u64 > MANIFEST_MAX {
            return Err(BadManifest::TooBig);
        }
        if count_values(bytes) > VALUES_MAX {
            return Err(BadManifest::Values);
        }
        let look: Look<'_> = serde_json::from_slice(bytes).map_err(|error| BadManifest::Form(error, start(bytes)))?;
        match look.schema_version {
            2 => {}
            1 => return Err(BadManifest::Schema1),
            other => return Err(BadManifest::Version(other)),
        }
        // One that could be read as either would be one thing to us and another to the next tool. (CVE-2021-41190)
        if look.manifests.is_some() && (look.layers.is_some() || look.config.is_some()) {
            return Err(BadManifest::Ambiguous);
        }
        let said = media_type.split(';').next().unwrap_or_default().trim();
        let kind = look.media_type.unwrap_or_default();
        if !kind.is_empty() && media::MANIFESTS.contains(&said) && kind != said {
            return Err(BadManifest::Ambiguous);
        }
        let kind = if kind.is_empty() { said } else { &kind };
        let is_index = match kind {
            media::OCI_INDEX | media::DOCKER_LIST => true,
            media::OCI_MANIFEST | media::DOCKER_MANIFEST => false,
            // Some registries say only that it is JSON.
            "" | "application/json" | "text/plain" | "application/octet-stream" => look.manifests.is_some(),
            other => return Err(BadManifest::Type(other.to_owned())),
        };
        let form = |error| BadManifest::Form(error, String::new());
        if is_index {
            let index: ImageIndex = serde_json::from_slice(bytes).map_err(form)?;
            let count = index.manifests.len();
            if count > INDEX_MAX { Err(BadManifest::Manifests(count)) } else { Ok(Manifest::Index(index)) }
        } else {
            let image: ImageManifest = serde_json::from_slice(bytes).map_err(form)?;
            let count = image.layers.len();
            if count > LAYERS_MAX { Err(BadManifest::Layers(count)) } else { Ok(Manifest::Image(Box::new(image))) }
        }
    }
}

/// How a page that is no JSON begins, for the message: a proxy's login page is recognised by it.
fn start(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
    let looks = text.trim_start();
    let plain: String = looks.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if looks.starts_with(['{', '[']) { String::new() } else { format!("; it begins with {plain:?}") }
}

impl ImageIndex {
    /// The manifest that serves `wanted` best. What names no platform is taken when nothing else is there; what says
    /// that it is an attestation (BuildKit's `unknown/unknown`) never.
    pub fn choose(&self, wanted: &Platform) -> Option<&Descriptor> {
        let images = || self.manifests.iter().filter(|d| !d.annotations.contains_key("vnd.docker.reference.type"));
        let fitting = images().filter_map(|d| Some((wanted.fit(d.platform.as_ref()?)?, d)));
        // The first of the best, as every other tool takes.
        fitting.min_by_key(|(fit, _)| *fit).map(|(_, d)| d).or_else(|| images().find(|d| d.platform.is_none()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> String {
        format!("sha256:{}", format!("{n:02x}").repeat(32))
    }

    fn manifest(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2{extra},"config":{{"mediaType":"{}","digest":"{}","size":2}},"layers":[]}}"#,
            media::OCI_CONFIG,
            digest(1)
        )
    }

    #[test]
    fn what_is_read_and_what_is_refused() {
        let typed = |kind: &str| manifest(&format!(r#","mediaType":"{kind}""#));
        let both = manifest(r#","manifests":[]"#);
        let index = r#"{"schemaVersion":2,"manifests":[]}"#.to_owned();
        let cases: &[(&str, &str, &str, &str)] = &[
            ("untyped", &manifest(""), "", "image"),
            ("by header", &manifest(""), "application/vnd.oci.image.manifest.v1+json; charset=utf-8", "image"),
            ("docker", &typed(media::DOCKER_MANIFEST), media::DOCKER_MANIFEST, "image"),
            ("two minds", &typed(media::DOCKER_MANIFEST), media::OCI_MANIFEST, "both"),
            ("ambiguous", &both, "", "both"),
            ("index", &index, media::OCI_INDEX, "index"),
            ("index untyped", &index, "application/json", "index"),
            ("helm", &typed("application/vnd.cncf.helm"), "", "no image"),
            ("schema 1", r#"{"schemaVersion":1}"#, "", "schema 1"),
            ("a page", "<html>log in</html>", "text/html", "<html>log in"),
            ("deep", &"[".repeat(99_000), "", "not JSON"),
            ("many", &manifest(&format!(r#","annotations":[{}0]"#, "0,".repeat(100_000))), "", "values"),
            (
                "commas in a string",
                &manifest(&format!(r#","annotations":{{"\"":"{}"}}"#, ",[".repeat(99_000))),
                "",
                "image",
            ),
            ("negative", &manifest("").replace(r#""size":2"#, r#""size":-2"#), "", "not JSON"),
            ("digest", &manifest("").replace("sha256:01", "sha256:../"), "", "not JSON"),
        ];
        for (name, text, kind, expected) in cases {
            let told = match Manifest::parse(text.as_bytes(), kind) {
                Ok(Manifest::Image(_)) => "image".to_owned(),
                Ok(Manifest::Index(_)) => "index".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(told.contains(expected), "{name}: {told}");
        }
        assert!(matches!(Manifest::parse(&vec![b' '; 5 << 20], ""), Err(BadManifest::TooBig)));
    }

    #[test]
    fn an_attestation_is_never_chosen() {
        let entry = |n, platform: &str, more: &str| {
            format!(
                r#"{{"mediaType":"{}","digest":"{}","size":1,"platform":{platform}{more}}}"#,
                media::OCI_MANIFEST,
                digest(n)
            )
        };
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{},{}]}}"#,
            entry(1, "null", r#","annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#),
            entry(2, r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#, ""),
            entry(3, r#"{"os":"linux","architecture":"amd64"}"#, ""),
        );
        let Manifest::Index(index) = Manifest::parse(text.as_bytes(), "").unwrap() else { panic!("no index") };
        let chosen =
            |platform: &str| index.choose(&Platform::parse(platform).unwrap()).map(|d| d.digest.as_str().to_owned());
        assert_eq!(chosen("linux/amd64"), Some(digest(3)));
        assert_eq!(chosen("linux/arm64"), Some(digest(2)));
        assert_eq!(chosen("linux/s390x"), None);
    }
}
