//! `pause` and `unpause`: containers stand still, and run on.

use super::meant::Meant;
use crate::images::{for_each, say};
use crate::report::Failure;
use crate::verb::{About, Flag, Group, Verb, latest, switch, value};
use engine::containers::{Listed, State, set_paused};
use std::process::ExitCode;

const CIDFILE: Flag<Meant> =
    value("cidfile", None, "FILE", "The container whose id is in this file", |r: &mut Meant, v| {
        r.cidfiles.push(v.into());
        Ok(())
    });

/// `mycontainer pause`.
pub(crate) static PAUSE: Verb<Meant> = Verb {
    about: About {
        also: &["container pause"],
        intro: "Lets all processes of containers stand still, with what they have in memory, until `unpause`. None of them\n\
                notices it. SIGKILL and `stop` end one that stands still.",
        example: "pause NAME",
        ..About::new("pause", "[CONTAINER...]", "Let containers stand still")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[CIDFILE, latest(), switch("all", Some('a'), "Every container that runs", |r| &mut r.all)],
    }],
    act: |meant, words| each(&meant.words(&PAUSE.about, words, |one: &Listed| one.state == State::Running)?, true),
};

/// `mycontainer unpause`.
pub(crate) static UNPAUSE: Verb<Meant> = Verb {
    about: About {
        also: &["container unpause"],
        example: "unpause NAME",
        ..About::new("unpause", "[CONTAINER...]", "Let containers run on that stand still")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[CIDFILE, latest(), switch("all", Some('a'), "Every container that stands still", |r| &mut r.all)],
    }],
    act: |meant, words| each(&meant.words(&UNPAUSE.about, words, |one: &Listed| one.state == State::Paused)?, false),
};

fn each(words: &[String], paused: bool) -> Result<ExitCode, Failure> {
    Ok(for_each(words, |word| {
        set_paused(word, paused)?;
        say(word);
        Ok(())
    }))
}
