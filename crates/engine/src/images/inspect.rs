//! Images as people and scripts see them: the fields and their names are Docker's.

use crate::error::Error;
use image::{Healthcheck, History, Image, Images, RunConfig};
use registry::{Descriptor, Digest, Reference};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One line of `images`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    /// `alpine`, `localhost:5000/a/b`, or `<none>`.
    pub repository: String,
    /// `latest`, or `<none>`.
    pub tag: String,
    /// Digest under which the registry has it, or `<none>`.
    pub digest: String,
    /// Digest of the configuration.
    #[serde(rename = "ID")]
    pub id: String,
    /// When it was made, RFC 3339; empty when it does not say.
    pub created: String,
    /// Bytes of its layers, ready to run.
    pub size: u64,
    /// The machine that it is for.
    pub platform: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The lines of `images`: one a name, the newest image first. Beside them, what could not be read.
pub fn rows(images: &Images) -> Result<(Vec<Row>, Vec<Error>), Error> {
    let (list, errors) = images.list()?;
    let mut rows: Vec<Row> = list.iter().flat_map(|image| rows_of(images, image)).collect();
    rows.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.repository.cmp(&b.repository)));
    Ok((rows, errors.into_iter().map(Error::from).collect()))
}

fn rows_of(images: &Images, image: &Image) -> Vec<Row> {
    let row = |repository: String, tag: String, digest: String| Row {
        repository,
        tag,
        digest,
        id: image.id.to_string(),
        created: image.config.created.clone().unwrap_or_default(),
        size: size(images, image),
        platform: image.platform().to_string(),
        labels: image.config.config.labels.clone(),
    };
    let none = || "<none>".to_owned();
    let digest_of = |repository: &str| {
        let fetched_as = image.fetched_as.iter().find_map(|name| name.strip_prefix(repository)?.strip_prefix('@'));
        fetched_as.map_or_else(none, str::to_owned)
    };
    if image.names.is_empty() {
        return vec![row(none(), none(), none())];
    }
    let named = image.names.iter().map(|name| match Reference::parse(name) {
        Ok(name) => row(name.familiar_name(), name.tag().map_or_else(none, str::to_owned), digest_of(&name.name())),
        // Another tool named it, as it liked.
        Err(_) => row(name.clone(), none(), none()),
    });
    named.collect()
}

/// Bytes of an image's layers, ready to run.
pub fn size(images: &Images, image: &Image) -> u64 {
    let mut layers = image.config.rootfs.diff_ids.clone();
    layers.sort();
    layers.dedup();
    layers.iter().map(|layer| images.tree_bytes(layer)).sum()
}

/// A name as Docker prints it.
pub(super) fn familiar(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |name| name.familiar())
}

/// What `inspect` shows of an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Docker's")]
pub struct Shown {
    pub id: String,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    /// Of the manifest.
    pub digest: String,
    pub media_type: String,
    pub comment: String,
    pub created: String,
    pub author: String,
    pub config: ShownConfig,
    pub architecture: String,
    pub variant: String,
    pub os: String,
    /// Bytes of its layers, ready to run.
    pub size: u64,
    /// Bytes as a registry has it.
    pub compressed_size: u64,
    #[serde(rename = "RootFS")]
    pub root_fs: ShownRoot,
    pub layers: Vec<ShownLayer>,
    pub annotations: BTreeMap<String, String>,
    pub history: Vec<History>,
}

/// How it is run. Nothing is left out, so that a template may ask for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownConfig {
    pub user: String,
    pub exposed_ports: Option<BTreeMap<String, Empty>>,
    pub env: Vec<String>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub volumes: Option<BTreeMap<String, Empty>>,
    pub working_dir: String,
    pub labels: Option<BTreeMap<String, String>>,
    pub stop_signal: String,
    pub healthcheck: Option<Healthcheck>,
    pub on_build: Value,
    pub shell: Value,
}

/// `{}`, as Go writes what a set has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Empty {}

/// Its layers, unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownRoot {
    #[serde(rename = "Type")]
    pub kind: String,
    pub layers: Vec<String>,
}

/// A layer as a registry has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownLayer {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
}

/// What `inspect` shows of an image.
pub fn inspect(images: &Images, image: &Image) -> Shown {
    let config = &image.config;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Shown {
        id: image.id.to_string(),
        repo_tags: image.names.iter().map(|name| familiar(name)).filter(|name| !name.contains('@')).collect(),
        repo_digests: image.fetched_as.iter().map(|name| familiar(name)).collect(),
        digest: image.descriptor.digest.to_string(),
        media_type: image.descriptor.media_type.clone(),
        comment: config.history.last().map(|last| last.comment.clone()).unwrap_or_default(),
        created: text(&config.created),
        author: text(&config.author),
        config: shown_config(&config.config),
        architecture: config.architecture.clone(),
        variant: text(&config.variant),
        os: config.os.clone(),
        size: size(images, image),
        compressed_size: image.size(),
        root_fs: ShownRoot {
            kind: config.rootfs.kind.clone(),
            layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        },
        layers: image.manifest.layers.iter().map(shown_layer).collect(),
        annotations: image.manifest.annotations.clone(),
        history: config.history.clone(),
    }
}

fn shown_layer(layer: &Descriptor) -> ShownLayer {
    ShownLayer { media_type: layer.media_type.clone(), digest: layer.digest.to_string(), size: layer.size }
}

/// What is empty is `null`, as with Docker.
pub(crate) fn shown_config(config: &RunConfig) -> ShownConfig {
    let set = |set: &BTreeSet<String>| {
        (!set.is_empty()).then(|| set.iter().map(|key| (key.clone(), Empty {})).collect::<BTreeMap<_, _>>())
    };
    let words = |words: &Vec<String>| (!words.is_empty()).then(|| words.clone());
    let more = |name: &str| config.more.get(name).cloned().unwrap_or_default();
    ShownConfig {
        user: config.user.clone(),
        exposed_ports: set(&config.exposed_ports),
        env: config.env.clone(),
        entrypoint: words(&config.entrypoint),
        cmd: words(&config.cmd),
        volumes: set(&config.volumes),
        working_dir: config.working_dir.clone(),
        labels: (!config.labels.is_empty()).then(|| config.labels.clone()),
        stop_signal: config.stop_signal.clone(),
        healthcheck: config.healthcheck.clone(),
        on_build: more("OnBuild"),
        shell: more("Shell"),
    }
}

/// What an image takes of the disk with others, and alone: `system df -v`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Digest of the configuration.
    pub id: String,
    /// Bytes of layers that another image has, too.
    pub shared: u64,
    /// Bytes of layers that no other image has.
    pub unique: u64,
    /// How many containers are made of it.
    pub containers: usize,
}

/// What every image takes.
pub fn shares(images: &Images) -> Result<Vec<Share>, Error> {
    let (list, _) = images.list()?;
    let in_use = crate::state::images_in_use();
    let layers_of = |image: &Image| image.config.rootfs.diff_ids.iter().cloned().collect::<BTreeSet<_>>();
    let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
    list.iter().flat_map(layers_of).for_each(|layer| *users.entry(layer).or_default() += 1);
    let share = |image: &Image| {
        let mut share = Share { id: image.id.to_string(), ..Share::default() };
        for layer in layers_of(image) {
            let bytes = images.tree_bytes(&layer);
            *(if users[&layer] > 1 { &mut share.shared } else { &mut share.unique }) += bytes;
        }
        share.containers = in_use.iter().filter(|used| used.manifest == image.descriptor.digest.as_str()).count();
        share
    };
    Ok(list.iter().map(share).collect())
}

/// One line of `history`, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Step {
    /// The image's id for the newest; `<missing>` for those below it, as with Docker.
    #[serde(rename = "ID")]
    pub id: String,
    /// When, RFC 3339.
    pub created: String,
    /// By which command.
    pub created_by: String,
    /// Bytes of the layer it made, ready to run.
    pub size: u64,
    /// A remark.
    pub comment: String,
}

/// How an image was made.
pub fn history(images: &Images, image: &Image) -> Vec<Step> {
    let mut layers = image.config.rootfs.diff_ids.iter();
    let mut steps: Vec<Step> = Vec::new();
    for past in &image.config.history {
        let layer = if past.empty_layer { None } else { layers.next() };
        steps.push(Step {
            id: "<missing>".into(),
            created: past.created.clone().unwrap_or_default(),
            created_by: past.created_by.clone(),
            size: layer.map_or(0, |layer| images.tree_bytes(layer)),
            comment: past.comment.clone(),
        });
    }
    // Layers that the history does not tell of.
    steps.extend(layers.map(|layer| Step {
        id: "<missing>".into(),
        created: image.config.created.clone().unwrap_or_default(),
        created_by: String::new(),
        size: images.tree_bytes(layer),
        comment: String::new(),
    }));
    steps.reverse();
    if let Some(first) = steps.first_mut() {
        first.id = image.id.to_string();
    }
    steps
}
