//! Streams kept in temporary files that have no name.

use crate::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Keeps a stream (standard input) in an unlinked file in `scratch`, so that it can be read in any order.
pub fn spool(input: &mut dyn Read, scratch: &Path) -> Result<File, Error> {
    todo!("{:?}", (input.read(&mut []), scratch))
}
