//! OCI layouts, read: a directory, or a tar of one. [OCI image-spec, image-layout.md]

use super::Flaw;
use super::files::{Files, blob_name};
use crate::error::Error;
use crate::transfer::{Content, Raw, Source};
use registry::{Descriptor, INDEX_MAX, ImageIndex, MANIFEST_MAX};
use rustix::fs::{Mode, OFlags, open};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

/// Where a layout keeps an image's name. [image-spec, annotations.md]
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name, which Docker, BuildKit and containerd write beside it; theirs of above is only a tag.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// An image in an OCI layout.
pub struct LayoutSource {
    pub(super) files: Arc<Files>,
    pub(super) top: Descriptor,
    pub(super) place: Arc<str>,
}

impl LayoutSource {
    /// The image in the directory `dir` that is called `name` there, or the only one.
    ///
    /// # Errors
    /// [`Error::ReadImage`]; it lists the names that there are when none or several fit.
    pub fn open(dir: &Path, name: Option<&str>) -> Result<LayoutSource, Error> {
        let place = dir.to_string_lossy();
        LayoutSource::find(dir, name).map_err(|flaw| flaw.reading(&place))
    }

    fn find(dir: &Path, name: Option<&str>) -> Result<LayoutSource, Flaw> {
        let files = Arc::new(open_directory(dir)?);
        let top = choose(entries(&files)?, name)?;
        Ok(LayoutSource { files, top, place: dir.to_string_lossy().into() })
    }

    fn blob_of(&self, descriptor: &Descriptor) -> Result<super::files::Piece, Flaw> {
        let piece = self.files.open(&blob_name(&descriptor.digest))?;
        if piece.left != descriptor.size {
            let (digest, expected, found) = (descriptor.digest.clone(), descriptor.size, piece.left.to_string());
            return Err(Flaw::Size { digest, expected, found });
        }
        Ok(piece)
    }

    fn raw(&self, descriptor: &Descriptor) -> Result<Raw, Flaw> {
        let bytes = self.files.read(&blob_name(&descriptor.digest), MANIFEST_MAX)?;
        // The index is the only place that says what the top is: nobody after us could hold it against its digest.
        if !descriptor.digest.is_of(&bytes) {
            let mut hasher = descriptor.digest.hasher();
            hasher.update(&bytes);
            return Err(Flaw::Digest { expected: descriptor.digest.clone(), found: hasher.finish() });
        }
        Ok(Raw { bytes, media_type: descriptor.media_type.clone() })
    }
}

impl Source for LayoutSource {
    fn top(&self) -> Result<Raw, Error> {
        self.raw(&self.top).map_err(|flaw| flaw.reading(&self.place))
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Raw, Error> {
        self.raw(descriptor).map_err(|flaw| flaw.reading(&self.place))
    }

    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Content, Error> {
        let piece = self.blob_of(descriptor).map_err(|flaw| flaw.reading(&self.place))?;
        Ok(Box::new(piece.from(offset)))
    }

    fn shown(&self) -> String {
        self.place.to_string()
    }
}

pub(super) fn open_directory(dir: &Path) -> Result<Files, Flaw> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(dir, flags, Mode::empty()).map_err(|source| Flaw::system("open", ".", source))?;
    Ok(Files::Directory(directory))
}

/// What the layout's index names.
pub(super) fn entries(files: &Files) -> Result<Vec<Descriptor>, Flaw> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        image_layout_version: String,
    }
    match files.read("oci-layout", 4096) {
        Ok(text) => {
            let version: Version = serde_json::from_slice(&text).map_err(|source| Flaw::json("oci-layout", source))?;
            if version.image_layout_version != "1.0.0" {
                return Err(Flaw::Version(super::flaw::cut(&version.image_layout_version)));
            }
        }
        // Old tools forgot it, and no tool of today asks for it.
        Err(Flaw::Missing { .. }) => {}
        Err(other) => return Err(other),
    }
    let text = files.read("index.json", MANIFEST_MAX)?;
    let index: ImageIndex = serde_json::from_slice(&text).map_err(|source| Flaw::json("index.json", source))?;
    let count = index.manifests.len();
    if count > INDEX_MAX { Err(Flaw::Images(count)) } else { Ok(index.manifests) }
}

/// The names of an entry, the whole one first.
pub(super) fn names_of(entry: &Descriptor) -> impl Iterator<Item = &String> {
    [CONTAINERD_NAME, REF_NAME].into_iter().filter_map(|key| entry.annotations.get(key))
}

fn choose(entries: Vec<Descriptor>, name: Option<&str>) -> Result<Descriptor, Flaw> {
    let names = || entries.iter().filter_map(|entry| names_of(entry).last().cloned()).collect::<Vec<_>>();
    let Some(first) = entries.first() else { return Err(Flaw::Empty) };
    match name {
        Some(name) => {
            // The first of several, as every other tool takes.
            let found = entries.iter().find(|entry| names_of(entry).any(|own| own == name));
            found.cloned().ok_or_else(|| Flaw::NoSuchImage { name: name.to_owned(), names: names() })
        }
        None if entries.iter().all(|entry| entry.digest == first.digest) => Ok(first.clone()),
        None => Err(Flaw::Several { names: names() }),
    }
}
