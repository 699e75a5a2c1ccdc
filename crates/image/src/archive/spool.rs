//! Streams kept in temporary files that have no name: whatever becomes of us, nothing is left over.

use super::Flaw;
use super::verify::pump;
use crate::error::Error;
use crate::input::{CHUNK, decoded};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Keeps a stream (standard input, say) in an unlinked file in `scratch`, decompressed, so that it can be read in any
/// order.
///
/// # Errors
/// When the stream cannot be read or there is no room.
pub fn spool(input: &mut (dyn Read + Send), scratch: &Path) -> Result<File, Error> {
    decompress(input, scratch).map_err(|flaw| flaw.reading("standard input"))
}

/// The uncompressed stream in an unlinked file, read from its start.
pub(super) fn decompress(input: impl Read, scratch: &Path) -> Result<File, Flaw> {
    let mut file = temporary(scratch)?;
    let mut plain = decoded(BufReader::with_capacity(CHUNK, input)).map_err(Flaw::Read)?;
    match pump(&mut plain, &mut file) {
        Err(Flaw::Write(source)) => return Err(failed(scratch, source)),
        done => drop(done?),
    }
    file.seek(SeekFrom::Start(0)).map_err(|source| failed(scratch, source))?;
    Ok(file)
}

/// An empty file without a name.
pub(super) fn temporary(scratch: &Path) -> Result<File, Flaw> {
    crate::scratch::temporary(scratch).map_err(|source| failed(scratch, source))
}

fn failed(scratch: &Path, source: io::Error) -> Flaw {
    Flaw::Spool { scratch: scratch.to_string_lossy().into_owned(), source }
}
