//! `pause` and `unpause`: containers stand still, and run on.

use crate::images::{for_each, say};
use crate::verb::{About, Verb};
use engine::containers::set_paused;
use std::process::ExitCode;

/// `mycontainer pause`.
pub(crate) static PAUSE: Verb<()> = Verb {
    about: About {
        also: &["container pause"],
        intro: "Lets all processes of containers stand still, with what they have in memory, until `unpause`. None of them\n\
                notices it. SIGKILL and `stop` end one that stands still.",
        example: "pause NAME",
        ..About::new("pause", "CONTAINER [CONTAINER...]", "Let containers stand still")
    },
    groups: &[],
    act: |(), words| Ok(each(&words, true)),
};

/// `mycontainer unpause`.
pub(crate) static UNPAUSE: Verb<()> = Verb {
    about: About {
        also: &["container unpause"],
        example: "unpause NAME",
        ..About::new("unpause", "CONTAINER [CONTAINER...]", "Let containers run on that stand still")
    },
    groups: &[],
    act: |(), words| Ok(each(&words, false)),
};

fn each(words: &[String], paused: bool) -> ExitCode {
    for_each(words, |word| {
        set_paused(word, paused)?;
        say(word);
        Ok(())
    })
}
