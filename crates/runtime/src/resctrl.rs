//! stub
use crate::error::Error;
use oci_spec::runtime::Linux;
#[derive(Clone, Debug)]
pub(crate) struct Resctrl;
impl Resctrl {
    pub(crate) fn join(&self, _id: &str, _pid: i32) -> Result<(), Error> {
        Ok(())
    }
    pub(crate) fn remove(&self, _id: &str) -> Result<(), Error> {
        Ok(())
    }
}
pub(crate) fn plan(_l: &Linux) -> Result<Option<Resctrl>, Error> {
    Ok(None)
}

pub(crate) fn update(_linux: &Linux, _id: &str, _l3: Option<&str>, _bw: Option<&str>) -> Result<(), Error> {
    Ok(())
}
