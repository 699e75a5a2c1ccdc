//! `help`: an overview, or the flags of a verb, made from the same data as the parser.

use crate::parse::{COMMON, COMMON_HEADING};
use crate::report::Failure;
use crate::verb::{About, Entry, Face, Verb};
use crate::verbs::{self, Asked, NOUNS};
use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;

/// `mycontainer help [VERB]`.
pub(crate) static HELP: Verb<()> = Verb {
    about: About {
        also: &["--help", "-h"],
        ..About::new("help", "[VERB...]", "Show this overview, or the flags of a verb")
    },
    groups: &[],
    act: |(), words| main(&words),
};

fn main(words: &[String]) -> Result<ExitCode, Failure> {
    if words.is_empty() {
        return Ok(show(&overview()));
    }
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    Ok(show(&match verbs::find(&words)? {
        Asked::Verb(verb, _) => verb.help(),
        Asked::Noun(noun) => of_noun(noun),
    }))
}

/// Prints, and does not mind a reader that has seen enough.
pub(crate) fn show(text: &str) -> ExitCode {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// No line of a help is longer.
const WIDEST: usize = 110;

/// The verbs of one word, by what they are about, then the nouns.
pub(crate) fn overview() -> String {
    let mut text = String::from(
        "mycontainer runs containers on Linux: one static binary, no daemon.\n\n\
         usage: mycontainer VERB [FLAGS] ...\n\n",
    );
    for (heading, group) in verbs::ALL {
        let mut heading = Some(heading);
        for about in group.iter().map(|known| known.about).filter(|about| !about.name.contains(' ')) {
            if let Some(heading) = heading.take() {
                let _ = writeln!(text, "{heading}:");
            }
            let _ = writeln!(text, "  {:<10} {}", about.name, about.summary);
        }
        if heading.is_none() {
            text.push('\n');
        }
    }
    text.push_str("More verbs have two words:\n");
    for (noun, summary) in NOUNS {
        let seconds: Vec<&str> =
            verbs::each().filter_map(|verb| verb.about().name.strip_prefix(noun)?.strip_prefix(' ')).collect();
        let mut line = format!("  {noun:<10} {summary}: ");
        for (nth, second) in seconds.iter().enumerate() {
            let more = if nth + 1 < seconds.len() { ", " } else { "" };
            if line.len() + second.len() + more.len() > WIDEST {
                let _ = writeln!(text, "{}", line.trim_end());
                line = " ".repeat(13);
            }
            line += &format!("{second}{more}");
        }
        let _ = writeln!(text, "{line}");
    }
    text + "\n`mycontainer help run` shows the flags of run. Try: sudo mycontainer run -it host\n"
}

/// What can be done with a noun.
pub(crate) fn of_noun(noun: &str) -> String {
    let mut text = format!("usage: mycontainer {noun} VERB [FLAGS] ...\n\n");
    for (name, verb) in verbs::names() {
        if let Some(second) = name.strip_prefix(noun).and_then(|rest| rest.strip_prefix(' ')) {
            let _ = writeln!(text, "  {second:<10} {}", verb.about().summary);
        }
    }
    let _ = writeln!(text, "\n`mycontainer help {noun} VERB` shows the flags of a verb.");
    text
}

/// The help of a verb.
pub(crate) fn of(verb: &dyn Entry) -> String {
    let about = verb.about();
    let operands = if about.operands.is_empty() { String::new() } else { format!(" {}", about.operands) };
    let mut text = format!("usage: mycontainer {} [FLAGS]{operands}\n", about.name);
    let also: Vec<&str> = about.also.iter().copied().filter(|name| !name.starts_with('-')).collect();
    if !also.is_empty() {
        let _ = writeln!(text, "also: mycontainer {}", also.join(", mycontainer "));
    }
    let _ = write!(text, "\n{}\n", if about.intro.is_empty() { about.summary } else { about.intro });
    let mut last = "";
    each_flag(verb, &mut |heading, spelled, face| {
        if heading != last {
            let _ = writeln!(text, "\n{heading}:");
            last = heading;
        }
        let _ = writeln!(text, "  {spelled:<32} {}", face.help);
    });
    if !about.outro.is_empty() {
        let _ = write!(text, "\n{}\n", about.outro);
    }
    text
}

/// The verb's own flags and those of all verbs, with heading and spelling.
pub(crate) fn each_flag(verb: &dyn Entry, see: &mut dyn FnMut(&'static str, &str, &'static Face)) {
    let mut letters = Vec::new();
    verb.each_flag(&mut |heading, _, face| {
        letters.extend(face.short);
        see(heading, &spelled(face, face.short), face);
    });
    for face in COMMON {
        // A verb's own letter goes before: -h is the host name of run.
        let short = face.short.filter(|letter| !letters.contains(letter));
        see(COMMON_HEADING, &spelled(face, short), face);
    }
}

fn spelled(face: &Face, short: Option<char>) -> String {
    let short = short.map_or("    ".into(), |letter| format!("-{letter}, "));
    let value = match face.value {
        Some(name) if name.starts_with('[') => format!("[={}]", &name[1..name.len() - 1]),
        Some(name) => format!(" {name}"),
        None => String::new(),
    };
    format!("{short}--{}{value}", face.long)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/flags.md, made from the table.
    fn page() -> String {
        let mut text = String::from(
            "# Verbs and their flags\n\n\
             Names and meanings are Docker's, so that fingers need not relearn; `--ephemeral` and `--explain` are our own.\n\
             This page is made from the table that the parser reads (`UPDATE_DOCS=1 cargo test -p mycontainer`).\n",
        );
        for verb in verbs::each().filter(|verb| verb.about().name != "runtime") {
            let about = verb.about();
            let also: Vec<String> = about.also.iter().map(|name| format!("`{name}`")).collect();
            let also = if also.is_empty() { String::new() } else { format!(" Also: {}.", also.join(", ")) };
            let usage = format!("{} [FLAGS] {}", about.name, about.operands);
            let _ =
                write!(text, "\n## {}\n\n`mycontainer {}`\n\n{}.{also}\n", about.name, usage.trim_end(), about.summary);
            let mut last = "";
            each_flag(verb, &mut |heading, spelled, face| {
                // These two are told once, at the end.
                if heading == COMMON_HEADING {
                    return;
                }
                if heading != last {
                    let _ = write!(text, "\n| {heading} | |\n|---|---|\n");
                    last = heading;
                }
                let _ = writeln!(text, "| `{}` | {} |", spelled.trim(), face.help);
            });
        }
        let _ = write!(text, "\n## Every verb\n\n| {COMMON_HEADING} | |\n|---|---|\n");
        for face in COMMON {
            let _ = writeln!(text, "| `{}` | {} |", spelled(face, face.short).trim(), face.help);
        }
        text
    }

    #[test]
    fn the_page_of_flags_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/flags.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(there, page(), "run UPDATE_DOCS=1 cargo test -p mycontainer");
    }

    #[test]
    fn every_flag_is_in_the_help_and_fits() {
        for verb in verbs::each() {
            let text = verb.help();
            verb.each_flag(&mut |_, _, face| assert!(text.contains(&format!("--{}", face.long)), "--{}", face.long));
            assert!(text.lines().all(|line| line.len() <= 110), "{text}");
        }
        for text in NOUNS.iter().map(|(noun, _)| of_noun(noun)).chain([overview()]) {
            assert!(text.lines().all(|line| line.len() <= 110), "{text}");
        }
    }
}
