//! `generate man`: the manual pages, made from the same data as the parser and the help.
//!
//! One page for the tool and one a verb, `mycontainer-image-prune.1`, in the language of man(7). What is text here may hold
//! what is an instruction there: a line that begins with a dot, a backslash, a dash that shall be copied; all of it goes
//! through [`escaped`].

use crate::help::each_flag;
use crate::images::say;
use crate::report::Failure;
use crate::verb::{About, Entry, Verb};
use crate::verbs::{self, ALL};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

/// `mycontainer generate man`.
pub(crate) static MAN: Verb<()> = Verb {
    about: About {
        intro: "Writes the manual pages into DIR, which is made if it is missing: mycontainer.1, and one of each verb, as\n\
                mycontainer-run.1. `make install` puts them where man finds them.",
        example: "generate man /usr/local/share/man/man1",
        is_apart: true,
        ..About::new("generate man", "DIR", "Write the manual pages")
    },
    groups: &[],
    act: |(), words| write(Path::new(&words[0])),
};

fn write(dir: &Path) -> Result<ExitCode, Failure> {
    let failed = |path: &Path, error: std::io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
    std::fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    for (name, text) in pages() {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| failed(&path, error))?;
        say(&path.to_string_lossy());
    }
    Ok(ExitCode::SUCCESS)
}

/// Every page with its file's name.
fn pages() -> impl Iterator<Item = (String, String)> {
    let of_verb = |verb: &'static dyn Entry| (format!("{}.1", title(verb.about())), page(verb));
    std::iter::once(("mycontainer.1".to_owned(), overview())).chain(verbs::each().map(of_verb))
}

/// `mycontainer-image-prune`
fn title(about: &About) -> String {
    format!("mycontainer-{}", about.name.replace(' ', "-"))
}

fn begin(title: &str, summary: &str) -> String {
    let (name, version) = (escaped(title), escaped(env!("CARGO_PKG_VERSION")));
    let capitals = name.to_uppercase();
    format!(
        ".TH \"{capitals}\" 1 \"\" \"mycontainer {version}\" \"mycontainer\"\n.SH NAME\n{name} \\- {}\n",
        escaped(summary)
    )
}

fn overview() -> String {
    let mut text = begin("mycontainer", "run containers on Linux");
    text.push_str(
        ".SH SYNOPSIS\n.B mycontainer\n.I VERB\n[FLAGS] ...\n.SH DESCRIPTION\n\
         One static program that is an engine for containers, an OCI runtime and a client of registries. There is no\n\
         daemon. Names and meanings of verbs and flags are Docker's.\n",
    );
    for (heading, group) in ALL {
        let _ = writeln!(text, ".SH \"{}\"", escaped(&heading.to_uppercase()));
        for about in group.iter().map(|known| known.about) {
            let _ = writeln!(text, ".TP\n.BR {} (1)\n{}", escaped(&title(about)), escaped(about.summary));
        }
    }
    text.push_str(
        ".SH EXIT STATUS\nThe program's own; 125 when mycontainer failed or did not understand its words, 126 when the program\n\
         cannot be executed, 127 when it is not there, 128 and n when it died by signal n. Of verbs that run no program 1\n\
         when they fail.\n\
         .SH FILES\n.TP\n.I /var/lib/mycontainer\nContainers, images, volumes and networks.\n.TP\n.I /run/mycontainer\n\
         What runs, and what has happened, until the next boot.\n",
    );
    text
}

fn page(verb: &dyn Entry) -> String {
    let about = verb.about();
    let mut text = begin(&title(about), about.summary);
    text.push_str(".SH SYNOPSIS\n");
    let also = about.also.iter().copied().filter(|name| !name.starts_with('-'));
    for (n, name) in std::iter::once(about.name).chain(also).enumerate() {
        let line_break = if n > 0 { ".br\n" } else { "" };
        let _ = writeln!(text, "{line_break}.B mycontainer {}\n[FLAGS] {}", escaped(name), escaped(about.operands));
    }
    text.push_str(".SH DESCRIPTION\n");
    let (mut flags, mut last) = (String::new(), "");
    each_flag(verb, &mut |heading, spelled, face| {
        if heading != last {
            let _ = writeln!(flags, ".SH \"{}\"", escaped(&heading.to_uppercase()));
            last = heading;
        }
        let _ = writeln!(flags, ".TP\n{}\n{}", flag(spelled), line(face.help));
    });
    if about.name == "runtime" {
        // It reads its words itself, and says what they are.
        let _ = write!(text, "{}\n.PP\n{}", line(about.summary), as_it_stands(&verb.help()));
        return text;
    }
    text.push_str(&prose(if about.intro.is_empty() { about.summary } else { about.intro }));
    text.push_str(&flags);
    if !about.outro.is_empty() {
        let _ = write!(text, ".SH NOTES\n{}", prose(about.outro));
    }
    if !about.example.is_empty() {
        let _ = write!(text, ".SH EXAMPLE\n{}", as_it_stands(&format!("mycontainer {}", about.example)));
    }
    text + ".SH \"SEE ALSO\"\n.BR mycontainer (1)\n"
}

/// `-m, --memory SIZE`: what is typed as it stands is bold, what stands for something is not.
fn flag(spelled: &str) -> String {
    let of_word = |word: &str| match word.strip_prefix('-') {
        None => format!("\\fI{}\\fR", escaped(word)),
        Some(_) => {
            let name = word.find(['[', ',']).unwrap_or(word.len());
            format!("\\fB{}\\fR{}", escaped(&word[..name]), escaped(&word[name..]))
        }
    };
    spelled.split_whitespace().map(of_word).collect::<Vec<_>>().join(" ")
}

/// Lines that may be filled anew, but for those that begin with a blank: they are a table or an example.
fn prose(text: &str) -> String {
    let (mut roff, mut stands) = (String::new(), false);
    for one in text.lines() {
        let is_table = one.starts_with(' ');
        if is_table != stands {
            roff.push_str(if is_table { ".PP\n.nf\n" } else { ".fi\n.PP\n" });
            stands = is_table;
        }
        roff.push_str(&(line(one) + "\n"));
    }
    if stands {
        roff.push_str(".fi\n");
    }
    roff
}

fn as_it_stands(text: &str) -> String {
    let lines: String = text.lines().map(|one| line(one) + "\n").collect();
    format!(".nf\n{lines}.fi\n")
}

/// A line of text. Nothing at its beginning is an instruction; an empty one is a paragraph's end, which roff has its own
/// word for.
fn line(text: &str) -> String {
    if text.trim().is_empty() {
        return ".PP".to_owned();
    }
    let guard = if text.starts_with(['.', '\'']) { "\\&" } else { "" };
    format!("{guard}{}", escaped(text))
}

/// Text without a meaning for roff. A dash stays one that can be copied, and so do quotes. [groff_char(7)]
fn escaped(text: &str) -> String {
    let mut roff = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => roff.push_str("\\e"),
            '-' => roff.push_str("\\-"),
            '\'' => roff.push_str("\\(aq"),
            '`' => roff.push_str("\\(ga"),
            '^' => roff.push_str("\\(ha"),
            '~' => roff.push_str("\\(ti"),
            '"' => roff.push_str("\\(dq"),
            c => roff.push(c),
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        for (text, expected) in [
            ("a-b", "a\\-b"),
            (".TH x", "\\&.TH x"),
            ("'br", "\\&\\(aqbr"),
            ("C:\\n", "C:\\en"),
            ("'{{.ID}}'", "\\&\\(aq{{.ID}}\\(aq"),
            ("", ".PP"),
        ] {
            assert_eq!(line(text), expected, "{text}");
        }
        assert_eq!(flag("-m, --memory SIZE"), "\\fB\\-m\\fR, \\fB\\-\\-memory\\fR \\fISIZE\\fR");
        assert_eq!(flag("    --explain[=FORMAT]"), "\\fB\\-\\-explain\\fR[=FORMAT]");
        assert_eq!(prose("a\nb\n  c\nd"), "a\nb\n.PP\n.nf\n  c\n.fi\n.PP\nd\n");
    }

    #[test]
    fn every_verb_has_a_page_with_its_flags() {
        let pages: Vec<(String, String)> = pages().collect();
        assert_eq!(pages.len(), verbs::each().count() + 1);
        for verb in verbs::each() {
            let name = format!("{}.1", title(verb.about()));
            let (_, text) = pages.iter().find(|(known, _)| *known == name).expect(&name);
            verb.each_flag(&mut |_, _, face| {
                assert!(text.contains(&escaped(&format!("--{}", face.long))), "{name} --{}", face.long);
            });
            assert!(pages[0].1.contains(&escaped(&title(verb.about()))), "{name}");
        }
    }
}
