//! stub
use super::global::Global;
use super::words::{Flag, Words};
use super::{Failure, usage};
pub(crate) const CRIU_FLAGS: &[Flag] = &[];
pub(crate) const CHECKPOINT_FLAGS: &[Flag] = &[];
pub(crate) const RESTORE_FLAGS: &[Flag] = &[];
pub(crate) fn checkpoint(_: &Global, _: &Words) -> Result<i32, Failure> {
    Err(usage("no"))
}
pub(crate) fn restore(_: &Global, _: &Words) -> Result<i32, Failure> {
    Err(usage("no"))
}
