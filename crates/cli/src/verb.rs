//! Verbs as data: what parser, help, page of flags and suggestions are made from.
//!
//! A verb is a `static` [`Verb<R>`]: its names, its flags, and the function that acts on a request `R` that the flags
//! filled in. A name is one word, or a noun and a word: `rmi` is also `image rm`. The table of all verbs (`verbs`) knows
//! each as an [`Entry`], so that the code that reads the words stands once in the binary and not once a verb.

use crate::report::Failure;
use crate::{help, parse, report};
use engine::ParseError;
use std::ffi::OsString;
use std::process::ExitCode;

/// What there is to say about a flag.
pub(crate) struct Face {
    /// Without the dashes.
    pub(crate) long: &'static str,
    /// Spellings that are not in the help: Docker's `--net`.
    pub(crate) also: &'static [&'static str],
    /// One letter, if it has one.
    pub(crate) short: Option<char>,
    /// Name of its value in the help; none for a switch. A value in brackets may be left out.
    pub(crate) value: Option<&'static str>,
    /// What it does, one line.
    pub(crate) help: &'static str,
    /// It stands for a word: the newest of these.
    pub(crate) newest: Option<Newest>,
}

/// Of what `--latest` is the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Newest {
    Container,
    Pod,
}

/// One flag of a verb with request `R`.
pub(crate) struct Flag<R> {
    pub(crate) face: Face,
    apply: Apply<R>,
}

/// What a flag changes.
enum Apply<R> {
    Value(fn(&mut R, &str) -> Result<(), ParseError>),
    Switch(fn(&mut R) -> &mut bool),
    /// The reader of the words does it.
    Word,
}

/// A flag with a value. A value that can be wrong is looked at here, so that the error names the flag.
pub(crate) const fn value<R>(
    long: &'static str,
    short: Option<char>,
    name: &'static str,
    help: &'static str,
    apply: fn(&mut R, &str) -> Result<(), ParseError>,
) -> Flag<R> {
    Flag { face: Face { long, also: &[], short, value: Some(name), help, newest: None }, apply: Apply::Value(apply) }
}

/// A flag that is on or off: which field of the request it sets.
pub(crate) const fn switch<R>(
    long: &'static str,
    short: Option<char>,
    help: &'static str,
    field: fn(&mut R) -> &mut bool,
) -> Flag<R> {
    Flag { face: Face { long, also: &[], short, value: None, help, newest: None }, apply: Apply::Switch(field) }
}

/// `--latest`, in place of the word that names the container.
pub(crate) const fn latest<R>() -> Flag<R> {
    newest("The container that was made last", Newest::Container)
}

/// `--latest`, in place of the word that names the pod.
pub(crate) const fn latest_pod<R>() -> Flag<R> {
    newest("The pod that was made last", Newest::Pod)
}

const fn newest<R>(help: &'static str, of: Newest) -> Flag<R> {
    let face = Face { long: "latest", also: &[], short: Some('l'), value: None, help, newest: Some(of) };
    Flag { face, apply: Apply::Word }
}

/// The same flag with more long names, which are not in the help.
pub(crate) const fn also<R>(names: &'static [&'static str], mut flag: Flag<R>) -> Flag<R> {
    flag.face.also = names;
    flag
}

impl<R> Flag<R> {
    /// Does what the flag says, with its value; a switch has `true` or `false`.
    pub(crate) fn apply(&self, request: &mut R, value: &str) -> Result<(), ParseError> {
        match self.apply {
            Apply::Value(apply) => apply(request, value),
            Apply::Switch(field) => {
                *field(request) = value == "true";
                Ok(())
            }
            Apply::Word => Ok(()),
        }
    }
}

/// Flags under one heading.
pub(crate) struct Group<R: 'static> {
    /// Without the colon; `Flags` if there is but one group.
    pub(crate) heading: &'static str,
    pub(crate) flags: &'static [Flag<R>],
}

/// What there is to say about a verb.
pub(crate) struct About {
    /// One word, or a noun and a word, as `image prune`.
    pub(crate) name: &'static str,
    /// Other names: `image rm` of `rmi`.
    pub(crate) also: &'static [&'static str],
    /// The words beside the flags, as the usage shows them: `SOURCE TARGET`, `IMAGE [IMAGE...]`. How many there may be is
    /// read from here: a word in brackets may be left out, and `...` stands for any number.
    pub(crate) operands: &'static str,
    /// Where flags may stand.
    pub(crate) flags: Flags,
    /// One line, for the overview.
    pub(crate) summary: &'static str,
    /// What stands in the help before the flags in place of the summary, if more is to be said.
    pub(crate) intro: &'static str,
    /// What stands in the help after the flags.
    pub(crate) outro: &'static str,
    /// Words that work, for whoever left one out: `run -it host`.
    pub(crate) example: &'static str,
    /// A verb whose flags this one does not have as yet: whoever types one is told so.
    pub(crate) cousin: Option<&'static dyn Entry>,
    /// It touches no container, image or volume, so that it needs no rights and an ordinary user stays what they are.
    pub(crate) is_apart: bool,
}

impl About {
    /// To begin from: `About { example: "pull alpine", ..About::new("pull", "IMAGE", "Fetch an image") }`.
    pub(crate) const fn new(name: &'static str, operands: &'static str, summary: &'static str) -> About {
        About {
            name,
            also: &[],
            operands,
            flags: Flags::Anywhere,
            summary,
            intro: "",
            outro: "",
            example: "",
            cousin: None,
            is_apart: false,
        }
    }

    /// Makes an ordinary user root of their own containers before the verb acts.
    pub(crate) fn enter(&self) -> Result<(), Failure> {
        if self.is_apart {
            return Ok(());
        }
        let failed = if self.name == "run" { Failure::of_run } else { Failure::from };
        engine::enter_user_namespace(&mut report::note).map_err(failed)
    }

    /// How many words there must be and may be.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let words = || self.operands.split_whitespace();
        let least = words().filter(|word| !word.starts_with('[')).count();
        (least, if self.operands.contains("...") { usize::MAX } else { words().count() })
    }
}

/// Where a verb's flags may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flags {
    /// Before, between and after the words, up to `--`.
    Anywhere,
    /// Before the first word: what follows is a command's own.
    First,
}

/// One verb.
pub(crate) struct Verb<R: 'static> {
    pub(crate) about: About,
    pub(crate) groups: &'static [Group<R>],
    /// Does it, with the words beside the flags: as many as [`About::operands`] says.
    pub(crate) act: fn(R, Vec<String>) -> Result<ExitCode, Failure>,
}

/// A flag's place: number of the group and in the group.
pub(crate) type Place = (usize, usize);

/// A verb, whatever its request is.
pub(crate) trait Entry: Sync {
    fn about(&self) -> &About;

    /// Shows every flag with its place and its group's heading, in order.
    fn each_flag(&self, see: &mut dyn FnMut(&'static str, Place, &'static Face));

    /// The help.
    fn help(&self) -> String;

    /// Does it, with the words after the verb.
    fn main(&self, words: &[OsString]) -> ExitCode;
}

impl<R: Default> Entry for Verb<R> {
    fn about(&self) -> &About {
        &self.about
    }

    fn each_flag(&self, see: &mut dyn FnMut(&'static str, Place, &'static Face)) {
        for (g, group) in self.groups.iter().enumerate() {
            group.flags.iter().enumerate().for_each(|(f, flag)| see(group.heading, (g, f), &flag.face));
        }
    }

    fn help(&self) -> String {
        help::of(self)
    }

    fn main(&self, words: &[OsString]) -> ExitCode {
        let mut request = R::default();
        let read = parse::words(self, words, &mut |(group, flag), value| {
            self.groups[group].flags[flag].apply(&mut request, value)
        });
        let done = match read {
            Ok(Some(words)) => self.about.enter().and_then(|()| (self.act)(request, words)),
            Ok(None) => return help::show(&self.help()),
            Err(misuse) => Err(misuse),
        };
        done.unwrap_or_else(|failure| report::failure(&failure))
    }
}

/// A verb in the table of all. What there is to say stands beside it: to find a verb by its name, no code of any other is
/// run or even paged in, which would cost every start microseconds.
pub(crate) struct Known {
    pub(crate) about: &'static About,
    pub(crate) verb: &'static dyn Entry,
}

/// A verb for the table.
pub(crate) const fn known<R: Default>(verb: &'static Verb<R>) -> Known {
    Known { about: &verb.about, verb }
}

/// A verb that reads its words itself.
pub(crate) struct Foreign {
    pub(crate) about: About,
    pub(crate) help: fn() -> String,
    pub(crate) main: fn(&[OsString]) -> ExitCode,
}

impl Entry for Foreign {
    fn about(&self) -> &About {
        &self.about
    }

    fn each_flag(&self, _: &mut dyn FnMut(&'static str, Place, &'static Face)) {}

    fn help(&self) -> String {
        (self.help)()
    }

    fn main(&self, words: &[OsString]) -> ExitCode {
        (self.main)(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_says_how_many_words_there_may_be() {
        for (operands, counts) in [
            ("", (0, 0)),
            ("IMAGE", (1, 1)),
            ("SOURCE TARGET", (2, 2)),
            ("IMAGE [IMAGE...]", (1, usize::MAX)),
            ("[REPOSITORY[:TAG]]", (0, 1)),
            ("ROOT [COMMAND [ARGUMENT...]]", (1, usize::MAX)),
        ] {
            assert_eq!(About::new("x", operands, "").counts(), counts, "{operands}");
        }
    }
}
