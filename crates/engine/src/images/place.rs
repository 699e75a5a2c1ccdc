//! Where an image is, as words say it: what `image copy`, `save` and `load` go from and to.
//!
//! | words | place |
//! |---|---|
//! | `NAME`, `docker://NAME` | a registry |
//! | `store:NAME` | the store of this machine |
//! | `oci:DIRECTORY[:TAG]` | an OCI layout |
//! | `oci-archive:FILE[:TAG]` | a tar of one |
//! | `docker-archive:FILE[:NAME]` | a tar of `docker save` |

use super::verbs::{bad_reference, or_freed, reference, told_of};
use super::{remote, store};
use crate::error::Error;
use image::archive::{self, DockerArchive, Found, LayoutSink, OciArchive, Platforms};
use image::{Events, Images, Order, Source, Stored};
use registry::{Descriptor, Platform, Reference};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a registry.
    Registry(Reference),
    /// In the store of this machine.
    Store(String),
    /// In an OCI layout, under a tag.
    Layout(PathBuf, Option<String>),
    /// In a tar of an OCI layout.
    OciArchive(PathBuf, Option<String>),
    /// In a tar of `docker save`.
    DockerArchive(PathBuf, Option<String>),
}

impl Place {
    /// Reads the words.
    pub fn parse(words: &str) -> Result<Place, Error> {
        let (scheme, rest) = words.split_once(':').unwrap_or(("", words));
        // `oci:dir:tag`: a path with a colon in it cannot be written so, as with skopeo.
        let pathed = || {
            let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag.to_owned())));
            if path.is_empty() {
                Err(bad_reference(words, &"it names no path"))
            } else {
                Ok((PathBuf::from(path), tag))
            }
        };
        match scheme {
            "oci" => pathed().map(|(path, tag)| Place::Layout(path, tag)),
            "oci-archive" => pathed().map(|(path, tag)| Place::OciArchive(path, tag)),
            "docker-archive" => pathed().map(|(path, tag)| Place::DockerArchive(path, tag)),
            "containers-storage" | "docker-daemon" => {
                Err(bad_reference(words, &"that is another tool's store; ours is store:NAME"))
            }
            "store" => Ok(Place::Store(rest.to_owned())),
            "docker" if rest.starts_with("//") => Ok(Place::Registry(reference(&rest[2..])?)),
            "dir" | "ostree" | "sif" | "tarball" => Err(bad_reference(
                words,
                &"the places are docker://NAME, store:NAME, oci:DIR[:TAG], oci-archive:FILE[:TAG] and docker-archive:FILE[:NAME]",
            )),
            _ => Ok(Place::Registry(reference(words)?)),
        }
    }
}

/// What is asked of `image copy` beside the two places.
#[derive(Clone, Debug, Default)]
pub struct CopyOrder {
    /// All images of an index, and the index.
    pub all: bool,
    /// The one for this machine.
    pub platform: Option<Platform>,
}

/// Copies an image: `image copy`. What it is at the new place.
pub fn copy(from: &Place, to: &Place, order: &CopyOrder, events: &dyn Events) -> Result<Descriptor, Error> {
    let registries = remote::registries()?;
    let images = store()?;
    let platform = order.platform.clone().unwrap_or_else(Platform::here);
    let with_source = |act: &mut dyn FnMut(&dyn Source) -> Result<Descriptor, Error>| match from {
        Place::Registry(name) => act(&remote::source(&registries, name)?),
        Place::Store(words) => {
            let image = images.get(words)?;
            act(&Stored::new(&images, &image)?)
        }
        Place::Layout(path, tag) | Place::OciArchive(path, tag) | Place::DockerArchive(path, tag) => {
            let found = archive::open(path, images.path())?;
            act(&*archive::pick(found, tag.as_deref(), &path.to_string_lossy())?.source)
        }
    };
    let platforms = if order.all { Platforms::All } else { Platforms::One(platform.clone()) };
    with_source(&mut |source| put(source, to, &registries, &images, &platforms, &platform, events))
}

fn put(
    source: &dyn Source,
    to: &Place,
    registries: &registry::Registries,
    images: &Images,
    platforms: &Platforms,
    platform: &Platform,
    events: &dyn Events,
) -> Result<Descriptor, Error> {
    match to {
        Place::Registry(name) => {
            let sink = remote::sink(registries, name, Vec::new())?;
            Ok(archive::copy(source, &sink, platforms, events)?)
        }
        Place::Store(words) => {
            if matches!(platforms, Platforms::All) {
                return Err(Error::Conflict("the store keeps one platform of an image: leave --all away".into()));
            }
            let name = reference(words)?.to_string();
            let order = Order { platform, names: &[name], repository: None, events };
            let received = or_freed(images, images.receive(source, &order))?;
            Ok(images.get(received.manifest.as_str())?.descriptor)
        }
        Place::Layout(path, tag) => {
            Ok(archive::copy(source, &LayoutSink::open(path, tag.as_deref())?, platforms, events)?)
        }
        Place::OciArchive(path, tag) => {
            let file = NewFile::create(path)?;
            let archive = OciArchive::new(Box::new(file.writer()?), &path.to_string_lossy());
            let names: Vec<String> = tag.iter().cloned().collect();
            let descriptor = archive::copy(source, &*archive.image(&names), platforms, events)?;
            flush(archive.finish()?, path)?;
            file.keep()?;
            Ok(descriptor)
        }
        Place::DockerArchive(path, name) => {
            if matches!(platforms, Platforms::All) {
                return Err(Error::Conflict(
                    "a docker-archive holds one platform of an image: leave --all away".into(),
                ));
            }
            let file = NewFile::create(path)?;
            let archive = DockerArchive::new(Box::new(file.writer()?), &path.to_string_lossy(), images.path());
            let names = match name {
                Some(name) => vec![reference(name)?.to_string()],
                None => Vec::new(),
            };
            let descriptor = archive::copy(source, &*archive.image(&names), platforms, events)?;
            flush(archive.finish()?, path)?;
            file.keep()?;
            Ok(descriptor)
        }
    }
}

fn flush(mut out: Box<dyn Write + Send>, path: &Path) -> Result<(), Error> {
    out.flush().map_err(|source| Error::File { what: "write", path: path.to_owned(), source })
}

/// Sends an image to its registry: `push IMAGE [DESTINATION]`.
pub fn push(
    images: &Images,
    words: &str,
    destination: Option<&str>,
    events: &dyn Events,
) -> Result<(Reference, Descriptor), Error> {
    let image = images.get(words)?;
    let name = match destination {
        Some(destination) => reference(destination.strip_prefix("docker://").unwrap_or(destination))?,
        // By its id an image has no place to go to.
        None => match reference(words) {
            Ok(name) if image.names.contains(&name.to_string()) => name,
            _ => return Err(bad_reference(words, &"name the image, or where it shall go, by a tag")),
        },
    };
    if name.digest().is_some() {
        return Err(bad_reference(words, &"what is pushed is named by a tag: its digest comes of itself"));
    }
    let registries = remote::registries()?;
    let repositories = image.fetched_as.iter().chain(&image.names).filter_map(|other| Reference::parse(other).ok());
    let mut neighbours: Vec<String> = repositories
        .filter(|other| other.registry() == name.registry() && other.repository() != name.repository())
        .map(|other| other.repository().to_owned())
        .collect();
    neighbours.sort();
    neighbours.dedup();
    let sink = remote::sink(&registries, &name, neighbours)?;
    let source = Stored::new(images, &image)?;
    let descriptor = archive::copy(&source, &sink, &Platforms::All, events)?;
    told_of(images, "push", words, Some(&name));
    Ok((name, descriptor))
}

/// The kinds of archives that `save` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Docker's.
    #[default]
    Docker,
    /// A tar of an OCI layout.
    Oci,
}

/// Writes images into one archive: `save`. An image that is named by its id has no name there.
pub fn save(
    images: &Images,
    words: &[String],
    format: Format,
    out: Box<dyn Write + Send>,
    shown: &str,
) -> Result<(), Error> {
    // All of them are looked up before the first byte is written.
    let mut wanted: Vec<(image::Image, Vec<String>)> = Vec::new();
    for words in words {
        let image = images.get(words)?;
        let name = Reference::parse(words).ok().map(|name| name.to_string()).filter(|name| image.names.contains(name));
        match wanted.iter_mut().find(|(known, _)| known.descriptor.digest == image.descriptor.digest) {
            Some((_, names)) => names.extend(name),
            None => wanted.push((image, name.into_iter().collect())),
        }
    }
    let silent = &image::Silent;
    let out = match format {
        Format::Docker => {
            let archive = DockerArchive::new(out, shown, images.path());
            for (image, names) in &wanted {
                archive::copy(&Stored::new(images, image)?, &*archive.image(names), &Platforms::All, silent)?;
            }
            archive.finish()?
        }
        Format::Oci => {
            let archive = OciArchive::new(out, shown);
            for (image, names) in &wanted {
                archive::copy(&Stored::new(images, image)?, &*archive.image(names), &Platforms::All, silent)?;
            }
            archive.finish()?
        }
    };
    flush(out, Path::new(shown))?;
    wanted.iter().for_each(|(image, _)| told_of(images, "save", image.id.as_str(), None));
    Ok(())
}

/// An image that `load` brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its names, as Docker prints them.
    pub names: Vec<String>,
    /// What came.
    pub received: image::Received,
}

/// Reads the images of an archive or a layout: `load`. Without a path, of standard input.
pub fn load(
    images: &Images,
    path: Option<&Path>,
    platform: Option<&Platform>,
    events: &dyn Events,
) -> Result<Vec<Loaded>, Error> {
    let found = match path {
        Some(path) => archive::open(path, images.path())?,
        None => {
            let file = archive::spool(&mut std::io::stdin(), images.path())?;
            archive::open_file(file, "standard input", images.path())?
        }
    };
    let platform = platform.cloned().unwrap_or_else(Platform::here);
    found.into_iter().map(|found| load_one(images, &found, &platform, events)).collect()
}

fn load_one(images: &Images, found: &Found, platform: &Platform, events: &dyn Events) -> Result<Loaded, Error> {
    // A layout's tag alone (`latest`) is no name of an image.
    let named =
        found.names.iter().filter(|name| name.contains([':', '/'])).filter_map(|name| Reference::parse(name).ok());
    let names: Vec<Reference> = named.collect();
    let full: Vec<String> = names.iter().map(ToString::to_string).collect();
    let order = Order { platform, names: &full, repository: None, events };
    let received = or_freed(images, images.receive(&*found.source, &order))?;
    told_of(images, "load", received.manifest.as_str(), None);
    Ok(Loaded { names: names.iter().map(Reference::familiar).collect(), received })
}

/// A file that has its name only when it is whole. What is no file, as /dev/null or a pipe, is written to as it is.
pub struct NewFile {
    path: PathBuf,
    temporary: Option<PathBuf>,
    file: File,
}

impl NewFile {
    /// Begins a file beside `path`.
    pub fn create(path: &Path) -> Result<NewFile, Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { what: "create", path, source }
        };
        if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            let file = File::options().write(true).open(path).map_err(failed(path))?;
            return Ok(NewFile { path: path.to_owned(), temporary: None, file });
        }
        // A link stays one.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = File::options().write(true).create_new(true).open(&temporary).map_err(failed(&path))?;
        Ok(NewFile { path, temporary: Some(temporary), file })
    }

    /// To write to it.
    pub fn writer(&self) -> Result<File, Error> {
        self.file.try_clone().map_err(|source| Error::File { what: "open", path: self.path.clone(), source })
    }

    /// Gives it its name.
    pub fn keep(mut self) -> Result<(), Error> {
        let Some(temporary) = &self.temporary else { return Ok(()) };
        std::fs::rename(temporary, &self.path).map_err(|source| Error::File {
            what: "rename",
            path: self.path.clone(),
            source,
        })?;
        self.temporary = None;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = std::fs::remove_file(temporary);
        }
    }
}
