//! The configuration and the manifest of a new image: of `commit`, a base with one more layer and some changes; of
//! `import`, one layer alone. [OCI image-spec, config.md, manifest.md]
//!
//! What comes out is OCI's, whatever the base was: Docker's types of layers have their twins there, and the layers stay
//! the same bytes.

use super::{BadChange, Change, apply_changes};
use crate::config::{History, ImageConfig, RootfsConfig};
use registry::{Descriptor, Digest, ImageManifest, Platform, media};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// A layer that was made.
#[derive(Clone, Debug)]
pub struct NewLayer {
    /// As it is stored.
    pub descriptor: Descriptor,
    /// The digest of its uncompressed tar.
    pub diff_id: Digest,
}

/// What a new image is made of.
pub struct Commit<'a> {
    /// The image below, whose configuration may have been changed to the container's.
    pub base: Option<(&'a ImageConfig, &'a ImageManifest)>,
    /// The layer on top.
    pub layer: Option<&'a NewLayer>,
    /// For which machines, when there is no base.
    pub platform: Platform,
    /// Changes of the configuration.
    pub changes: &'a [Change],
    /// Who made it.
    pub author: &'a str,
    /// Why.
    pub message: &'a str,
    /// By which command, for the history.
    pub created_by: &'a str,
    /// When, RFC 3339; see [`timestamp`].
    pub created: &'a str,
}

/// A new image: an OCI manifest and its configuration.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The configuration.
    pub config: Vec<u8>,
    /// Its descriptor.
    pub config_descriptor: Descriptor,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// Its descriptor.
    pub manifest_descriptor: Descriptor,
}

/// Makes the configuration and the manifest.
///
/// # Errors
/// When a change cannot be made.
pub fn commit(what: &Commit<'_>) -> Result<Committed, BadChange> {
    let mut config = match what.base {
        Some((config, _)) => config.clone(),
        None => ImageConfig {
            architecture: what.platform.architecture.clone(),
            variant: what.platform.variant.clone(),
            os: what.platform.os.clone(),
            rootfs: RootfsConfig { kind: "layers".into(), diff_ids: Vec::new() },
            ..ImageConfig::default()
        },
    };
    apply_changes(what.changes, &mut config.config)?;
    // Of the container that Docker made the base from, and of what it was then.
    for key in ["container", "container_config", "docker_version", "id", "parent", "throwaway"] {
        config.more.remove(key);
    }
    config.created = Some(what.created.to_owned());
    if !what.author.is_empty() || what.base.is_none() {
        config.author = Some(what.author.to_owned()).filter(|author| !author.is_empty());
    }
    config.history.push(History {
        created: Some(what.created.to_owned()),
        created_by: what.created_by.to_owned(),
        author: what.author.to_owned(),
        comment: what.message.to_owned(),
        empty_layer: what.layer.is_none(),
    });
    let mut layers: Vec<Descriptor> = what.base.map(|(_, manifest)| manifest.layers.clone()).unwrap_or_default();
    for layer in &mut layers {
        layer.media_type = oci_type(&layer.media_type);
    }
    if let Some(layer) = what.layer {
        config.rootfs.diff_ids.push(layer.diff_id.clone());
        layers.push(layer.descriptor.clone());
    }
    let failed = |error: serde_json::Error| BadChange::new(error.to_string());
    let config = serde_json::to_vec(&config).map_err(failed)?;
    let config_descriptor = Descriptor::of(media::OCI_CONFIG, &config);
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: config_descriptor.clone(),
        layers,
        subject: None,
        annotations: BTreeMap::new(),
    };
    let manifest = serde_json::to_vec(&manifest).map_err(failed)?;
    let manifest_descriptor = Descriptor::of(media::OCI_MANIFEST, &manifest);
    Ok(Committed { config, config_descriptor, manifest, manifest_descriptor })
}

/// The type of a layer in OCI's words.
fn oci_type(media_type: &str) -> String {
    const TWINS: [(&str, &str); 4] = [
        (media::DOCKER_LAYER_GZIP, media::OCI_LAYER_GZIP),
        (media::DOCKER_LAYER, media::OCI_LAYER),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", media::OCI_LAYER_ZSTD),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        ),
    ];
    let twin = TWINS.iter().find(|(docker, _)| *docker == media_type);
    twin.map_or(media_type, |(_, oci)| oci).to_owned()
}

/// A time as configurations have it: RFC 3339, in UTC, with nanoseconds.
pub fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days since 1 March of the year 0, in eras of 400 years, so that a leap day is the last of its year.
    let (era, day) = ((days + 719_468) / 146_097, (days + 719_468) % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_as_date_prints_them() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000005Z"),
            (951_782_399, "2000-02-28T23:59:59.000000005Z"),
            (951_782_400, "2000-02-29T00:00:00.000000005Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000005Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000005Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000005Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::new(seconds, 5)), expected);
        }
    }

    #[test]
    fn a_layer_on_a_base_of_docker() {
        let hex = |n: u8| Digest::of(&[n]);
        let base: ImageConfig = serde_json::from_value(serde_json::json!({
            "architecture": "arm64", "os": "linux", "container": "abc", "docker_version": "20", "author": "first",
            "config": {"Env": ["A=1"], "Cmd": ["x"]}, "rootfs": {"type": "layers", "diff_ids": [hex(1).as_str()]},
            "history": [{"created_by": "base"}], "moby.buildkit": "kept",
        }))
        .unwrap();
        let manifest = ImageManifest {
            schema_version: 2,
            media_type: Some(media::DOCKER_MANIFEST.into()),
            artifact_type: None,
            config: Descriptor::new(media::DOCKER_CONFIG, hex(9), 3),
            layers: vec![Descriptor::new(media::DOCKER_LAYER_GZIP, hex(2), 5)],
            subject: None,
            annotations: BTreeMap::new(),
        };
        let layer = NewLayer { descriptor: Descriptor::new(media::OCI_LAYER_GZIP, hex(3), 7), diff_id: hex(4) };
        let changes = [Change::parse("ENV B=$A").unwrap()];
        let mut what = Commit {
            base: Some((&base, &manifest)),
            layer: Some(&layer),
            platform: Platform::here(),
            changes: &changes,
            author: "",
            message: "why",
            created_by: "sh",
            created: "2024-01-01T00:00:00Z",
        };
        let made = commit(&what).unwrap();
        let config = ImageConfig::parse(&made.config).unwrap();
        assert_eq!((config.architecture.as_str(), config.author.as_deref()), ("arm64", Some("first")));
        assert_eq!(config.config.env, ["A=1", "B=1"]);
        assert_eq!(config.rootfs.diff_ids, [hex(1), hex(4)]);
        assert_eq!((config.history.len(), config.history[1].comment.as_str()), (2, "why"));
        assert!(config.more.contains_key("moby.buildkit") && !config.more.contains_key("container"));
        let registry::Manifest::Image(manifest) = registry::Manifest::parse(&made.manifest, "").unwrap() else {
            panic!("an index")
        };
        assert!(manifest.layers.iter().all(|layer| layer.media_type == media::OCI_LAYER_GZIP));
        assert_eq!(manifest.config, made.config_descriptor);
        assert!(made.manifest_descriptor.digest.is_of(&made.manifest));

        // `import`, and no layer at all.
        what = Commit { base: None, layer: None, author: "me", ..what };
        let config = ImageConfig::parse(&commit(&what).unwrap().config).unwrap();
        assert_eq!(config.architecture, Platform::here().architecture);
        assert_eq!((config.author.as_deref(), config.rootfs.diff_ids.len()), (Some("me"), 0));
        assert!(config.history[0].empty_layer);
    }
}
