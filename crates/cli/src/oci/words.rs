//! Words become values, by a verb's flags.

use super::global::{self, Global};
use super::{Failure, VERBS, Verb, usage};
use lexopt::{Arg, Parser};
use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

/// One flag.
pub(crate) struct Flag {
    /// Without the dashes.
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    /// Name of its value in the help; none for a switch.
    pub(crate) value: Option<&'static str>,
    pub(crate) help: &'static str,
}

pub(crate) const fn value(long: &'static str, short: Option<char>, name: &'static str, help: &'static str) -> Flag {
    Flag { long, short, value: Some(name), help }
}

pub(crate) const fn switch(long: &'static str, short: Option<char>, help: &'static str) -> Flag {
    Flag { long, short, value: None, help }
}

/// What was said to a verb.
#[derive(Debug, Default)]
pub(crate) struct Words {
    operands: Vec<String>,
    given: Vec<(&'static str, String)>,
}

impl Words {
    /// The last value of a flag.
    pub(crate) fn get(&self, flag: &str) -> Option<&str> {
        self.given.iter().rev().find(|(name, _)| *name == flag).map(|(_, value)| value.as_str())
    }

    /// As [`Words::get`], as a path; an empty one counts as not given.
    pub(crate) fn path(&self, flag: &str) -> Option<PathBuf> {
        self.get(flag).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Every value of a flag that may be given more than once.
    pub(crate) fn all(&self, flag: &str) -> impl Iterator<Item = &str> {
        self.given.iter().filter(move |(name, _)| *name == flag).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.get(flag) == Some("true")
    }

    /// A flag's value as a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, flag: &str) -> Result<Option<T>, Failure> {
        let parse = |text: &str| text.parse().map_err(|_| usage(format!("--{flag} is no such number: {text:?}")));
        self.get(flag).map(parse).transpose()
    }

    /// What stands beside the flags.
    pub(crate) fn operands(&self) -> &[String] {
        &self.operands
    }

    /// The one id.
    pub(crate) fn id(&self) -> Result<&str, Failure> {
        match self.operands.as_slice() {
            [id] => Ok(id),
            [] => Err(usage("it needs the id of a container")),
            [_, more, ..] => Err(usage(format!("it takes one id, and {more:?} is one too many"))),
        }
    }
}

/// Reads the flags before the verb; returns them and the words from the verb on.
pub(crate) fn global(words: &[OsString]) -> Result<(Global, Vec<OsString>), Failure> {
    let mut global = Global::default();
    let mut parser = Parser::from_args(words.iter().cloned());
    while let Some(arg) = parser.next().map_err(|e| usage(e.to_string()))? {
        let flag = match arg {
            Arg::Value(verb) => {
                let rest = parser.raw_args().map_err(|e| usage(e.to_string()))?;
                return Ok((global, std::iter::once(verb).chain(rest).collect()));
            }
            Arg::Long(name) => find(&[global::FLAGS], |flag| flag.long == name, &format!("--{name}"))?,
            Arg::Short(letter) => find(&[global::FLAGS], |flag| flag.short == Some(letter), &format!("-{letter}"))?,
        };
        let value = value_of(&mut parser, flag)?;
        global.take(flag.long, &value)?;
    }
    Ok((global, Vec::new()))
}

/// Reads the words after the verb. The command of `exec`, and the options of `ps`, are left as they are.
pub(crate) fn parse(verb: &'static Verb, global: &mut Global, rest: &[OsString]) -> Result<Words, Failure> {
    let mut words = Words::default();
    let takes_foreign_words = verb.operands.starts_with("ID [COMMAND") || verb.operands.starts_with("ID [PS");
    let groups: Vec<&[Flag]> = verb.flags.iter().copied().chain([global::FLAGS]).collect();
    let mut parser = Parser::from_args(rest.iter().cloned());
    loop {
        if let Some(switch) = with_one_dash(&mut parser, &groups) {
            words.given.push((switch.long, "true".to_owned()));
            continue;
        }
        let Some(arg) = parser.next().map_err(|e| usage(e.to_string()))? else { return Ok(words) };
        let flag = match arg {
            Arg::Value(operand) => {
                words.operands.push(text(operand)?);
                // After the id come a command's own words, if they do not begin like one of ours; after its name all are.
                let is_named = words.operands.len() > 1;
                let next = parser.try_raw_args().and_then(|args| args.peek().map(ToOwned::to_owned));
                if takes_foreign_words && next.is_some_and(|next| is_named || !is_ours(&groups, &next)) {
                    let foreign = parser.raw_args().map_err(|e| usage(e.to_string()))?;
                    for (at, word) in foreign.enumerate() {
                        if at > 0 || is_named || word != "--" {
                            words.operands.push(text(word)?);
                        }
                    }
                }
                continue;
            }
            Arg::Long(name) => find(&groups, |flag| flag.long == name, &format!("--{name}"))?,
            Arg::Short(letter) => find(&groups, |flag| flag.short == Some(letter), &format!("-{letter}"))?,
        };
        let value = value_of(&mut parser, flag)?;
        if is_global(flag) {
            global.take(flag.long, &value)?;
        } else {
            words.given.push((flag.long, value));
        }
    }
}

/// A verb's own switch by its long name after one dash, as Go programs take it: containerd's `restore -no-subreaper`.
fn with_one_dash(parser: &mut Parser, groups: &[&'static [Flag]]) -> Option<&'static Flag> {
    let mut words = parser.try_raw_args()?;
    let name = words.peek()?.to_str()?.strip_prefix('-')?;
    let is_it = |flag: &&Flag| flag.value.is_none() && flag.long == name && !is_global(flag);
    let found = groups.iter().copied().flatten().find(is_it)?;
    words.next().map(|_| found)
}

fn is_global(flag: &Flag) -> bool {
    global::FLAGS.iter().any(|known| std::ptr::eq(known, flag))
}

fn is_ours(groups: &[&[Flag]], word: &std::ffi::OsStr) -> bool {
    let word = word.to_string_lossy();
    let name = word.strip_prefix("--").map(|name| name.split('=').next().unwrap_or_default());
    let letter = word.strip_prefix('-').and_then(|rest| rest.chars().next());
    groups.iter().copied().flatten().any(|flag| {
        name.is_some_and(|name| name == flag.long) || name.is_none() && letter.is_some() && letter == flag.short
    })
}

fn find(groups: &[&'static [Flag]], is_it: impl Fn(&Flag) -> bool, shown: &str) -> Result<&'static Flag, Failure> {
    groups.iter().copied().flatten().find(|flag| is_it(flag)).ok_or_else(|| usage(format!("there is no flag {shown}")))
}

fn value_of(parser: &mut Parser, flag: &Flag) -> Result<String, Failure> {
    if flag.value.is_some() {
        return parser.value().map_err(|e| usage(format!("--{}: {e}", flag.long))).and_then(text);
    }
    match parser.optional_value().map(text).transpose()? {
        None => Ok("true".to_owned()),
        Some(value) if matches!(value.as_str(), "true" | "false") => Ok(value),
        Some(value) => Err(usage(format!("--{} is a switch and has no value {value:?}", flag.long))),
    }
}

fn text(word: OsString) -> Result<String, Failure> {
    word.into_string().map_err(|word| usage(format!("{:?} is not UTF-8", word.to_string_lossy())))
}

/// The help of the whole.
pub(crate) fn overview() -> String {
    let mut text = format!(
        "{} is an OCI runtime: it runs bundles, for containerd, Docker, Podman and others.\n\n\
         usage: {} [FLAGS] VERB [FLAGS] ...\n\n",
        super::NAME,
        super::NAME
    );
    for verb in VERBS {
        let _ = writeln!(text, "  {:<34} {}", format!("{} {}", verb.name, verb.operands), verb.help);
    }
    text.push_str("\nFlags of every verb:\n");
    list(&mut text, global::FLAGS);
    text
}

/// The help of a verb by its name, or of the whole.
pub(crate) fn help_of(name: Option<&OsString>) -> String {
    let verb = name.and_then(|name| VERBS.iter().find(|verb| name == verb.name));
    verb.map_or_else(overview, help)
}

/// The help of a verb.
pub(crate) fn help(verb: &Verb) -> String {
    let mut text = format!("usage: {} {} [FLAGS] {}\n\n{}\n", super::NAME, verb.name, verb.operands, verb.help);
    if !verb.flags.is_empty() {
        text.push('\n');
    }
    verb.flags.iter().for_each(|flags| list(&mut text, flags));
    text
}

fn list(text: &mut String, flags: &[Flag]) {
    for flag in flags {
        let short = flag.short.map_or("    ".into(), |letter| format!("-{letter}, "));
        let value = flag.value.map(|name| format!(" {name}")).unwrap_or_default();
        let _ = writeln!(text, "  {short}{:<34} {}", format!("--{}{value}", flag.long), flag.help);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<(Global, Words), String> {
        let words: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
        let (mut global, rest) = super::global(&words).map_err(|e| format!("{e:?}"))?;
        let verb = VERBS.iter().find(|verb| rest[0] == verb.name).unwrap();
        let words = parse(verb, &mut global, &rest[1..]).map_err(|e| format!("{e:?}"))?;
        Ok((global, words))
    }

    #[test]
    fn flags_stand_before_and_after_the_verb_and_the_id() {
        for line in [
            "--root /r --log-format json create --bundle /b --pid-file /p x",
            "--root=/r create x -b /b --pid-file=/p --log-format=json",
            "create --root /r --log-format json -b/b x --pid-file /p",
        ] {
            let (global, words) = parsed(line).unwrap();
            assert_eq!(global.root.unwrap().to_str(), Some("/r"), "{line}");
            assert!(global.log_json, "{line}");
            assert_eq!(
                (words.id().unwrap(), words.get("bundle"), words.get("pid-file")),
                ("x", Some("/b"), Some("/p"))
            );
        }
    }

    #[test]
    fn a_switch_may_have_one_dash() {
        let (_, words) = parsed("restore -no-subreaper --detach -b /b x").unwrap();
        assert!(words.has("no-subreaper") && words.has("detach"));
        assert_eq!((words.id().unwrap(), words.get("bundle")), ("x", Some("/b")));
        // What is not a switch of the verb is letters, as ever; and a command's words are its own.
        assert!(parsed("create -no-subreaper x").is_err());
        let (_, words) = parsed("exec -d x ls -tty").unwrap();
        assert_eq!((words.operands(), words.has("tty")), (&["x", "ls", "-tty"].map(str::to_owned)[..], false));
    }

    #[test]
    fn a_commands_own_flags_are_left_alone() {
        let (_, words) = parsed("exec --tty -e A=1 x ls -l --root /r --tty").unwrap();
        assert_eq!(words.operands(), ["x", "ls", "-l", "--root", "/r", "--tty"]);
        let (_, words) = parsed("exec x --process /p").unwrap();
        assert_eq!((words.operands(), words.get("process")), (&["x".to_owned()][..], Some("/p")));
        let (_, words) = parsed("exec x -- ls").unwrap();
        assert_eq!(words.operands(), ["x", "ls"]);
        let (_, words) = parsed("exec x --cwd /d sh -c true -- --tty").unwrap();
        assert_eq!(words.operands(), ["x", "sh", "-c", "true", "--", "--tty"]);
        assert_eq!((words.get("cwd"), words.get("cap"), words.has("tty")), (Some("/d"), None, false));
        let (_, words) = parsed("ps --format json x").unwrap();
        assert_eq!(words.get("format"), Some("json"));
        let (_, words) = parsed("ps x -ef").unwrap();
        assert_eq!(words.operands(), ["x", "-ef"]);
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        for line in
            ["create --nonsense x", "kill -z x", "list --quiet=maybe", "--log-format xml list", "create --bundle"]
        {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn no_two_flags_of_a_verb_have_a_name() {
        for verb in VERBS {
            let mut seen = std::collections::HashSet::new();
            // `spec --rootless` is a switch of runc's, and goes before the flag of every verb.
            let of_all = global::FLAGS.iter().filter(|flag| (verb.name, flag.long) != ("spec", "rootless"));
            for flag in verb.flags.iter().copied().flatten().chain(of_all) {
                assert!(seen.insert(flag.long.to_owned()), "{} --{}", verb.name, flag.long);
                assert!(flag.short.is_none_or(|c| seen.insert(c.to_string())), "{} -{:?}", verb.name, flag.short);
            }
        }
    }
}
