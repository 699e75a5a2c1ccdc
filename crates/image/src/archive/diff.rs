//! The upper directory of an overlay as a layer.

use crate::error::Error;
use rustix::fd::BorrowedFd;
use std::io::Write;

/// Writes the upper directory `upper` as a layer's tar (uncompressed). With `lower`, the merged tree that it lay on, no
/// whiteout is written for what is not there.
pub fn diff_layer(upper: BorrowedFd<'_>, lower: Option<BorrowedFd<'_>>, out: &mut dyn Write) -> Result<(), Error> {
    let _ = out;
    todo!("{upper:?} {lower:?}")
}
