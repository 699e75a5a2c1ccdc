//! OCI archives, written: a layout as a stream, its blobs as they come, and what names them at the end.
//!
//! Nothing of the stream is taken back: a blob that turns out not to be what it should ends the archive.

use super::Flaw;
use super::files::blob_name;
use super::layout_sink::{OCI_LAYOUT, index_entry};
use super::verify::{Verified, pump};
use crate::error::Error;
use crate::tar::{Entry, Kind, Writer};
use crate::transfer::{Content, Raw, Sink};
use registry::{Descriptor, Digest};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{Cursor, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An OCI archive that is being written.
pub struct OciArchive {
    stream: Mutex<Stream>,
    place: String,
}

struct Stream {
    tar: Writer<Box<dyn Write + Send>>,
    has: HashSet<Digest>,
    entries: Vec<Value>,
    begun: bool,
    spoiled: bool,
}

impl OciArchive {
    /// Begins an archive. `shown` is its name in messages.
    pub fn new(out: Box<dyn Write + Send>, shown: &str) -> OciArchive {
        let tar = Writer::new(out);
        let stream = Stream { tar, has: HashSet::new(), entries: Vec::new(), begun: false, spoiled: false };
        OciArchive { stream: Mutex::new(stream), place: shown.to_owned() }
    }

    /// A sink for one image, which gets these names. An archive takes any number of images, one after the other.
    pub fn image(&self, names: &[String]) -> Box<dyn Sink + '_> {
        Box::new(OneImage { archive: self, names: names.to_vec() })
    }

    /// Ends the archive, and gives back what it was written to. Without this it is no archive.
    ///
    /// # Errors
    /// [`Error::WriteImage`], also when an image was begun that could not be finished.
    pub fn finish(self) -> Result<Box<dyn Write + Send>, Error> {
        let stream = self.stream.into_inner().unwrap_or_else(PoisonError::into_inner);
        stream.finish().map_err(|flaw| flaw.writing(&self.place))
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    fn begin(&mut self) -> Result<(), Flaw> {
        if self.spoiled {
            return Err(Flaw::Spoiled);
        }
        if !std::mem::replace(&mut self.begun, true) {
            for name in ["blobs/", "blobs/sha256/"] {
                self.tar.entry(&Entry::plain(name, Kind::Directory)).map_err(Flaw::Write)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<(), Flaw> {
        if self.has.contains(&descriptor.digest) {
            return Ok(());
        }
        self.begin()?;
        self.spoiled = true;
        self.write(descriptor, content)?;
        self.spoiled = false;
        self.has.insert(descriptor.digest.clone());
        Ok(())
    }

    fn write(&mut self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<(), Flaw> {
        let entry = Entry::plain(&blob_name(&descriptor.digest), Kind::File { size: descriptor.size });
        self.tar.entry(&entry).map_err(Flaw::Write)?;
        let mut content = Verified::new(content, descriptor);
        // What is too long is not written, and told by `finish`.
        pump(&mut (&mut content).take(descriptor.size), &mut self.tar)?;
        content.finish()
    }

    fn finish(mut self) -> Result<Box<dyn Write + Send>, Flaw> {
        self.begin()?;
        let index = json!({"schemaVersion": 2, "mediaType": registry::media::OCI_INDEX, "manifests": self.entries});
        let index = serde_json::to_vec(&index).map_err(|source| Flaw::json("index.json", source))?;
        self.tar.plain_file("index.json", &index).map_err(Flaw::Write)?;
        self.tar.plain_file("oci-layout", OCI_LAYOUT).map_err(Flaw::Write)?;
        self.tar.finish().map_err(Flaw::Write)
    }
}

/// One image on its way into the archive.
struct OneImage<'a> {
    archive: &'a OciArchive,
    names: Vec<String>,
}

impl OneImage<'_> {
    fn failed(&self) -> impl Fn(Flaw) -> Error {
        |flaw| flaw.writing(&self.archive.place)
    }
}

impl Sink for OneImage<'_> {
    fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        Ok(self.archive.stream().has.contains(&descriptor.digest))
    }

    fn put_blob(&self, descriptor: &Descriptor, open: &dyn Fn() -> Result<Content, Error>) -> Result<(), Error> {
        let mut stream = self.archive.stream();
        // Whoever waits for the stream holds nothing open.
        let mut content = open()?;
        stream.put(descriptor, &mut content).map_err(self.failed())
    }

    fn one_at_a_time(&self) -> bool {
        true
    }

    fn put_manifest(&self, descriptor: &Descriptor, raw: &Raw) -> Result<(), Error> {
        self.archive.stream().put(descriptor, &mut Cursor::new(&raw.bytes)).map_err(self.failed())
    }

    fn put_top(&self, raw: &Raw) -> Result<(), Error> {
        let descriptor = Descriptor::of(&raw.media_type, &raw.bytes);
        self.put_manifest(&descriptor, raw)?;
        let mut stream = self.archive.stream();
        let names = self.names.iter().map(|name| Some(name.as_str()));
        let unnamed = self.names.is_empty().then_some(None);
        for name in names.chain(unnamed) {
            let entry = index_entry(&descriptor, name).map_err(self.failed())?;
            stream.entries.push(entry);
        }
        Ok(())
    }

    fn shown(&self) -> String {
        self.archive.place.clone()
    }
}
