//! `mounts add ID FILE` and `mounts remove ID FILE`, as crun has them: FILE holds a list of mounts, in the shape of the
//! configuration's section `mounts`.

use super::global::Global;
use super::words::Words;
use super::{Failure, usage};
use oci_spec::runtime::Mount;

/// `mounts add|remove ID FILE`
pub(crate) fn mounts(global: &Global, words: &Words) -> Result<i32, Failure> {
    let [what, id, file] = words.operands() else { return Err(usage("it needs add or remove, an id and a file")) };
    let text = std::fs::read(file).map_err(|e| usage(format!("cannot read {file}: {e}")))?;
    let list: Vec<Mount> = serde_json::from_slice(&text).map_err(|e| usage(format!("cannot read {file}: {e}")))?;
    let mut known = global.runtime()?.find(id)?;
    match what.as_str() {
        "add" => known.add_mounts(&list)?,
        "remove" => known.remove_mounts(&list)?,
        other => return Err(usage(format!("it is add or remove, not {other:?}"))),
    }
    Ok(0)
}
