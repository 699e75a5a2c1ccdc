//! A limit that may be said or not, and that may be no limit when it is said: as records have it, without its field, or
//! the number, or -1, as on the command line. By itself serde writes the first and the last alike, `null`.

use serde::{Deserialize, Deserializer, Serializer};
use serde_json::Number;

#[allow(clippy::ref_option, clippy::option_option)] // serde asks for the one, the options are the other.
pub(crate) fn serialize<S: Serializer>(limit: &Option<Option<u64>>, to: S) -> Result<S::Ok, S::Error> {
    match limit {
        None => to.serialize_none(),
        Some(None) => to.serialize_i64(-1),
        Some(Some(number)) => to.serialize_u64(*number),
    }
}

#[allow(clippy::option_option)]
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    // What is below zero is no u64.
    Ok(Option::<Number>::deserialize(from)?.map(|number| number.as_u64()))
}
