//! Images as people and scripts see them: the fields and their names are Docker's.

use crate::error::Error;
use image::{Image, Images};
use registry::Reference;
use serde::Serialize;
use serde_json::{Value, json};

/// One line of `images`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    pub labels: std::collections::BTreeMap<String, String>,
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
fn familiar(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |name| name.familiar())
}

/// What `inspect` shows of an image.
pub fn inspect(images: &Images, image: &Image) -> Value {
    let config = &image.config;
    let digests: Vec<String> = image
        .fetched_as
        .iter()
        .filter_map(|name| {
            Some(format!("{}@{}", familiar(name.split_once('@')?.0).split(':').next()?, name.split_once('@')?.1))
        })
        .collect();
    json!({
        "Id": image.id,
        "RepoTags": image.names.iter().map(|name| familiar(name)).filter(|name| !name.contains('@')).collect::<Vec<_>>(),
        "RepoDigests": digests,
        "Digest": image.descriptor.digest,
        "MediaType": image.descriptor.media_type,
        "Comment": config.history.last().map_or("", |last| last.comment.as_str()),
        "Created": config.created,
        "Author": config.author.as_deref().unwrap_or_default(),
        "Config": config.config,
        "Architecture": config.architecture,
        "Variant": config.variant.as_deref().unwrap_or_default(),
        "Os": config.os,
        "Size": size(images, image),
        "CompressedSize": image.size(),
        "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids },
        "Layers": image.manifest.layers.iter().map(|layer| json!({
            "MediaType": layer.media_type, "Digest": layer.digest, "Size": layer.size,
        })).collect::<Vec<_>>(),
        "Annotations": image.manifest.annotations,
        "History": config.history,
    })
}

/// One line of `history`, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
