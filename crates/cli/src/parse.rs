//! Words become a request, by a verb's flags.

use crate::report::{Failure, suggestion};
use crate::run::elsewhere;
use crate::verb::{About, Entry, Face, Flags, Newest, Place};
use engine::ParseError;
use lexopt::{Arg, Parser};
use std::ffi::OsString;
use step::Format;

/// The flags that every verb has.
pub(crate) const COMMON: &[Face] = &[EXPLAIN, HELP];
/// Their heading.
pub(crate) const COMMON_HEADING: &str = "The tool itself";

const EXPLAIN: Face = Face {
    long: "explain",
    also: &[],
    short: None,
    value: Some("[FORMAT]"),
    help: "Tell every step on standard error; =json for programs",
    newest: None,
};
const HELP: Face = Face { long: "help", also: &[], short: Some('h'), value: None, help: "Show this", newest: None };

/// What the flags do: called with each, in order.
pub(crate) type Take<'a> = &'a mut dyn FnMut(Place, &str) -> Result<(), ParseError>;

/// A flag that was found: the verb's own, or one of all.
#[derive(Clone, Copy)]
enum Found {
    Own(Place, &'static Face),
    Common(&'static Face),
}

/// Reads the words after a verb: hands the flags to `take` and returns the others. None if help was asked for.
pub(crate) fn words(verb: &dyn Entry, words: &[OsString], take: Take<'_>) -> Result<Option<Vec<String>>, Failure> {
    let Some(Read { operands, explain }) = again(verb, words, take)? else { return Ok(None) };
    if let Some(format) = explain {
        match rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3) {
            Ok(stderr) => step::explain(format, stderr),
            Err(errno) => {
                return Err(Failure::misuse(format!("cannot explain on standard error: {errno}"), "open it"));
            }
        }
    }
    Ok(Some(operands))
}

/// What words say beside the flags of their verb.
pub(crate) struct Read {
    pub(crate) operands: Vec<String>,
    explain: Option<Format>,
}

/// As [`words`], of words that another command was given: nothing is explained.
pub(crate) fn again(verb: &dyn Entry, words: &[OsString], take: Take<'_>) -> Result<Option<Read>, Failure> {
    let reader = Reader { verb, about: verb.about() };
    let mut operands = Vec::new();
    let (mut explain, mut newest) = (None, None);
    let mut parser = Parser::from_args(words.iter().cloned());
    while let Some(arg) = parser.next().map_err(|e| reader.misuse(e.to_string()))? {
        let is_long = matches!(arg, Arg::Long(_));
        let (shown, found) = match arg {
            Arg::Value(word) => {
                operands.push(reader.text(word)?);
                if reader.about.flags == Flags::First {
                    let rest = parser.raw_args().map_err(|e| reader.misuse(e.to_string()))?;
                    for word in rest {
                        operands.push(reader.text(word)?);
                    }
                }
                continue;
            }
            Arg::Long(name) => (format!("--{name}"), reader.find_long(name)?),
            Arg::Short(letter) => (format!("-{letter}"), reader.find_short(letter)?),
        };
        let (Found::Own(_, face) | Found::Common(face)) = found;
        // What follows a letter without a value is the next letter: -it.
        let is_alone = !is_long && face.value.is_none();
        let value = if is_alone { "true".to_owned() } else { reader.value_of(&mut parser, face, &shown)? };
        match found {
            Found::Own(_, Face { newest: Some(of), .. }) => newest = Some(*of).filter(|_| value == "true"),
            Found::Own(place, _) => take(place, &value).map_err(|e| reader.misuse(format!("{shown} {e}")))?,
            Found::Common(face) if face.long == HELP.long && value == "true" => return Ok(None),
            Found::Common(face) if face.long == EXPLAIN.long => {
                explain = Some(format(&value).map_err(|e| reader.misuse(format!("{shown} {e}")))?);
            }
            Found::Common(_) => {}
        }
    }
    if let Some(of) = newest {
        reader.name_newest(of, &mut operands)?;
    }
    reader.count(&operands)?;
    Ok(Some(Read { operands, explain }))
}

fn format(value: &str) -> Result<Format, ParseError> {
    match value {
        "" | "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err(ParseError::new(value, "the formats are text and json")),
    }
}

struct Reader<'a> {
    verb: &'a dyn Entry,
    about: &'a About,
}

impl Reader<'_> {
    /// A flag's value: the next word, or what follows `=`; a switch takes only `=true` and `=false`.
    fn value_of(&self, parser: &mut Parser, face: &Face, shown: &str) -> Result<String, Failure> {
        match face.value {
            Some(name) if !name.starts_with('[') => {
                let needs = |_| self.misuse(format!("{shown} needs a value: {name}"));
                parser.value().map_err(needs).and_then(|value| self.text(value))
            }
            Some(_) => parser.optional_value().map_or(Ok(String::new()), |value| self.text(value)),
            None => match parser.optional_value() {
                None => Ok("true".to_owned()),
                Some(value) if value == "true" || value == "false" => self.text(value),
                Some(value) => Err(self.misuse(format!("{shown} is a switch and has no value {value:?}"))),
            },
        }
    }

    fn find(&self, is_it: &dyn Fn(&Face) -> bool) -> Option<Found> {
        let mut found = None;
        self.verb.each_flag(&mut |_, place, face| {
            if found.is_none() && is_it(face) {
                found = Some(Found::Own(place, face));
            }
        });
        found.or_else(|| COMMON.iter().find(|face| is_it(face)).map(Found::Common))
    }

    fn find_long(&self, name: &str) -> Result<Found, Failure> {
        self.find(&|face| face.long == name || face.also.contains(&name)).ok_or_else(|| {
            let mut known: Vec<&str> = COMMON.iter().map(|face| face.long).collect();
            self.verb.each_flag(&mut |_, _, face| known.push(face.long));
            let what = format!("{} has no flag --{name}", self.about.name);
            if let Some(failure) = self.not_yet(&what, &|face| face.long == name || face.also.contains(&name)) {
                return failure;
            }
            if let Some((why, instead)) = elsewhere::told(self.about.name, name) {
                return Failure::misuse(format!("{what}: {why}"), instead);
            }
            match suggestion(name, known.into_iter(), "--") {
                Some(hint) => Failure::misuse(what, hint),
                None => self.misuse(what),
            }
        })
    }

    fn find_short(&self, letter: char) -> Result<Found, Failure> {
        self.find(&|face| face.short == Some(letter)).ok_or_else(|| {
            let what = format!("{} has no flag -{letter}", self.about.name);
            self.not_yet(&what, &|face| face.short == Some(letter)).unwrap_or_else(|| self.misuse(what))
        })
    }

    /// A flag of the cousin's: it would do nothing here.
    fn not_yet(&self, what: &str, is_it: &dyn Fn(&Face) -> bool) -> Option<Failure> {
        let cousin = self.about.cousin?;
        let mut is_cousins = false;
        cousin.each_flag(&mut |_, _, face| is_cousins |= is_it(face));
        let why = format!("{what} as yet: nothing here would honour it");
        is_cousins.then(|| Failure::misuse(why, format!("`mycontainer {}` has it", cousin.about().name)))
    }

    fn count(&self, operands: &[String]) -> Result<(), Failure> {
        let About { name, operands: usage, example, .. } = self.about;
        let (least, most) = self.about.counts();
        if operands.len() < least {
            let hint = match *example {
                "" => self.see(),
                example => format!("try `mycontainer {example}`, or {}", self.see()),
            };
            return Err(Failure::misuse(format!("{name} needs {usage}"), hint));
        }
        match operands.get(most) {
            None => Ok(()),
            Some(more) if most == 0 => Err(self.misuse(format!("{name} takes no words, and {more:?} is one"))),
            Some(more) => Err(self.misuse(format!("{name} takes {usage}, and {more:?} is one too many"))),
        }
    }

    /// Puts the newest in the place of the first word.
    fn name_newest(&self, of: Newest, operands: &mut Vec<String>) -> Result<(), Failure> {
        // An ordinary user's are known inside only.
        self.about.enter()?;
        let (one, found) = match of {
            Newest::Container => ("container", engine::containers::newest()?),
            Newest::Pod => ("pod", engine::pods::newest()?),
        };
        // Of a list it would be one more.
        let is_list = self.about.counts().1 == usize::MAX && self.about.flags != Flags::First;
        if is_list && !operands.is_empty() {
            return Err(self.misuse(format!("--latest is one {one}: name none beside it")));
        }
        let found = found.ok_or_else(|| Failure::new(format!("there is no {one}")))?;
        operands.insert(0, found);
        Ok(())
    }

    fn see(&self) -> String {
        format!("see `mycontainer help {}`", self.about.name)
    }

    fn misuse(&self, what: String) -> Failure {
        Failure::misuse(what, self.see())
    }

    fn text(&self, word: OsString) -> Result<String, Failure> {
        word.into_string().map_err(|word| self.misuse(format!("{:?} is not UTF-8", word.to_string_lossy())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verb::{Group, Verb, also, switch, value};
    use std::process::ExitCode;

    #[derive(Debug, Default)]
    struct Request {
        quiet: bool,
        tags: Vec<String>,
        filter: String,
    }

    const GROUPS: &[Group<Request>] = &[Group {
        heading: "Flags",
        flags: &[
            switch("quiet", Some('q'), "", |r| &mut r.quiet),
            value("tag", Some('t'), "TAG", "", |r, v| {
                r.tags.push(v.into());
                Ok(())
            }),
            also(
                &["where"],
                value("filter", Some('f'), "KEY=VALUE", "", |r, v| {
                    if !v.contains('=') {
                        return Err(ParseError::new(v, "write KEY=VALUE"));
                    }
                    r.filter = v.into();
                    Ok(())
                }),
            ),
        ],
    }];

    fn parse(operands: &'static str, flags: Flags, line: &str) -> Result<Option<(Request, Vec<String>)>, String> {
        let verb = Verb::<Request> {
            about: About { flags, example: "image try this", ..About::new("image try", operands, "") },
            groups: GROUPS,
            act: |_, _| Ok(ExitCode::SUCCESS),
        };
        let line: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let mut request = Request::default();
        let read = words(&verb, &line, &mut |(g, f), value| GROUPS[g].flags[f].apply(&mut request, value));
        read.map(|words| words.map(|words| (request, words))).map_err(|failure| failure.to_string())
    }

    #[test]
    fn flags_stand_anywhere_or_first() {
        let any = "A [B...]";
        for line in ["-qt1 --tag=2 a b", "a -q b -t 1 --tag 2", "-q -t1 a --tag 2 -- b"] {
            let (request, words) = parse(any, Flags::Anywhere, line).unwrap().unwrap();
            assert!(request.quiet, "{line}");
            assert_eq!((words, request.tags), (vec!["a".into(), "b".into()], vec!["1".into(), "2".into()]), "{line}");
        }
        let (_, words) = parse(any, Flags::Anywhere, "- -- -q --tag").unwrap().unwrap();
        assert_eq!(words, ["-", "-q", "--tag"]);
        for (line, expected) in
            [("-q a -q --tag", vec!["a", "-q", "--tag"]), ("-q a -- b", vec!["a", "--", "b"]), ("-q -- a", vec!["a"])]
        {
            let (request, words) = parse(any, Flags::First, line).unwrap().unwrap();
            assert_eq!((words, request.tags.len()), (expected.iter().map(|s| s.to_string()).collect(), 0), "{line}");
        }
    }

    #[test]
    fn switches_take_true_and_false_and_the_last_holds() {
        for (line, quiet) in
            [("-q", true), ("--quiet=true", true), ("--quiet=false", false), ("-q --quiet=false", false)]
        {
            assert_eq!(parse("", Flags::Anywhere, line).unwrap().unwrap().0.quiet, quiet, "{line}");
        }
        assert!(parse("", Flags::Anywhere, "--quiet=maybe").is_err());
    }

    #[test]
    fn another_spelling_is_understood() {
        assert_eq!(parse("", Flags::Anywhere, "--where=a=b").unwrap().unwrap().0.filter, "a=b");
    }

    #[test]
    fn help_is_a_flag_of_every_verb() {
        for line in ["--help", "-h", "-qh", "a --help", "--help --nonsense"] {
            assert!(parse("A B", Flags::Anywhere, line).unwrap().is_none(), "{line}");
        }
        assert!(parse("", Flags::Anywhere, "--help=false").unwrap().is_some());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (operands, line, what) in [
            ("", "--qiet", "image try has no flag --qiet\n  hint: did you mean --quiet?"),
            ("", "--xyzzy", "image try has no flag --xyzzy\n  hint: see `mycontainer help image try`"),
            ("", "-Z", "image try has no flag -Z\n  hint: see `mycontainer help image try`"),
            ("", "--tag", "--tag needs a value: TAG\n  hint: see `mycontainer help image try`"),
            ("", "-f x", "-f \"x\": write KEY=VALUE\n  hint: see `mycontainer help image try`"),
            ("", "a", "image try takes no words, and \"a\" is one\n  hint: see `mycontainer help image try`"),
            (
                "A [B]",
                "",
                "image try needs A [B]\n  hint: try `mycontainer image try this`, or see `mycontainer help image try`",
            ),
            (
                "A [B]",
                "1 2 3",
                "image try takes A [B], and \"3\" is one too many\n  hint: see `mycontainer help image try`",
            ),
        ] {
            assert_eq!(parse(operands, Flags::Anywhere, line).unwrap_err(), what, "{line}");
        }
    }
}
