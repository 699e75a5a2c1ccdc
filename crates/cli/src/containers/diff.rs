//! `diff`: what a container has changed of its image.

use crate::help::show;
use crate::report::Failure;
use crate::verb::{About, Group, Verb, latest};
use image::archive::Changed;
use std::process::ExitCode;

/// `mycontainer diff`.
pub(crate) static DIFF: Verb<()> = Verb {
    about: About {
        also: &["container diff"],
        intro: "Shows which files of its image a container, running or created, has added (A), changed (C) or deleted (D).\n\
                What is mounted in it is not part of it.",
        example: "diff NAME",
        ..About::new("diff", "CONTAINER", "Show what a container has changed of its image")
    },
    groups: &[Group { heading: "Flags", flags: &[latest()] }],
    act: diff,
};

fn diff((): (), words: Vec<String>) -> Result<ExitCode, Failure> {
    let mut text = String::new();
    for (path, change) in engine::containers::diff(words.first().map_or("", String::as_str))? {
        let letter = match change {
            Changed::Added => 'A',
            Changed::Changed => 'C',
            Changed::Deleted => 'D',
        };
        text.push_str(&format!("{letter} /{}\n", shown(&path)));
    }
    Ok(show(&text))
}

/// A name in one line, of which nothing controls the terminal.
fn shown(path: &[u8]) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    String::from_utf8_lossy(path).chars().map(escaped).collect()
}
