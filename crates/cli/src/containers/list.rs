//! `ps`: the containers that there are.

use crate::help::show;
use crate::images::shown;
use crate::report::Failure;
use crate::table::{Filter, ago, duration};
use crate::template::{Data, List, Row, quoted};
use crate::time::Time;
use crate::verb::{About, Group, Verb, also, switch, value};
use engine::ParseError;
use engine::containers::{self, Listed, State};
use std::collections::BTreeMap;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    all: bool,
    quiet: bool,
    in_full: bool,
    latest: bool,
    last: Option<usize>,
    format: Option<String>,
    filters: Vec<Filter>,
}

const FILTERS: &[&str] = &["id", "name", "label", "status", "ancestor", "before", "since"];
/// Docker's. Of a container that is not there any more none is shown.
const STATES: &[&str] = &["created", "restarting", "running", "removing", "paused", "exited", "dead"];

/// `mycontainer ps`.
pub(crate) static PS: Verb<Request> = Verb {
    about: About {
        also: &["container ps", "container ls", "container list"],
        intro: "Lists the containers that run; with --all, --last, --latest or a filter by status also those that were created\n\
                and do not run. The newest comes first.",
        outro: "Filters: id=DIGITS, name=EXPRESSION, label=NAME[=VALUE], status=created|running|paused, ancestor=IMAGE,\n\
                before=CONTAINER, since=CONTAINER. Several of one key: any of them; labels: all.\n\
                Fields for --format: ID Names Image Command CreatedAt RunningFor State Status Ports Labels Mounts Networks,\n\
                and {{.Label \"name\"}}.",
        ..About::new("ps", "", "List containers")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("all", Some('a'), "Show also those that do not run", |r: &mut Request| &mut r.all),
            value("filter", Some('f'), "KEY=VALUE", "Show only these; see below", |r, v| {
                r.filters.push(filter(v)?);
                Ok(())
            }),
            value("format", None, "FORMAT", "`table`, `json`, or a template as '{{.ID}} {{.Names}}'", |r, v| {
                r.format = Some(v.to_owned());
                Ok(())
            }),
            value("last", Some('n'), "NUMBER", "Show the newest so many, whether or not they run", |r, v| {
                let number: i64 = v.parse().map_err(|_| ParseError::new(v, "it is no number"))?;
                r.last = usize::try_from(number).ok().filter(|number| *number > 0);
                Ok(())
            }),
            switch("latest", Some('l'), "Show the newest one", |r| &mut r.latest),
            also(&["notrunc"], switch("no-trunc", None, "Show ids and commands in full", |r| &mut r.in_full)),
            switch("quiet", Some('q'), "Print ids, and nothing else", |r| &mut r.quiet),
        ],
    }],
    act: list,
};

fn filter(text: &str) -> Result<Filter, ParseError> {
    let filter = Filter::parse(text, FILTERS)?;
    if filter.is_not && filter.key != "label" {
        return Err(ParseError::new(text, "write KEY=VALUE: only labels can be asked not to be there"));
    }
    match filter.key.as_str() {
        "status" if !STATES.contains(&filter.value.as_str()) => {
            Err(ParseError::new(text, format!("a status is one of {}", STATES.join(", "))))
        }
        "name" => expression(&filter).map(|_| filter),
        _ => Ok(filter),
    }
}

fn expression(filter: &Filter) -> Result<regex_lite::Regex, ParseError> {
    // Docker's names have a slash before them, and scripts write it.
    let text = match filter.value.strip_prefix("^/") {
        Some(rest) => format!("^{rest}"),
        None => filter.value.strip_prefix('/').unwrap_or(&filter.value).to_owned(),
    };
    regex_lite::Regex::new(&text).map_err(|error| ParseError::new(&*filter.value, error.to_string()))
}

fn list(request: Request, _: Vec<String>) -> Result<ExitCode, Failure> {
    // Templates are looked at first: they are right or wrong whatever is here.
    let default = match request.quiet {
        true => "{{.ID}}",
        false => "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    };
    let template = List::parse(request.format.as_deref().filter(|_| !request.quiet), default)?;
    let last = if request.latest { Some(1) } else { request.last };
    let has = |key: &str| request.filters.iter().any(|filter| filter.key == key);
    let every = request.all || last.is_some() || has("status");
    let mut listed = containers::list(every || has("before") || has("since"))?;
    let wanted = Wanted::new(&request.filters, &listed)?;
    let is_shown = |at: usize, one: &Listed| (every || one.state != State::Created) && wanted.has(at, one);
    let mut at = 0;
    listed.retain(|one| {
        at += 1;
        is_shown(at - 1, one)
    });
    listed.truncate(last.unwrap_or(usize::MAX));
    let now = Time::now();
    let rows: Vec<Row> = listed.iter().map(|one| row(one, request.in_full, now)).collect();
    Ok(show(&template.render(&rows, &any_row(now), HEADINGS)?))
}

const HEADINGS: &[(&str, &str)] = &[("ID", "CONTAINER ID"), ("RunningFor", "CREATED")];

/// The fields of a container, in the order of the JSON.
fn row(one: &Listed, in_full: bool, now: Time) -> Row {
    let then = Time::parse(&one.created);
    let labels: Vec<String> = one.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let cut = |text: &str, width| if in_full { text.to_owned() } else { ellipsis(text, width) };
    let mounts: Vec<String> = one.mounts.iter().map(|path| cut(path, 15)).collect();
    Data::row()
        .with("Command", quoted(&cut(&command(&one.command), 20)))
        .with("CreatedAt", shown::at(&one.created))
        .with("ID", if in_full { &one.id } else { one.id.get(..12).unwrap_or(&one.id) })
        .with("Image", one.image.as_str())
        .with("Labels", labels.join(","))
        .with("Mounts", mounts.join(","))
        .with("Names", one.name.as_deref().unwrap_or_default())
        .with("Networks", one.network.as_str())
        .with("Ports", one.ports.join(", "))
        .with("RunningFor", then.map_or_else(|| "N/A".into(), |then| ago(then, now)))
        .with("State", one.state.name())
        .with("Status", status(one.state, then, now))
        .with("Label", one.labels.clone())
}

/// For its fields, also where there is nothing to list.
fn any_row(now: Time) -> Row {
    let (id, image, created) = (String::new(), String::new(), String::new());
    let (state, labels, network) = (State::Created, BTreeMap::new(), String::new());
    let (command, ports, mounts) = (Vec::new(), Vec::new(), Vec::new());
    let (name, image_name, manifest) = (None, None, None);
    let one = Listed { id, name, image, image_name, manifest, command, created, state, labels, ports, network, mounts };
    row(&one, true, now)
}

fn status(state: State, started: Option<Time>, now: Time) -> String {
    let up = || duration(started.map_or(0, |started| now.seconds - started.seconds));
    match state {
        State::Created => "Created".into(),
        State::Running => format!("Up {}", up()),
        State::Paused => format!("Up {} (Paused)", up()),
    }
}

/// The words in one line as Docker has them: those with blanks in quotes, but for the first.
fn command(words: &[String]) -> String {
    let word = |(at, word): (usize, &String)| {
        if at > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() }
    };
    words.iter().enumerate().map(word).collect::<Vec<_>>().join(" ")
}

/// At most so many characters, the last of which tells that there were more.
fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// What filters let through.
struct Wanted<'a> {
    filters: &'a [Filter],
    names: Vec<regex_lite::Regex>,
    manifests: Vec<String>,
    /// Those at places from here on are older.
    before: usize,
    /// Those at places up to here are newer.
    since: usize,
}

impl Wanted<'_> {
    fn new<'a>(filters: &'a [Filter], listed: &[Listed]) -> Result<Wanted<'a>, Failure> {
        let mut wanted = Wanted { filters, names: Vec::new(), manifests: Vec::new(), before: 0, since: usize::MAX };
        let place = |words: &str| -> Result<usize, Failure> {
            let id = containers::id_of(words)?;
            Ok(listed.iter().position(|one| one.id == id).unwrap_or(listed.len()))
        };
        for filter in filters {
            match filter.key.as_str() {
                "name" => {
                    let expression = expression(filter).map_err(|error| Failure::new(error.to_string()))?;
                    wanted.names.push(expression);
                }
                "before" => wanted.before = wanted.before.max(place(&filter.value)? + 1),
                "since" => wanted.since = wanted.since.min(place(&filter.value)?),
                "ancestor" => {
                    let image = engine::images::store()?.find(&filter.value).map_err(engine::Error::from)?;
                    wanted.manifests.extend(image.map(|image| image.descriptor.digest.to_string()));
                }
                _ => {}
            }
        }
        Ok(wanted)
    }

    fn has(&self, at: usize, one: &Listed) -> bool {
        let any = |key: &str, is: &dyn Fn(&Filter) -> bool| {
            let mut of = self.filters.iter().filter(|filter| filter.key == key).peekable();
            of.peek().is_none() || of.any(is)
        };
        let is_of = |filter: &Filter| {
            one.manifest.as_ref().is_some_and(|manifest| self.manifests.contains(manifest)) || one.image == filter.value
        };
        let mut labels = self.filters.iter().filter(|filter| filter.key == "label");
        let name = one.name.as_deref().unwrap_or_default();
        any("id", &|filter| one.id.starts_with(&filter.value))
            && any("name", &|_| self.names.iter().any(|expression| expression.is_match(name)))
            && labels.all(|filter| filter.label(|name| one.labels.get(name).map(String::as_str)))
            && any("status", &|filter| filter.value == one.state.name())
            && any("ancestor", &is_of)
            && at >= self.before
            && at < self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_dockers() {
        for (words, line, short) in [
            (&["sh"][..], "sh", "sh"),
            (&["sh", "-c", "echo hi"], "sh -c 'echo hi'", "sh -c 'echo hi'"),
            (&["a program", "x"], "a program x", "a program x"),
            (&["sleep", "12345678901234"], "sleep 12345678901234", "sleep 12345678901234"),
            (&["sleep", "123456789012345"], "sleep 123456789012345", "sleep 1234567890123…"),
            (&[], "", ""),
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!((command(&words).as_str(), ellipsis(&command(&words), 20).as_str()), (line, short));
        }
    }

    #[test]
    fn states_are_told_with_their_time() {
        let at = |seconds| Time { seconds, nanoseconds: 0 };
        for (state, expected) in
            [(State::Created, "Created"), (State::Running, "Up 5 seconds"), (State::Paused, "Up 5 seconds (Paused)")]
        {
            assert_eq!(status(state, Some(at(10)), at(15)), expected);
        }
    }

    #[test]
    fn filters_that_are_wrong() {
        for wrong in ["status=asleep", "name=[", "exited=0", "name!=x", "name"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
        for (name, text) in [("^/a$", "a"), ("/a", "xa"), ("a", "xax")] {
            assert!(expression(&filter(&format!("name={name}")).unwrap()).unwrap().is_match(text), "{name}");
        }
    }
}
