//! The verbs of volumes, as Docker's users type them. What they do stands in `engine::volumes`; here are their words.

mod change;
mod list;

pub(crate) use change::{CREATE, PRUNE, RM, delete};
pub(crate) use list::{INSPECT, LS};

use crate::table::Filter;
use engine::volumes::Known;

/// Whether all filters for labels let a volume through.
fn has_labels(filters: &[Filter], known: &Known) -> bool {
    let mut labels = filters.iter().filter(|filter| filter.key == "label");
    labels.all(|filter| filter.label(|name| known.labels.get(name).map(String::as_str)))
}
