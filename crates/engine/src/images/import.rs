//! `import`: a root file system, as `docker export` writes it, becomes an image of one layer.

use super::store;
use crate::error::Error;
use crate::events;
use image::Image;
use image::archive::{Change, Commit, commit, timestamp};
use registry::Platform;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where `import` reads from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ImportFrom {
    /// Standard input.
    #[default]
    Input,
    /// A file.
    File(PathBuf),
    /// `http://...` or `https://...`.
    Url(String),
}

/// What `import` is asked for.
#[derive(Clone, Debug, Default)]
pub struct ImportOrder {
    /// The archive.
    pub from: ImportFrom,
    /// The image's name, as typed.
    pub name: Option<String>,
    /// `-c`
    pub changes: Vec<Change>,
    /// `-m`
    pub message: String,
    /// For which machine it is; this one's otherwise.
    pub platform: Option<Platform>,
}

/// Makes the image.
pub fn import(order: &ImportOrder) -> Result<Image, Error> {
    let names: Vec<String> = match &order.name {
        Some(words) => vec![super::name_to_give(words)?.to_string()],
        None => Vec::new(),
    };
    let (mut input, shown) = open(&order.from)?;
    let images = store()?;
    let making = images.make()?;
    let layer = making.import(&mut *input, Path::new(&shown))?;
    let from = if order.from == ImportFrom::Input { "-" } else { &shown };
    let message = if order.message.is_empty() { format!("Imported from {from}") } else { order.message.clone() };
    let made = commit(&Commit {
        base: None,
        layer: Some(&layer),
        platform: order.platform.clone().unwrap_or_else(Platform::here),
        changes: &order.changes,
        author: "",
        message: &message,
        created_by: "",
        created: &timestamp(SystemTime::now()),
    })?;
    let image = making.add(&made, &names)?;
    events::image("import", image.id.as_str(), image.id.as_str(), &image.config.config.labels);
    Ok(image)
}

/// The archive's bytes, and what it is called.
fn open(from: &ImportFrom) -> Result<(Box<dyn Read + Send>, String), Error> {
    Ok(match from {
        ImportFrom::Input => (Box::new(std::io::stdin()), "standard input".to_owned()),
        ImportFrom::File(path) => {
            let failed = |source| Error::File { what: "open", path: path.clone(), source };
            (Box::new(File::open(path).map_err(failed)?), path.to_string_lossy().into_owned())
        }
        ImportFrom::Url(url) => {
            let download = super::remote::registries()?.download(url).map_err(image::Error::from)?;
            let shown = download.shown();
            (Box::new(download), shown)
        }
    })
}
