//! `completion`: what a shell offers for the word that is being typed.
//!
//! The shell's part is a few lines that it reads at its start. At each TAB they ask this very binary (`__complete`), which
//! knows its verbs and flags from the table that its parser reads, and the names of what is here. So nothing that is
//! offered can be out of date, and a start of a millisecond is not felt.

use crate::help::{each_flag, show};
use crate::report::Failure;
use crate::verb::{About, Entry, Face, Flags, Foreign, Verb};
use crate::verbs::{self, Asked, NOUNS};
use std::ffi::OsString;
use std::fmt::Write;

const BASH: &str = r#"# bash completion for mycontainer; load it with: source <(mycontainer completion bash)
_mycontainer() {
    local line=${COMP_LINE:0:COMP_POINT} word=${COMP_WORDS[COMP_CWORD]} candidate
    COMPREPLY=()
    # What is before a colon is a word of its own for bash, and not offered once more.
    local typed=${line##*[[:space:]]} before=
    case $typed in *:*) [[ $COMP_WORDBREAKS == *:* ]] && before=${typed%:*}: ;; esac
    while IFS=$'\t' read -r candidate _; do
        COMPREPLY+=("${candidate#"$before"}")
    done < <("${COMP_WORDS[0]}" __complete "$line" 2>/dev/null)
}
complete -o default -F _mycontainer mycontainer
"#;

const ZSH: &str = r#"#compdef mycontainer
# zsh completion for mycontainer; load it with: source <(mycontainer completion zsh)
_mycontainer() {
    local line=${(j: :)words[1,CURRENT]} candidate about
    local -a candidates
    while IFS=$'\t' read -r candidate about; do
        candidates+=("${candidate//:/\\:}:$about")
    done < <("${words[1]}" __complete "$line" 2>/dev/null)
    if (( $#candidates )); then _describe mycontainer candidates; else _files; fi
}
compdef _mycontainer mycontainer
"#;

const FISH: &str = r#"# fish completion for mycontainer; load it with: mycontainer completion fish | source
complete -c mycontainer -a '(mycontainer __complete (commandline -cp) 2>/dev/null)'
"#;

/// `mycontainer completion`.
pub(crate) static COMPLETION: Verb<()> = Verb {
    about: About {
        intro: "Prints what a shell needs to complete verbs, flags, and the names of what is here:\n  \
                bash   source <(mycontainer completion bash)\n  \
                zsh    source <(mycontainer completion zsh)\n  \
                fish   mycontainer completion fish | source",
        example: "completion bash",
        is_apart: true,
        ..About::new("completion", "SHELL", "Complete words in bash, zsh or fish")
    },
    groups: &[],
    act: |(), words| match words[0].as_str() {
        "bash" => Ok(show(BASH)),
        "zsh" => Ok(show(ZSH)),
        "fish" => Ok(show(FISH)),
        other => {
            Err(Failure::misuse(format!("there is no completion for {other:?}"), "it is one of bash, zsh and fish"))
        }
    },
};

/// What the scripts call: not a verb for people.
pub(crate) static COMPLETE: Foreign = Foreign {
    about: About::new("__complete", "LINE", "Print what the last word of a line can become"),
    help: || "usage: mycontainer __complete LINE\n".into(),
    main: |words| {
        let line = words.first().map(|line| line.to_string_lossy().into_owned()).unwrap_or_default();
        let mut text = String::new();
        for (word, about) in candidates(&line, &enter) {
            let _ = writeln!(text, "{word}\t{about}");
        }
        show(&text)
    },
};

type Candidates = Vec<(String, &'static str)>;

/// Goes where an ordinary user's containers are, before their names are asked for. Where that cannot be there are none to
/// offer, and this is no place to say why.
fn enter() {
    let _ = engine::enter_user_namespace(&mut |_| ());
}

/// What the last word of a line can become, with what there is to say about it. Nothing leaves it to the shell, which
/// offers files.
fn candidates(line: &str, enter: &dyn Fn()) -> Candidates {
    let mut words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let typed = if line.ends_with(char::is_whitespace) { "" } else { words.pop().unwrap_or_default() };
    let before: Vec<OsString> = words.iter().map(OsString::from).collect();
    let mut all = match verbs::find(&before) {
        _ if words.is_empty() => first_words(),
        Ok(Asked::Noun(noun)) => second_words(noun),
        Ok(Asked::Verb(verb, own)) => of_verb(verb, &words[own..], typed, enter),
        Err(_) => Vec::new(),
    };
    all.retain(|(word, _)| word.starts_with(typed));
    all
}

fn first_words() -> Candidates {
    let verbs = verbs::each().map(Entry::about).filter(|about| !about.name.contains(' '));
    let verbs = verbs.map(|about| (about.name.to_owned(), about.summary));
    verbs.chain(NOUNS.iter().map(|(noun, about)| ((*noun).to_owned(), *about))).collect()
}

fn second_words(noun: &str) -> Candidates {
    let second = |name: &'static str| name.strip_prefix(noun).and_then(|rest| rest.strip_prefix(' '));
    verbs::names().filter_map(|(name, verb)| Some((second(name)?.to_owned(), verb.about().summary))).collect()
}

/// After a verb: a flag, the value of one, or what the usage names.
fn of_verb(verb: &dyn Entry, words: &[&str], typed: &str, enter: &dyn Fn()) -> Candidates {
    let mut faces: Vec<&'static Face> = Vec::new();
    each_flag(verb, &mut |_, _, face| faces.push(face));
    let takes_next = |word: &str| {
        let by_name = |name: &str| faces.iter().copied().find(|face| face.long == name || face.also.contains(&name));
        let face = match (word.strip_prefix("--"), word.strip_prefix('-')) {
            (Some(name), _) => by_name(name),
            // The last letter of several: -it.
            (None, Some(letters)) => {
                faces.iter().copied().find(|face| face.short.is_some() && face.short == letters.chars().last())
            }
            (None, None) => None,
        };
        face.filter(|face| face.value.is_some_and(|value| !value.starts_with('[')))
    };
    let (mut operands, mut value_of, mut is_over) = (0, None, false);
    for word in words {
        match (std::mem::take(&mut value_of), word) {
            (Some(_), _) => {}
            (None, word) if word.starts_with('-') && !is_over => {
                is_over = *word == "--";
                value_of = takes_next(word);
            }
            (None, _) => {
                operands += 1;
                is_over |= verb.about().flags == Flags::First;
            }
        }
    }
    if let Some(face) = value_of {
        return match face.value {
            Some("NETWORK") => named(enter, networks, "network"),
            _ => Vec::new(),
        };
    }
    if typed.starts_with('-') && !is_over {
        return faces.iter().map(|face| (format!("--{}", face.long), face.help)).collect();
    }
    operand(verb.about(), operands, enter)
}

/// What the nth word beside the flags names.
fn operand(about: &About, nth: usize, enter: &dyn Fn()) -> Candidates {
    let mut kinds = about.operands.split_whitespace().map(|word| word.trim_matches(['[', ']', '.']));
    let last = kinds.clone().next_back().filter(|_| about.operands.contains("..."));
    match kinds.nth(nth).or(last) {
        Some("CONTAINER") => named(enter, engine::containers::names, "container"),
        Some("IMAGE" | "SOURCE") => named(enter, images, "image"),
        Some("NETWORK") => named(enter, networks, "network"),
        Some("VOLUME") => named(enter, volumes, "volume"),
        Some("POD") => named(enter, || engine::pods::named().into_values().collect(), "pod"),
        Some("ROOT") => named(enter, || [images(), vec!["host".into()]].concat(), "root"),
        Some("SHELL") => ["bash", "zsh", "fish"].map(|name| (name.to_owned(), "shell")).to_vec(),
        _ => Vec::new(),
    }
}

fn named(enter: &dyn Fn(), names: impl FnOnce() -> Vec<String>, what: &'static str) -> Candidates {
    enter();
    names().into_iter().map(|name| (name, what)).collect()
}

/// Names as people type them. What cannot be read is not offered.
fn images() -> Vec<String> {
    let list = engine::images::existing().ok().flatten().and_then(|store| store.list().ok());
    let names = list.into_iter().flat_map(|(images, _)| images).flat_map(|image| image.names);
    names.map(|name| engine::images::reference(&name).map_or(name, |reference| reference.familiar())).collect()
}

fn volumes() -> Vec<String> {
    engine::volumes::list()
        .map(|(list, _)| list.into_iter().map(|volume| volume.known.name).collect())
        .unwrap_or_default()
}

fn networks() -> Vec<String> {
    engine::networks::list()
        .map(|(list, _)| list.into_iter().map(|network| network.config.name).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(line: &str) -> Vec<String> {
        candidates(line, &|| ()).into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn what_is_offered() {
        for (line, expected) in [
            ("mycontainer ru", &["run", "runtime"][..]),
            ("mycontainer vol", &["volume"]),
            ("mycontainer volume in", &["inspect"]),
            ("mycontainer image r", &["rm", "remove"]),
            ("mycontainer nonsense ", &[]),
            ("mycontainer run --ephem", &["--ephemeral"]),
            (
                "mycontainer run -it --mem",
                &["--memory", "--memory-swap", "--memory-reservation", "--memory-swappiness"],
            ),
            // The value of a flag, a command's own flags, and what follows `--`, are the shell's.
            ("mycontainer run --memory ", &[]),
            ("mycontainer run -itw ", &[]),
            ("mycontainer run alpine --", &[]),
            ("mycontainer rmi -- --", &[]),
            ("mycontainer completion f", &["fish"]),
            ("mycontainer completion fish ", &[]),
            ("mycontainer run --rm ho", &["host"]),
        ] {
            let offered: Vec<String> = offered(line);
            assert_eq!(offered, expected, "{line}");
        }
        assert!(offered("mycontainer ").len() > 20 && offered("mycontainer volume ").len() >= 5);
    }
}
