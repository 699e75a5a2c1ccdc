//! `import`: a root file system, as `docker export` writes it, becomes an image of one layer.

use super::store;
use crate::error::Error;
use image::Image;
use image::archive::{Change, Commit, commit, timestamp};
use registry::Platform;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What `import` is asked for.
#[derive(Clone, Debug, Default)]
pub struct ImportOrder {
    /// The archive; standard input when it is none.
    pub file: Option<PathBuf>,
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
    let (mut input, shown): (Box<dyn Read + Send>, &Path) = match &order.file {
        Some(path) => {
            let failed = |source| Error::File { what: "open", path: path.clone(), source };
            (Box::new(File::open(path).map_err(failed)?), path)
        }
        None => (Box::new(std::io::stdin()), Path::new("standard input")),
    };
    let images = store()?;
    let making = images.make()?;
    let layer = making.import(&mut *input, shown)?;
    let message = if order.message.is_empty() {
        format!("Imported from {}", order.file.as_ref().map_or("-".into(), |path| path.to_string_lossy()))
    } else {
        order.message.clone()
    };
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
    Ok(making.add(&made, &names)?)
}
