//! Every verb, in the order of the overview; the one place that knows them all.

use crate::completion;
use crate::containers;
use crate::generate;
use crate::help;
use crate::images;
use crate::inspect;
use crate::login;
use crate::networks;
use crate::oci;
use crate::pods;
use crate::report::{Failure, suggestion};
use crate::run;
use crate::system;
use crate::verb::{About, Entry, Foreign, Known, known};
use crate::volumes;
use std::ffi::OsString;

/// Every verb, under the heading that it has in the overview.
pub(crate) static ALL: Verbs = &[
    (
        "Containers",
        &[
            known(&run::RUN),
            known(&run::CREATE),
            known(&containers::START),
            known(&containers::RESTART),
            known(&containers::ATTACH),
            known(&containers::EXEC),
            known(&containers::PS),
            known(&containers::LOGS),
            known(&inspect::INSPECT),
            known(&inspect::OF_CONTAINER),
            known(&containers::STOP),
            known(&containers::KILL),
            known(&containers::WAIT),
            known(&containers::PAUSE),
            known(&containers::UNPAUSE),
            known(&containers::TOP),
            known(&containers::RENAME),
            known(&containers::CP),
            known(&containers::UPDATE),
            known(&containers::HEALTHCHECK),
            known(&containers::PORT),
            known(&containers::DIFF),
            known(&containers::MOUNT),
            known(&containers::UNMOUNT),
            known(&containers::STATS),
            known(&containers::EXPORT),
            known(&containers::COMMIT),
            known(&containers::RM),
            known(&containers::PRUNE),
        ],
    ),
    (
        "Pods",
        &[
            known(&pods::CREATE),
            known(&pods::PS),
            known(&pods::INSPECT),
            known(&pods::EXISTS),
            known(&pods::LOGS),
            known(&pods::TOP),
            known(&pods::STATS),
            known(&pods::START),
            known(&pods::STOP),
            known(&pods::RESTART),
            known(&pods::KILL),
            known(&pods::PAUSE),
            known(&pods::UNPAUSE),
            known(&pods::RM),
            known(&pods::PRUNE),
        ],
    ),
    (
        "Images",
        &[
            known(&images::PULL),
            known(&images::PUSH),
            known(&images::IMAGES),
            known(&images::RMI),
            known(&images::TAG),
            known(&inspect::OF_IMAGE),
            known(&images::HISTORY),
            known(&images::SAVE),
            known(&images::LOAD),
            known(&images::IMPORT),
            known(&images::COPY),
            known(&images::PRUNE),
        ],
    ),
    (
        "Volumes",
        &[
            known(&volumes::CREATE),
            known(&volumes::LS),
            known(&volumes::INSPECT),
            known(&volumes::RM),
            known(&volumes::PRUNE),
        ],
    ),
    (
        "Networks",
        &[
            known(&networks::CREATE),
            known(&networks::LS),
            known(&networks::INSPECT),
            known(&networks::CONNECT),
            known(&networks::DISCONNECT),
            known(&networks::RM),
            known(&networks::PRUNE),
            known(&networks::EXISTS),
            known(&networks::RELOAD),
            known(&networks::DOCTOR),
        ],
    ),
    ("Registries", &[known(&login::LOGIN), known(&login::LOGOUT)]),
    (
        "This machine",
        &[
            known(&system::EVENTS),
            known(&system::UNSHARE),
            known(&system::INFO),
            known(&images::DF),
            known(&images::CHECK),
            known(&images::SYSTEM_PRUNE),
            known(&system::BOOT),
        ],
    ),
    (
        "The tool itself",
        &[
            Known { about: &RUNTIME.about, verb: &RUNTIME },
            known(&help::HELP),
            known(&completion::COMPLETION),
            known(&generate::SYSTEMD),
            known(&generate::MAN),
            known(&system::VERSION),
        ],
    ),
];

/// The words that a verb's name of two words may begin with, with what the overview says of each.
pub(crate) const NOUNS: &[(&str, &str)] = &[
    ("container", "What can be done with containers"),
    ("generate", "What other programs read"),
    ("healthcheck", "How containers are"),
    ("image", "What can be done with images"),
    ("network", "Networks"),
    ("pod", "Pods"),
    ("system", "What can be done with all there is"),
    ("volume", "What can be done with volumes"),
];

static RUNTIME: Foreign = Foreign {
    about: About::new("runtime", "VERB ...", "Act as an OCI runtime, as `mycontainer-runtime` does"),
    help: oci::overview,
    main: oci::main,
};

/// What words ask for.
pub(crate) enum Asked {
    /// A verb; the words from this number on are its own.
    Verb(&'static dyn Entry, usize),
    /// Only a noun: what can be done with it.
    Noun(&'static str),
}

/// Finds the verb that the words begin with: one of them, or a noun and a second.
pub(crate) fn find(words: &[OsString]) -> Result<Asked, Failure> {
    find_in(ALL, NOUNS, words)
}

/// Verbs under headings.
type Verbs = &'static [(&'static str, &'static [Known])];
type Nouns = &'static [(&'static str, &'static str)];

fn find_in(verbs: Verbs, nouns: Nouns, words: &[OsString]) -> Result<Asked, Failure> {
    let named = |name: &str| named_in(verbs, name);
    let word = |n: usize| words.get(n).map(|word| word.to_string_lossy()).unwrap_or_default();
    let first = word(0);
    if first == completion::COMPLETE.about.name {
        return Ok(Asked::Verb(&completion::COMPLETE, 1));
    }
    let Some((noun, _)) = nouns.iter().find(|(noun, _)| *noun == first) else {
        return named(&first).map(|verb| Asked::Verb(verb, 1)).ok_or_else(|| unknown(verbs, nouns, &first, ""));
    };
    let second = word(1);
    match second.as_ref() {
        "" | "--help" | "-h" => Ok(Asked::Noun(noun)),
        second => named(&format!("{noun} {second}"))
            .map(|verb| Asked::Verb(verb, 2))
            .ok_or_else(|| unknown(verbs, nouns, second, &format!("{noun} "))),
    }
}

fn named_in(verbs: Verbs, name: &str) -> Option<&'static dyn Entry> {
    let mut all = verbs.iter().flat_map(|(_, verbs)| *verbs);
    all.find(|known| known.about.name == name || known.about.also.contains(&name)).map(|known| known.verb)
}

/// Every verb.
pub(crate) fn each() -> impl Iterator<Item = &'static dyn Entry> {
    each_in(ALL)
}

fn each_in(verbs: Verbs) -> impl Iterator<Item = &'static dyn Entry> {
    verbs.iter().flat_map(|(_, verbs)| verbs.iter().map(|known| known.verb))
}

/// Every name of every verb.
pub(crate) fn names() -> impl Iterator<Item = (&'static str, &'static dyn Entry)> {
    names_in(ALL)
}

fn names_in(verbs: Verbs) -> impl Iterator<Item = (&'static str, &'static dyn Entry)> {
    each_in(verbs).flat_map(|verb| {
        let about = verb.about();
        std::iter::once(about.name).chain(about.also.iter().copied()).map(move |name| (name, verb))
    })
}

/// No verb has this name, which was typed after `noun` and a blank, or alone.
fn unknown(verbs: Verbs, nouns: Nouns, typed: &str, noun: &str) -> Failure {
    let nouns = nouns.iter().map(|(noun, _)| *noun).filter(|_| noun.is_empty());
    let known =
        names_in(verbs).filter_map(|(name, _)| name.strip_prefix(noun)).filter(|name| !name.contains(' ')).chain(nouns);
    let hint = suggestion(typed, known, noun)
        .unwrap_or_else(|| format!("see `mycontainer help {noun}").trim_end().to_owned() + "`");
    Failure::misuse(format!("there is no verb {:?}", format!("{noun}{typed}")), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::COMMON;
    use crate::verb::Verb;

    static RMI: Verb<()> = Verb {
        about: About { also: &["image rm", "image remove"], ..About::new("rmi", "IMAGE [IMAGE...]", "") },
        groups: &[],
        act: |(), _| Ok(std::process::ExitCode::SUCCESS),
    };
    static PRUNE: Verb<()> = Verb {
        about: About::new("image prune", "", ""),
        groups: &[],
        act: |(), _| Ok(std::process::ExitCode::SUCCESS),
    };

    static VERBS: Verbs = &[("Images", &[known(&RMI), known(&PRUNE)])];

    #[test]
    fn a_verb_has_a_word_or_a_noun_and_a_word() {
        let find = |line: &str| {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            find_in(VERBS, &[("image", "Images")], &words)
        };
        for (line, expected, taken) in [
            ("rmi a b", "rmi", 1),
            ("image rm a", "rmi", 2),
            ("image remove", "rmi", 2),
            ("image prune -f", "image prune", 2),
        ] {
            match find(line) {
                Ok(Asked::Verb(verb, words)) => assert_eq!((verb.about().name, words), (expected, taken), "{line}"),
                _ => panic!("{line}"),
            }
        }
        for line in ["image", "image --help", "image -h"] {
            assert!(matches!(find(line), Ok(Asked::Noun("image"))), "{line}");
        }
        for (line, said) in [
            ("image purne", "there is no verb \"image purne\"\n  hint: did you mean image prune?"),
            ("image xyzzy", "there is no verb \"image xyzzy\"\n  hint: see `mycontainer help image`"),
            ("imgae rm", "there is no verb \"imgae\"\n  hint: did you mean image?"),
            ("prune", "there is no verb \"prune\"\n  hint: see `mycontainer help`"),
        ] {
            assert_eq!(find(line).err().map(|failure| failure.to_string()).as_deref(), Some(said), "{line}");
        }
    }

    #[test]
    fn names_are_unique_and_nouns_are_declared() {
        let mut seen = std::collections::HashSet::new();
        for (name, _) in names() {
            assert!(seen.insert(name), "{name}");
            match name.split_once(' ') {
                Some((noun, verb)) => {
                    assert!(NOUNS.iter().any(|(known, _)| *known == noun) && !verb.contains(' '), "{name}");
                }
                None => assert!(!NOUNS.iter().any(|(noun, _)| *noun == name), "{name} is a noun"),
            }
        }
        for (noun, _) in NOUNS {
            assert!(names().any(|(name, _)| name.starts_with(&format!("{noun} "))), "{noun} has no verb");
        }
    }

    #[test]
    fn names_and_letters_of_flags_are_unique() {
        for verb in each() {
            let name = verb.about().name;
            let mut seen = std::collections::HashSet::new();
            verb.each_flag(&mut |_, _, face| {
                assert!(COMMON.iter().all(|common| common.long != face.long), "{name} --{}", face.long);
                for long in std::iter::once(&face.long).chain(face.also) {
                    assert!(seen.insert(format!("--{long}")), "{name} --{long}");
                }
                assert!(face.short.is_none_or(|short| seen.insert(format!("-{short}"))), "{name} -{:?}", face.short);
            });
        }
    }
}
