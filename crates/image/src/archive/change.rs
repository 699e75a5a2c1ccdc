//! What `--change` of `commit` and `import` says: some of a Dockerfile's instructions, read as Docker reads them.
//! [Dockerfile reference; moby, builder/dockerfile]
//!
//! Variables are put in when a change is made, not when it is read: only then is it known what they are.

use super::words::{duration, expand, split};
use crate::config::{Healthcheck, RunConfig};
use serde_json::Value;

/// One change of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `CMD`
    Cmd(Command),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `ENV`
    Env(Vec<(String, String)>),
    /// `EXPOSE`
    Expose(Vec<String>),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Vec<(String, String)>),
    /// `ONBUILD`
    Onbuild(String),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`
    Workdir(String),
    /// `STOPSIGNAL`
    Stopsignal(String),
}

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Words.
    Exec(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

/// Why some words are no change. In Docker's words, where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadChange(String);

impl BadChange {
    pub(super) fn new(why: String) -> BadChange {
        BadChange(why)
    }
}

impl Change {
    /// Reads an instruction: `CMD ["a", "b"]`, `ENV A=1 B="x y"`; also `CMD=a`, which Podman takes.
    pub fn parse(text: &str) -> Result<Change, BadChange> {
        let text = text.replace("\\\n", "");
        let text = text.trim();
        let end = text.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(text.len());
        let (keyword, rest) = (text[..end].to_ascii_uppercase(), text.get(end + 1..).unwrap_or_default().trim());
        let needed = |ok: bool, how: &str| {
            if ok { Ok(()) } else { Err(BadChange(format!("{keyword} requires {how} argument"))) }
        };
        let some = || needed(!rest.is_empty(), "at least one");
        let one = || needed(!rest.is_empty(), "exactly one").map(|()| rest.to_owned());
        Ok(match keyword.as_str() {
            "CMD" => Change::Cmd(command(rest)?),
            "ENTRYPOINT" => Change::Entrypoint(command(rest)?),
            "ENV" => some().and_then(|()| pairs(rest, "ENV")).map(Change::Env)?,
            "LABEL" => some().and_then(|()| pairs(rest, "LABEL")).map(Change::Label)?,
            "EXPOSE" => {
                some()?;
                Change::Expose(rest.split_whitespace().map(str::to_owned).collect())
            }
            "HEALTHCHECK" => some().and_then(|()| healthcheck(rest)).map(Change::Healthcheck)?,
            "ONBUILD" => some().and_then(|()| trigger(rest)).map(Change::Onbuild)?,
            "USER" => Change::User(one()?),
            "WORKDIR" => Change::Workdir(one()?),
            "STOPSIGNAL" => Change::Stopsignal(one()?),
            "VOLUME" => {
                some()?;
                Change::Volume(match words_of_json(rest)? {
                    Some(words) => words,
                    None => rest.split_whitespace().map(str::to_owned).collect(),
                })
            }
            other => return Err(BadChange(format!("{other} is not a valid change command"))),
        })
    }
}

/// Makes all changes, in order.
///
/// # Errors
/// When a word is none with its variables put in: a port, a signal, an open quote.
pub fn apply_changes(changes: &[Change], config: &mut RunConfig) -> Result<(), BadChange> {
    let mut has_cmd = false;
    for change in changes {
        let environment = config.env.clone();
        let env = |name: &str| {
            let found = environment.iter().rev().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            found.map(str::to_owned)
        };
        let word = |text: &String| expand(text, &env);
        match change {
            Change::Cmd(command) => {
                has_cmd = true;
                config.cmd = command.words(config);
            }
            Change::Entrypoint(command) => {
                config.entrypoint = command.words(config);
                // The words of the old entrypoint would be given to the new one.
                if !has_cmd {
                    config.cmd.clear();
                }
            }
            Change::Env(pairs) => {
                for (name, value) in pairs {
                    set_env(&mut config.env, &word(name)?, &word(value)?)?;
                }
            }
            Change::Label(pairs) => {
                for (name, value) in pairs {
                    config.labels.insert(word(name)?, word(value)?);
                }
            }
            Change::Expose(texts) => {
                for text in texts {
                    for port in split(&word(text)?) {
                        config.exposed_ports.extend(ports(&port)?);
                    }
                }
            }
            Change::Healthcheck(check) => config.healthcheck = Some(check.clone()),
            Change::Onbuild(trigger) => {
                let list = config.more.entry("OnBuild").or_insert(Value::Null);
                match list {
                    Value::Array(list) => list.push(trigger.clone().into()),
                    other => *other = vec![trigger.clone()].into(),
                }
            }
            Change::User(user) => config.user = word(user)?,
            Change::Volume(paths) => {
                for path in paths {
                    let path = word(path)?.trim().to_owned();
                    if path.is_empty() {
                        return Err(BadChange("VOLUME specified can not be an empty string".into()));
                    }
                    config.volumes.insert(path);
                }
            }
            Change::Workdir(path) => config.working_dir = join(&config.working_dir, &word(path)?),
            Change::Stopsignal(signal) => config.stop_signal = check_signal(word(signal)?)?,
        }
    }
    Ok(())
}

impl Command {
    fn words(&self, config: &RunConfig) -> Vec<String> {
        match self {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) if line.is_empty() => Vec::new(),
            Command::Shell(line) => {
                let shell = config.more.get("Shell").and_then(Value::as_array);
                let words = shell.map(|shell| shell.iter().filter_map(Value::as_str).map(str::to_owned).collect());
                let mut words: Vec<String> = words.unwrap_or_default();
                if words.is_empty() {
                    words = vec!["/bin/sh".into(), "-c".into()];
                }
                words.push(line.clone());
                words
            }
        }
    }
}

fn command(rest: &str) -> Result<Command, BadChange> {
    Ok(words_of_json(rest)?.map_or_else(|| Command::Shell(rest.to_owned()), Command::Exec))
}

/// The words of a JSON list; `None` when it is none, and so a line for the shell.
fn words_of_json(text: &str) -> Result<Option<Vec<String>>, BadChange> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(list) = serde_json::from_str::<Vec<Value>>(text) else { return Ok(None) };
    let words: Option<Vec<String>> = list.iter().map(|word| word.as_str().map(str::to_owned)).collect();
    match words {
        Some(words) => Ok(Some(words)),
        None => Err(BadChange("when using JSON array syntax, arrays must be comprised of strings only".into())),
    }
}

/// `A=1 B=2`, or in the old form `A all of the rest`.
fn pairs(rest: &str, keyword: &str) -> Result<Vec<(String, String)>, BadChange> {
    let words = split(rest);
    let mut pairs = Vec::with_capacity(words.len());
    if words.first().is_some_and(|word| !word.contains('=')) {
        let Some((name, value)) = rest.split_once(char::is_whitespace) else {
            return Err(BadChange(format!("{keyword} must have two arguments")));
        };
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            let why = format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value");
            return Err(BadChange(why));
        };
        if name.is_empty() {
            return Err(BadChange(format!("{keyword} names can not be blank")));
        }
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

fn set_env(all: &mut Vec<String>, name: &str, value: &str) -> Result<(), BadChange> {
    if name.is_empty() {
        return Err(BadChange("ENV names can not be blank".into()));
    }
    let pair = format!("{name}={value}");
    match all.iter_mut().find(|known| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))) {
        Some(known) => *known = pair,
        None => all.push(pair),
    }
    Ok(())
}

fn healthcheck(mut rest: &str) -> Result<Healthcheck, BadChange> {
    let mut check = Healthcheck::default();
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        rest = after.trim_start();
        let (name, value) =
            flag.split_once('=').ok_or_else(|| BadChange(format!("Missing a value on flag: {flag}")))?;
        let time = || match duration(value) {
            Some(0) => Ok(None),
            Some(time) if time >= 1_000_000 => Ok(Some(time)),
            Some(_) => Err(BadChange(format!("Interval {name:?} cannot be less than 1ms"))),
            None => Err(BadChange(format!("time: invalid duration {value:?}"))),
        };
        match name {
            "interval" => check.interval = time()?,
            "timeout" => check.timeout = time()?,
            "start-period" => check.start_period = time()?,
            "start-interval" => check.start_interval = time()?,
            "retries" => {
                let bad = |_| BadChange(format!("--retries must be a number, not {value:?}"));
                let retries: u32 = value.parse().map_err(bad)?;
                check.retries = (retries > 0).then_some(retries.into());
            }
            other => return Err(BadChange(format!("Unknown flag: {other}"))),
        }
    }
    let (kind, line) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let line = line.trim();
    check.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if line.is_empty() => vec!["NONE".into()],
        "NONE" => return Err(BadChange("HEALTHCHECK NONE takes no arguments".into())),
        "CMD" => match command(line)? {
            Command::Exec(words) if !words.is_empty() => [vec!["CMD".to_owned()], words].concat(),
            Command::Shell(line) if !line.is_empty() => vec!["CMD-SHELL".into(), line],
            _ => return Err(BadChange("Missing command after HEALTHCHECK CMD".into())),
        },
        other => return Err(BadChange(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"))),
    };
    Ok(check)
}

fn trigger(rest: &str) -> Result<String, BadChange> {
    let keyword = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match keyword.as_str() {
        "ONBUILD" => Err(BadChange("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".into())),
        "MAINTAINER" | "FROM" => Err(BadChange(format!("{keyword} isn't allowed as an ONBUILD trigger"))),
        _ => Ok(rest.to_owned()),
    }
}

/// `80`, `53/udp`, `8000-8010/tcp`: each port by itself.
fn ports(text: &str) -> Result<Vec<String>, BadChange> {
    let bad = || BadChange(format!("invalid containerPort: {text}"));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(BadChange(format!("invalid proto: {protocol}")));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().map_err(|_| bad());
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(bad());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// A path from a directory, made normal.
fn join(from: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{from}/{path}") };
    let mut parts = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A signal by number or name; it stays as it was written.
fn check_signal(text: String) -> Result<String, BadChange> {
    const NAMES: [&str; 35] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "IOT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "POLL", "PWR", "SYS", "UNUSED",
    ];
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |base: &str, sign: char| {
        let rest = name.strip_prefix(base)?;
        let offset = rest.strip_prefix(sign).map_or(if rest.is_empty() { Some(0) } else { None }, |n| n.parse().ok());
        offset.filter(|offset: &u8| *offset <= 30)
    };
    let good = NAMES.contains(&name)
        || text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number))
        || real_time("RTMIN", '+').is_some()
        || real_time("RTMAX", '-').is_some();
    if good { Ok(text) } else { Err(BadChange(format!("invalid signal: {text}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration after these changes, as JSON.
    fn changed(texts: &[&str]) -> Result<Value, BadChange> {
        let mut config = RunConfig { cmd: vec!["old".into()], ..RunConfig::default() };
        config.env = vec!["PATH=/bin".into(), "HOME=/root".into()];
        config.working_dir = "/srv".into();
        let changes: Result<Vec<Change>, BadChange> = texts.iter().map(|text| Change::parse(text)).collect();
        apply_changes(&changes?, &mut config)?;
        Ok(serde_json::to_value(&config).unwrap())
    }

    #[test]
    fn instructions_as_docker_reads_them() {
        use serde_json::json;
        for (texts, key, expected) in [
            (vec![r#"CMD ["a", "b c"]"#], "Cmd", json!(["a", "b c"])),
            (vec!["CMD a 'b'  c"], "Cmd", json!(["/bin/sh", "-c", "a 'b'  c"])),
            (vec!["cmd ls"], "Cmd", json!(["/bin/sh", "-c", "ls"])),
            (vec!["CMD=/bin/bash"], "Cmd", json!(["/bin/sh", "-c", "/bin/bash"])),
            (vec!["CMD [a]"], "Cmd", json!(["/bin/sh", "-c", "[a]"])),
            (vec!["CMD []"], "Cmd", Value::Null),
            (vec!["CMD"], "Cmd", Value::Null),
            (vec![r#"ENTRYPOINT ["e"]"#], "Cmd", Value::Null),
            (vec!["CMD [\"c\"]", "ENTRYPOINT [\"e\"]"], "Cmd", json!(["c"])),
            (vec!["ENTRYPOINT e $HOME"], "Entrypoint", json!(["/bin/sh", "-c", "e $HOME"])),
            (vec!["ENV A=1 B=\"x y\" PATH=$PATH:/x"], "Env", json!(["PATH=/bin:/x", "HOME=/root", "A=1", "B=x y"])),
            (vec!["ENV A x  y"], "Env", json!(["PATH=/bin", "HOME=/root", "A=x  y"])),
            (vec!["ENV A=1 B=$A"], "Env", json!(["PATH=/bin", "HOME=/root", "A=1", "B="])),
            (vec!["ENV A=1", "ENV B=$A"], "Env", json!(["PATH=/bin", "HOME=/root", "A=1", "B=1"])),
            (vec!["ENV A=1 \\\n B=2"], "Env", json!(["PATH=/bin", "HOME=/root", "A=1", "B=2"])),
            (vec!["ENV A="], "Env", json!(["PATH=/bin", "HOME=/root", "A="])),
            (vec!["LABEL a=b \"c d\"=\"e f\" g='$HOME'"], "Labels", json!({"a": "b", "c d": "e f", "g": "$HOME"})),
            (
                vec!["EXPOSE 80 53/udp 8000-8002"],
                "ExposedPorts",
                json!({"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {}}),
            ),
            (vec!["USER $HOME:0"], "User", json!("/root:0")),
            (vec!["VOLUME /a /b"], "Volumes", json!({"/a": {}, "/b": {}})),
            (vec!["VOLUME [\"/a b\"]"], "Volumes", json!({"/a b": {}})),
            (vec!["WORKDIR x/../y"], "WorkingDir", json!("/srv/y")),
            (vec!["WORKDIR /a//b/"], "WorkingDir", json!("/a/b")),
            (vec!["STOPSIGNAL SIGRTMIN+3"], "StopSignal", json!("SIGRTMIN+3")),
            (vec!["STOPSIGNAL 9"], "StopSignal", json!("9")),
            (vec!["ONBUILD RUN a", "ONBUILD COPY . /"], "OnBuild", json!(["RUN a", "COPY . /"])),
            (vec!["HEALTHCHECK NONE"], "Healthcheck", json!({"Test": ["NONE"]})),
            (
                vec!["HEALTHCHECK --interval=5m --retries=3 CMD curl -f x || exit 1"],
                "Healthcheck",
                json!({"Test": ["CMD-SHELL", "curl -f x || exit 1"], "Interval": 300_000_000_000_i64, "Retries": 3}),
            ),
            (
                vec!["HEALTHCHECK --timeout=1s CMD [\"a\"]"],
                "Healthcheck",
                json!({"Test": ["CMD", "a"], "Timeout": 1_000_000_000}),
            ),
        ] {
            let made = changed(&texts).unwrap_or_else(|error| panic!("{texts:?}: {error}"));
            assert_eq!(made[key], expected, "{texts:?}");
        }
    }

    #[test]
    fn what_is_no_change() {
        for (text, expected) in [
            ("", "is not a valid change command"),
            ("RUN x", "RUN is not a valid change command"),
            ("FROM x", "FROM is not a valid change command"),
            ("ENV", "ENV requires at least one argument"),
            ("ENV A", "ENV must have two arguments"),
            ("ENV A=1 B", "can't find = in \"B\""),
            ("ENV =1", "can not be blank"),
            ("ENV A=\"x", "unterminated"),
            ("CMD [1]", "strings only"),
            ("EXPOSE 99999", "invalid containerPort"),
            ("EXPOSE 9-8", "invalid containerPort"),
            ("EXPOSE 80/icmp", "invalid proto"),
            ("USER", "exactly one"),
            ("VOLUME \"\"", "empty"),
            ("STOPSIGNAL SIGFOO", "invalid signal"),
            ("STOPSIGNAL 65", "invalid signal"),
            ("ONBUILD ONBUILD RUN x", "Chaining"),
            ("ONBUILD FROM x", "isn't allowed"),
            ("HEALTHCHECK CMD", "Missing command"),
            ("HEALTHCHECK curl", "Unknown type"),
            ("HEALTHCHECK --interval=1us CMD x", "less than 1ms"),
            ("HEALTHCHECK --interval=x CMD x", "invalid duration"),
            ("HEALTHCHECK --what=1 CMD x", "Unknown flag"),
            ("HEALTHCHECK NONE x", "no arguments"),
        ] {
            let told = changed(&[text]).expect_err(text).to_string();
            assert!(told.contains(expected), "{text}: {told}");
        }
    }
}
