//! Words become a [`Request`], by the table in `flags`.

use crate::flags::{ALIASES, Flag, RUN};
use crate::report::suggestion;
use crate::run::Request;
use lexopt::{Arg, Parser};
use std::ffi::OsString;

/// A word that cannot be understood, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misuse {
    pub(crate) what: String,
    pub(crate) hint: String,
}

/// Reads the words after `run`: flags up to ROOT, then the command as it is.
pub(crate) fn run(words: &[OsString]) -> Result<Request, Misuse> {
    let mut request = Request::default();
    let mut parser = Parser::from_args(words.iter().cloned());
    while let Some(arg) = parser.next().map_err(|e| misuse(e.to_string()))? {
        let is_long = matches!(arg, Arg::Long(_));
        let (shown, flag) = match arg {
            Arg::Value(root) => {
                request.options.root = text(root)?;
                let rest = parser.raw_args().map_err(|e| misuse(e.to_string()))?;
                request.options.command = rest.map(text).collect::<Result<_, _>>()?;
                return Ok(request);
            }
            Arg::Long(name) => (format!("--{name}"), find_long(name)?),
            Arg::Short(letter) => (format!("-{letter}"), find_short(letter)?),
        };
        // What follows a letter without a value is the next letter: -it.
        let value = if is_long || flag.value.is_some() { value_of(&mut parser, flag, &shown)? } else { None };
        if let Some("false") = value.as_deref().filter(|_| flag.value.is_none()) {
            continue;
        }
        (flag.apply)(&mut request, value.as_deref().unwrap_or_default())
            .map_err(|error| misuse(format!("{shown} {error}")))?;
    }
    Ok(request)
}

/// A flag's value: the next word, or what follows `=`; a switch takes only `=true` and `=false`.
fn value_of(parser: &mut Parser, flag: &Flag, shown: &str) -> Result<Option<String>, Misuse> {
    match flag.value {
        Some(name) if !name.starts_with('[') => {
            parser.value().map_err(|_| misuse(format!("{shown} needs a value: {name}"))).and_then(text).map(Some)
        }
        Some(_) => parser.optional_value().map(text).transpose(),
        None => match parser.optional_value().map(text).transpose()?.as_deref() {
            None => Ok(None),
            Some(value @ ("true" | "false")) => Ok(Some(value.to_owned())),
            Some(value) => Err(misuse(format!("{shown} is a switch and has no value {value:?}"))),
        },
    }
}

fn find_long(name: &str) -> Result<&'static Flag, Misuse> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    RUN.iter().find(|flag| flag.long == name).ok_or_else(|| Misuse {
        what: format!("run has no flag --{name}"),
        hint: suggestion(name, RUN.iter().map(|flag| flag.long), "--")
            .unwrap_or_else(|| "see `mycontainer help run`".into()),
    })
}

fn find_short(letter: char) -> Result<&'static Flag, Misuse> {
    RUN.iter().find(|flag| flag.short == Some(letter)).ok_or_else(|| misuse(format!("run has no flag -{letter}")))
}

fn misuse(what: String) -> Misuse {
    Misuse { what, hint: "see `mycontainer help run`".into() }
}

fn text(word: OsString) -> Result<String, Misuse> {
    word.into_string().map_err(|word| misuse(format!("{:?} is not UTF-8", word.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Request, Misuse> {
        run(&words.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn flags_end_at_the_root() {
        let request = parse("-it --rm -e A=1 --env=B=2 host ls -l --color").unwrap();
        assert_eq!(request.options.root, "host");
        assert_eq!(request.options.command, ["ls", "-l", "--color"]);
        assert!(request.options.interactive && request.options.tty);
        assert_eq!(request.options.env, ["A=1", "B=2"]);
        assert_eq!(parse("host -- sh").unwrap().options.command, ["--", "sh"]);
        assert_eq!(parse("-- host sh").unwrap().options.root, "host");
    }

    #[test]
    fn switches_take_true_and_false_only() {
        assert!(!parse("--rm --tty=false host").unwrap().options.tty);
        assert!(parse("--tty=true host").unwrap().options.tty);
        assert!(parse("--tty=maybe host").is_err());
    }

    #[test]
    fn a_near_miss_is_suggested() {
        for (typed, meant) in [("--memroy=1m", "--memory"), ("--hostnam x", "--hostname"), ("--capadd X", "--cap-add")]
        {
            let misuse = parse(&format!("{typed} host")).unwrap_err();
            assert!(misuse.hint.contains(meant), "{typed}: {}", misuse.hint);
        }
        assert!(!parse("--xyzzy host").unwrap_err().hint.contains("did you mean"));
    }

    #[test]
    fn names_and_letters_are_unique() {
        for (n, flag) in RUN.iter().enumerate() {
            let same = |other: &&Flag| other.long == flag.long || flag.short.is_some() && other.short == flag.short;
            assert_eq!(RUN[..n].iter().find(same).map(|f| f.long), None, "--{}", flag.long);
        }
    }
}
