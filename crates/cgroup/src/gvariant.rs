//! stub
use crate::Error;
pub(crate) fn property(_name: &str, _value: &str) -> Result<(), Error> {
    Ok(())
}
