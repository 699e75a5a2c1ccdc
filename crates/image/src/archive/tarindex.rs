//! Where in a tar its files are: only headers are read, and content is passed over.
//!
//! A name that comes twice is an error for who asks for it: `tar -x` would take the last and other tools the first, and
//! then they would see different images in the same archive. Symlinks and hard links are followed among the entries
//! only, which `docker save` needs: it used to write a link for a layer that an earlier image has.

use super::Flaw;
use super::files::Piece;
use crate::error::Fault;
use crate::tar::{Entry, Kind, Reader};
use crate::unpack::place;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::sync::Arc;

/// The most entries of an image archive, and bytes of all their names: a few thousand layers with what goes with them.
const ENTRIES_MAX: usize = 100_000;
const NAMES_MAX: usize = 16 << 20;
/// The most links from one to the next.
const LINKS_MAX: usize = 8;

/// The files of a tar by their normal names.
pub(super) struct TarIndex {
    file: Arc<File>,
    places: HashMap<Vec<u8>, Place>,
}

#[derive(Clone, Debug)]
enum Place {
    File {
        offset: u64,
        size: u64,
    },
    /// The normal name of where it leads; `None` out of the archive.
    Link(Option<Vec<u8>>),
    Other(&'static str),
    Twice,
}

impl TarIndex {
    /// Reads all headers of an uncompressed tar. `stop` is shown every name, and ends the reading with `None`.
    pub(super) fn read(file: File, mut stop: impl FnMut(&[u8], &Kind) -> bool) -> Result<Option<TarIndex>, Flaw> {
        let rewind = |error| Flaw::Tar(Fault::Read { offset: 0, source: error });
        (&file).seek(SeekFrom::Start(0)).map_err(rewind)?;
        let size = file.metadata().map_err(rewind)?.len();
        let file = Arc::new(file);
        // Small: between two headers there is mostly much to pass over.
        let mut reader = Reader::new(BufReader::with_capacity(4 << 10, Same(Arc::clone(&file))));
        let mut places = HashMap::new();
        let (mut count, mut names) = (0, 0);
        while let Some(entry) = reader.next()? {
            count += 1;
            names += entry.name.len();
            if count > ENTRIES_MAX || names > NAMES_MAX {
                return Err(Flaw::Entries { max: ENTRIES_MAX });
            }
            if stop(&entry.name, &entry.kind) {
                return Ok(None);
            }
            let place = place_of(&entry, reader.position(), reader.stored());
            reader.pass_data()?;
            if reader.position() > size {
                let entry = crate::room::shown(&entry.name);
                return Err(Flaw::Tar(Fault::Truncated { offset: size, entry }));
            }
            // What climbs out can be asked for by no name.
            let (Some(place), Ok(name)) = (place, place::normal(&entry.name)) else { continue };
            match places.entry(name) {
                Slot::Vacant(slot) => drop(slot.insert(place)),
                Slot::Occupied(mut slot) => drop(slot.insert(Place::Twice)),
            }
        }
        Ok(Some(TarIndex { file, places }))
    }

    /// The file of this name, perhaps by way of links.
    pub(super) fn open(&self, name: &str) -> Result<Piece, Flaw> {
        let shown = || super::flaw::cut(name);
        let mut at = place::normal(name.as_bytes()).map_err(|_| Flaw::missing(name))?;
        for _ in 0..LINKS_MAX {
            match self.places.get(&at) {
                None => return Err(Flaw::missing(name)),
                Some(Place::File { offset, size }) => {
                    return Ok(Piece { file: Arc::clone(&self.file), offset: *offset, left: *size });
                }
                Some(Place::Link(Some(target))) => at.clone_from(target),
                Some(Place::Link(None)) => {
                    return Err(Flaw::NotAFile { name: shown(), what: "a link out of the archive" });
                }
                Some(Place::Other(what)) => return Err(Flaw::NotAFile { name: shown(), what }),
                Some(Place::Twice) => return Err(Flaw::Twice { name: shown() }),
            }
        }
        Err(Flaw::NotAFile { name: shown(), what: "a link to a link, and so on" })
    }
}

fn place_of(entry: &Entry, offset: u64, stored: u64) -> Option<Place> {
    Some(match &entry.kind {
        Kind::File { size } if *size == stored => Place::File { offset, size: *size },
        Kind::File { .. } => Place::Other("a file with holes"),
        Kind::Hardlink(target) => Place::Link(place::normal(target).ok()),
        Kind::Symlink(target) => Place::Link(resolve(&entry.name, target)),
        // A directory may well come twice.
        Kind::Directory => return None,
        Kind::Fifo => Place::Other("a pipe"),
        Kind::Char { .. } | Kind::Block { .. } => Place::Other("a device"),
    })
}

/// Where a symlink leads, by its words alone: in an archive of files there are no other links on the way.
fn resolve(link: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if target.starts_with(b"/") {
        return None;
    }
    let link = place::normal(link).ok()?;
    let mut parts: Vec<&[u8]> = link.split(|byte| *byte == b'/').collect();
    parts.pop();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// A file that several read, here from its current place on.
struct Same(Arc<File>);

impl std::io::Read for Same {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        (&*self.0).read(to)
    }
}

impl Seek for Same {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        (&*self.0).seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symlinks_lead_where_their_words_say_but_never_out() {
        let table: [(&str, &str, Option<&str>); 7] = [
            ("b/layer.tar", "../a/layer.tar", Some("a/layer.tar")),
            ("./b/layer.tar", "./x", Some("b/x")),
            ("l", "a//b", Some("a/b")),
            ("l", "../a", None),
            ("b/l", "../../a", None),
            ("b/l", "/etc/passwd", None),
            ("../l", "a", None),
        ];
        for (link, target, expected) in table {
            let found = resolve(link.as_bytes(), target.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{link} -> {target}");
        }
    }
}
