//! Telling archives and layouts apart, and the images in them.
//!
//! An archive of Docker 25 and later is a layout and has a `manifest.json` besides: then the images are the layout's,
//! for those have their own manifests, and perhaps several platforms, and `manifest.json` says what they are called.
//! The two are brought together by the digests of their configurations.

use super::Flaw;
use super::docker::{DockerSource, Item, MANIFEST, items};
use super::files::Files;
use super::layout::{LayoutSource, entries, names_of, open_directory};
use super::spool::decompress;
use super::tarindex::TarIndex;
use crate::error::{Error, Fault};
use crate::input::{CHUNK, decoded};
use crate::sniff::{Compression, compression};
use crate::tar;
use crate::transfer::Source;
use crate::unpack::place;
use registry::{Digest, Manifest, Reference};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// What a file or a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory with an OCI layout.
    Layout,
    /// A tar of an OCI layout.
    OciArchive,
    /// A tar of `docker save`; also when it is an OCI layout as well, as since Docker 25.
    DockerArchive,
    /// A tar of a root file system, as `docker export` makes it.
    Export,
    /// Something else.
    Unknown,
}

/// One image of an archive.
pub struct Found {
    /// What it is called there: whole references (`docker save`) or only tags (`skopeo`). Perhaps nothing.
    pub names: Vec<String>,
    /// The image.
    pub source: Box<dyn Source + Send>,
}

/// What `path` is, by its content. A compressed archive is decompressed as far as it takes to tell, and not kept.
///
/// # Errors
/// [`Error::ReadImage`] when it cannot be read, or is a damaged archive.
pub fn detect(path: &Path) -> Result<Kind, Error> {
    look(path).map_err(|flaw| flaw.reading(&path.to_string_lossy()))
}

fn look(path: &Path) -> Result<Kind, Flaw> {
    let (file, kind) = open_any(path)?;
    match kind {
        FileType::Directory => {
            let files = open_directory(path)?;
            return Ok(if files.has("index.json") { Kind::Layout } else { Kind::Unknown });
        }
        FileType::RegularFile => {}
        _ => return Ok(Kind::Unknown),
    }
    let mut looks = Looks::default();
    let read = if is_compressed(&file)? {
        looks.stream(file)
    } else {
        TarIndex::read(file, |name, kind| looks.see(name, kind)).map(drop)
    };
    match read {
        Err(Flaw::Tar(Fault::NotTar { .. } | Fault::NoBytes)) => Ok(Kind::Unknown),
        // More entries than an image archive has: it is none.
        Err(Flaw::Entries { .. }) => Ok(Kind::Export),
        Err(other) => Err(other),
        Ok(()) => Ok(looks.kind()),
    }
}

/// What was seen of an archive.
#[derive(Default)]
struct Looks {
    any: bool,
    root: bool,
    index: bool,
    manifest: bool,
}

impl Looks {
    /// Takes a name in; true when it tells enough. The same names as tell the unpacker of a root that it was given an
    /// image.
    fn see(&mut self, name: &[u8], kind: &tar::Kind) -> bool {
        self.any = true;
        let Ok(name) = place::normal(name) else { return false };
        let (top, below) = place::first(&name);
        match top {
            b"bin" | b"etc" | b"usr" | b"sbin" | b"lib" | b"dev" => self.root = true,
            b"index.json" => self.index |= below.is_empty() && matches!(kind, tar::Kind::File { .. }),
            b"manifest.json" => self.manifest |= below.is_empty() && matches!(kind, tar::Kind::File { .. }),
            _ => {}
        }
        self.root
    }

    fn stream(&mut self, file: File) -> Result<(), Flaw> {
        let plain = decoded(BufReader::with_capacity(CHUNK, file)).map_err(Flaw::Read)?;
        let mut reader = tar::Reader::new(plain);
        while let Some(entry) = reader.next()? {
            if self.see(&entry.name, &entry.kind) {
                break;
            }
        }
        Ok(())
    }

    fn kind(&self) -> Kind {
        match self {
            Looks { any: false, .. } => Kind::Unknown,
            Looks { root: true, .. } => Kind::Export,
            Looks { manifest: true, .. } => Kind::DockerArchive,
            Looks { index: true, .. } => Kind::OciArchive,
            _ => Kind::Export,
        }
    }
}

/// The images in an archive or layout. A compressed archive is decompressed to an unlinked file in `scratch`, and a
/// pipe is kept there.
///
/// # Errors
/// [`Error::ReadImage`].
pub fn open(path: &Path, scratch: &Path) -> Result<Vec<Found>, Error> {
    let shown = path.to_string_lossy();
    let images = || {
        let (file, kind) = open_any(path)?;
        match kind {
            FileType::Directory => images_in(open_directory(path)?, &shown),
            FileType::RegularFile => images_of(file, &shown, scratch),
            _ => {
                // It was opened so as not to wait for its writer; now we do.
                let waiting = File::open(path).map_err(Flaw::Read)?;
                images_of(decompress(waiting, scratch)?, &shown, scratch)
            }
        }
    };
    images().map_err(|flaw: Flaw| flaw.reading(&shown))
}

/// The images in an archive that is open, read from its start. `shown` is its name in messages.
///
/// # Errors
/// [`Error::ReadImage`].
pub fn open_file(file: File, shown: &str, scratch: &Path) -> Result<Vec<Found>, Error> {
    images_of(file, shown, scratch).map_err(|flaw| flaw.reading(shown))
}

/// The image that is called `name`, or the only one. `place` is where they are from, for messages.
///
/// # Errors
/// [`Error::ReadImage`]; it lists the names that there are.
pub fn pick(images: Vec<Found>, name: Option<&str>, place: &str) -> Result<Found, Error> {
    let names: Vec<String> = images.iter().flat_map(|image| &image.names).cloned().collect();
    let mut images = images.into_iter();
    let found = match (name, images.len()) {
        (_, 0) => Err(Flaw::Empty),
        (None, 1) => images.next().ok_or(Flaw::Empty),
        (None, _) => Err(Flaw::Several { names }),
        (Some(name), _) => {
            let fitting = images.find(|image| image.names.iter().any(|own| means(own, name)));
            fitting.ok_or_else(|| Flaw::NoSuchImage { name: name.to_owned(), names })
        }
    };
    found.map_err(|flaw| flaw.reading(place))
}

/// True when the two names are the same, or references of the same image: `alpine` of `docker.io/library/alpine:latest`.
fn means(own: &str, name: &str) -> bool {
    own == name || matches!((Reference::parse(own), Reference::parse(name)), (Ok(own), Ok(name)) if own == name)
}

fn open_any(path: &Path) -> Result<(File, FileType), Flaw> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let failed = |source| Flaw::system("open", ".", source);
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let kind = FileType::from_raw_mode(fstat(&file).map_err(failed)?.st_mode);
    Ok((File::from(file), kind))
}

fn is_compressed(file: &File) -> Result<bool, Flaw> {
    let mut start = [0; 4];
    let length = file.read_at(&mut start, 0).map_err(Flaw::Read)?;
    Ok(compression(&start[..length]) != Compression::None)
}

fn images_of(file: File, shown: &str, scratch: &Path) -> Result<Vec<Found>, Flaw> {
    let file = if is_compressed(&file)? { decompress(file, scratch)? } else { file };
    let mut looks = Looks::default();
    match TarIndex::read(file, |name, kind| looks.see(name, kind))? {
        Some(index) => images_in(Files::Tar(index), shown),
        None => Err(Flaw::Export),
    }
}

fn images_in(files: Files, shown: &str) -> Result<Vec<Found>, Flaw> {
    let files = Arc::new(files);
    let place: Arc<str> = shown.into();
    let mut items = if files.has(MANIFEST) { items(&files)? } else { Vec::new() };
    let layout = match entries(&files) {
        Ok(entries) => entries,
        // What `manifest.json` names can be read without.
        Err(_) if !items.is_empty() => Vec::new(),
        Err(Flaw::Missing { .. }) if matches!(&*files, Files::Tar(_)) => return Err(Flaw::NoImageArchive),
        Err(other) => return Err(other),
    };
    let mut images: Vec<Found> = Vec::new();
    let mut sources: Vec<(LayoutSource, Vec<String>)> = Vec::new();
    for top in layout {
        let names: Vec<String> = names_of(&top).take(1).cloned().collect();
        // One image under several names has several entries.
        match sources.iter_mut().find(|(source, _)| source.top.digest == top.digest) {
            Some((_, known)) => known.extend(names),
            None => sources.push((LayoutSource { files: Arc::clone(&files), top, place: Arc::clone(&place) }, names)),
        }
    }
    for (source, own) in sources {
        let told = take_items(&mut items, &source);
        let names = if told.is_empty() { own } else { told };
        images.push(Found { names, source: Box::new(source) });
    }
    for item in items {
        let source = DockerSource::new(Arc::clone(&files), item.clone(), Arc::clone(&place));
        images.push(Found { names: item.names(), source: Box::new(source) });
    }
    if images.is_empty() { Err(Flaw::Empty) } else { Ok(images) }
}

/// Takes the items away that speak of this image; what they call it.
fn take_items(items: &mut Vec<Item>, image: &LayoutSource) -> Vec<String> {
    if items.is_empty() {
        return Vec::new();
    }
    let configs = configs_of(image);
    let (ours, others) = std::mem::take(items)
        .into_iter()
        .partition(|item: &Item| item.config_digest().is_some_and(|digest| configs.contains(&digest)));
    *items = others;
    ours.iter().flat_map(Item::names).collect()
}

/// The configurations of an image, as far as they are there: `docker save` names all platforms, and has one.
fn configs_of(image: &LayoutSource) -> Vec<Digest> {
    let parse = |raw: crate::transfer::Raw| Manifest::parse(&raw.bytes, &raw.media_type).ok();
    match image.top().ok().and_then(parse) {
        Some(Manifest::Image(manifest)) => vec![manifest.config.digest],
        Some(Manifest::Index(index)) => {
            let manifests = index.manifests.iter().filter_map(|one| image.manifest(one).ok().and_then(parse));
            let images = manifests.filter_map(|manifest| match manifest {
                Manifest::Image(image) => Some(image.config.digest),
                Manifest::Index(_) => None,
            });
            images.collect()
        }
        None => Vec::new(),
    }
}
