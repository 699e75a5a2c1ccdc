//! OCI layouts, written.
//!
//! ```text
//! DIR/oci-layout           written once
//! DIR/index.json           replaced by rename, under an flock of DIR itself
//! DIR/blobs/sha256/HEX     renamed here when whole and on disk, never written to again
//! DIR/.tmp-PID-N           a file that is being written, under its own flock; who opens the layout next removes those
//!                          whose writer is gone
//! ```

use super::Flaw;
use super::files::{Files, blob_name, open_beneath};
use super::layout::REF_NAME;
use super::verify::{Verified, pump};
use crate::error::Error;
use crate::layout::is_named;
use crate::transfer::{Content, Raw, Sink};
use registry::{Descriptor, Digest, MANIFEST_MAX};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::fs::{flock, fsync, mkdirat, open, openat, renameat, unlinkat};
use rustix::io::Errno;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

pub(super) const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A layout directory that an image is put to.
pub struct LayoutSink {
    directory: OwnedFd,
    name: Option<String>,
    place: String,
}

impl LayoutSink {
    /// Makes the layout in `dir`, or extends the one there. The image gets `name`, and takes it from the one that has it.
    ///
    /// # Errors
    /// [`Error::WriteImage`].
    pub fn open(dir: &Path, name: Option<&str>) -> Result<LayoutSink, Error> {
        let place = dir.to_string_lossy().into_owned();
        LayoutSink::prepare(dir, name, &place).map_err(|flaw| flaw.writing(&place))
    }

    fn prepare(dir: &Path, name: Option<&str>, place: &str) -> Result<LayoutSink, Flaw> {
        std::fs::create_dir_all(dir).map_err(Flaw::Write)?;
        // Not O_PATH: it is locked, and written to disk.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(dir, flags, Mode::empty()).map_err(|source| Flaw::system("open", ".", source))?;
        let sink = LayoutSink { directory, name: name.map(str::to_owned), place: place.to_owned() };
        for name in ["blobs", "blobs/sha256", "blobs/sha512"] {
            match mkdirat(&sink.directory, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(source) => return Err(Flaw::system("make", name, source)),
            }
        }
        sink.sweep();
        if let Err(Flaw::Missing { .. }) = open_beneath(&sink.directory, "oci-layout") {
            sink.replace("oci-layout", OCI_LAYOUT)?;
        }
        Ok(sink)
    }

    /// Removes what writers that were killed left behind. What cannot be removed hurts nobody.
    fn sweep(&self) {
        let Ok(entries) = rustix::fs::Dir::read_from(&self.directory) else { return };
        for entry in entries.flatten().filter(|entry| entry.file_name().to_bytes().starts_with(b".tmp-")) {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let Ok(file) = openat(&self.directory, entry.file_name(), flags, Mode::empty()) else { continue };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                let _ = unlinkat(&self.directory, entry.file_name(), AtFlags::empty());
            }
        }
    }

    /// Keeps verified content under its digest.
    fn keep(&self, descriptor: &Descriptor, content: Content) -> Result<(), Flaw> {
        let mut file = Temporary::new(self)?;
        let mut content = Verified::new(content, descriptor);
        pump(&mut content, &mut file.file)?;
        content.finish()?;
        file.keep(&blob_name(&descriptor.digest))
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<(), Flaw> {
        let mut file = Temporary::new(self)?;
        file.file.write_all(content).map_err(Flaw::Write)?;
        file.keep(name)
    }

    /// Adds an entry to the index, in the place of those that have its name. Whatever else is in the index stays.
    fn name(&self, descriptor: &Descriptor) -> Result<(), Flaw> {
        flock(&self.directory, FlockOperation::LockExclusive).map_err(|source| Flaw::system("lock", ".", source))?;
        let named = self.name_locked(descriptor);
        let _ = flock(&self.directory, FlockOperation::Unlock);
        named
    }

    fn name_locked(&self, descriptor: &Descriptor) -> Result<(), Flaw> {
        const INDEX: &str = "index.json";
        let files = Files::Directory(self.directory.try_clone().map_err(Flaw::Write)?);
        let mut index: Value = match files.read(INDEX, MANIFEST_MAX) {
            Ok(text) => serde_json::from_slice(&text).map_err(|source| Flaw::json(INDEX, source))?,
            Err(Flaw::Missing { .. }) => json!({"schemaVersion": 2}),
            Err(other) => return Err(other),
        };
        let mut manifests = index.get_mut("manifests").and_then(Value::as_array_mut).map(std::mem::take);
        let manifests = manifests.get_or_insert_default();
        manifests.retain(|entry| !self.is_replaced(entry, &descriptor.digest));
        manifests.push(index_entry(descriptor, self.name.as_deref())?);
        let Some(fields) = index.as_object_mut() else { return Err(Flaw::missing("index.json: manifests")) };
        fields.insert("manifests".into(), std::mem::take(manifests).into());
        let text = serde_json::to_vec(&index).map_err(|source| Flaw::json(INDEX, source))?;
        // What the index names is on disk before it is.
        for name in ["blobs/sha256", "blobs/sha512"] {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = openat(&self.directory, name, flags, Mode::empty());
            directory.and_then(fsync).map_err(|source| Flaw::system("write to disk", name, source))?;
        }
        self.replace(INDEX, &text)?;
        fsync(&self.directory).map_err(|source| Flaw::system("write to disk", ".", source))
    }

    /// Whether an entry of the index goes when one of our name and this digest comes.
    fn is_replaced(&self, entry: &Value, digest: &Digest) -> bool {
        match (entry["annotations"][REF_NAME].as_str(), self.name.as_deref()) {
            (None, None) => entry["digest"].as_str() == Some(digest.as_str()),
            (own, new) => own == new,
        }
    }
}

/// An entry of a layout's index.
pub(super) fn index_entry(descriptor: &Descriptor, name: Option<&str>) -> Result<Value, Flaw> {
    let mut entry = descriptor.clone();
    if let Some(name) = name {
        entry.annotations.insert(REF_NAME.into(), name.into());
    }
    serde_json::to_value(&entry).map_err(|source| Flaw::json("index.json", source))
}

impl Sink for LayoutSink {
    fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        match open_beneath(&self.directory, &blob_name(&descriptor.digest)) {
            Ok(piece) => Ok(piece.left == descriptor.size),
            Err(Flaw::Missing { .. }) => Ok(false),
            Err(flaw) => Err(flaw.writing(&self.place)),
        }
    }

    fn put_blob(&self, descriptor: &Descriptor, open: &dyn Fn() -> Result<Content, Error>) -> Result<(), Error> {
        self.keep(descriptor, open()?).map_err(|flaw| flaw.writing(&self.place))
    }

    fn put_manifest(&self, descriptor: &Descriptor, raw: &Raw) -> Result<(), Error> {
        self.keep(descriptor, Box::new(std::io::Cursor::new(raw.bytes.clone())))
            .map_err(|flaw| flaw.writing(&self.place))
    }

    fn put_top(&self, raw: &Raw) -> Result<(), Error> {
        let descriptor = Descriptor::of(&raw.media_type, &raw.bytes);
        self.put_manifest(&descriptor, raw)?;
        self.name(&descriptor).map_err(|flaw| flaw.writing(&self.place))
    }

    fn shown(&self) -> String {
        self.place.clone()
    }
}

/// A file that has no name of its own yet, and goes when it never gets one.
struct Temporary<'a> {
    sink: &'a LayoutSink,
    name: String,
    file: File,
    kept: bool,
}

impl<'a> Temporary<'a> {
    fn new(sink: &'a LayoutSink) -> Result<Temporary<'a>, Flaw> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let name = format!(".tmp-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(&sink.directory, &name, flags, Mode::from_raw_mode(0o644)) {
                // In another pid namespace there is a process of our number.
                Err(Errno::EXIST) => continue,
                Err(source) => return Err(Flaw::system("make", &name, source)),
                Ok(file) => {
                    let failed = |source| Flaw::system("lock", &name, source);
                    flock(&file, FlockOperation::LockShared).map_err(failed)?;
                    // Before it was locked it looked left behind, and who opened the layout meanwhile removed it.
                    if is_named(sink.directory.as_fd(), &name, file.as_fd()).map_err(failed)? {
                        return Ok(Temporary { sink, name, file: File::from(file), kept: false });
                    }
                }
            }
        }
    }

    fn keep(mut self, name: &str) -> Result<(), Flaw> {
        fsync(&self.file).map_err(|source| Flaw::system("write to disk", name, source))?;
        renameat(&self.sink.directory, &self.name, &self.sink.directory, name)
            .map_err(|source| Flaw::system("make", name, source))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let _ = unlinkat(&self.sink.directory, &self.name, AtFlags::empty());
        }
    }
}
