//! `tag`: an image gets another name.

use crate::verb::{About, Verb};
use engine::images;
use std::process::ExitCode;

/// `mycontainer tag`.
pub(crate) static TAG: Verb<()> = Verb {
    about: About {
        also: &["image tag"],
        example: "tag alpine localhost:5000/alpine:mine",
        ..About::new("tag", "SOURCE TARGET", "Give an image one more name")
    },
    groups: &[],
    act: |(), words| {
        images::tag(&images::store()?, &words[0], &words[1])?;
        Ok(ExitCode::SUCCESS)
    },
};
