//! stub
use crate::error::Error;
use crate::procfs::Procfs;
use oci_spec::runtime::Process;
#[derive(Clone, Debug)]
pub(crate) struct Labels;
pub(crate) fn plan(_p: &Process) -> Result<Option<Labels>, Error> {
    Ok(None)
}
pub(crate) fn apply(_l: &Labels, _p: &Procfs) -> Result<(), Error> {
    Ok(())
}
pub(crate) fn mount_option(_label: &str, _fstype: &str) -> Option<String> {
    None
}
