//! `rename`: another name for a container.

use crate::report::Failure;
use crate::verb::{About, Verb};
use engine::RunOptions;
use std::process::ExitCode;

/// `mycontainer rename`.
pub(crate) static RENAME: Verb<()> = Verb {
    about: About {
        also: &["container rename"],
        example: "rename OLD NEW",
        ..About::new("rename", "CONTAINER NAME", "Give a container another name")
    },
    groups: &[],
    act: rename,
};

fn rename((): (), words: Vec<String>) -> Result<ExitCode, Failure> {
    let [container, name] = words.as_slice() else { return Err(Failure::new("it takes a container and a name")) };
    let name = RunOptions::container_name(name)
        .map_err(|error| Failure::misuse(error.to_string(), "see `mycontainer help rename`"))?;
    engine::containers::rename(container, &name)?;
    Ok(ExitCode::SUCCESS)
}
