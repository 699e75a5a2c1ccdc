//! `ps`: the containers that there are.

use crate::help::show;
use crate::images::shown;
use crate::report::Failure;
use crate::table::{Filter, ago, duration, short_size};
use crate::template::{Data, List, Row, quoted};
use crate::verb::{About, Group, Verb, also, switch, value};
use engine::containers::{self, Listed, Size, State};
use engine::when::Time;
use engine::{ParseError, RunOptions, Status};
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    all: bool,
    quiet: bool,
    in_full: bool,
    latest: bool,
    pod: bool,
    size: bool,
    sort: Option<Sort>,
    last: Option<usize>,
    format: Option<String>,
    filters: Vec<Filter>,
}

/// What `--sort` goes by. The names are Podman's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Command,
    Created,
    Id,
    Image,
    Names,
    RunningFor,
    Size,
    Status,
}

const SORTS: [(&str, Sort); 8] = [
    ("command", Sort::Command),
    ("created", Sort::Created),
    ("id", Sort::Id),
    ("image", Sort::Image),
    ("names", Sort::Names),
    ("runningfor", Sort::RunningFor),
    ("size", Sort::Size),
    ("status", Sort::Status),
];

const FILTERS: &[&str] = &[
    "id", "name", "label", "status", "exited", "ancestor", "before", "since", "health", "publish", "expose", "network",
    "pod",
];
const HEALTH: &[&str] = &["none", "starting", "healthy", "unhealthy"];
/// Docker's. Of a container that is not there any more none is shown.
const STATES: &[&str] = &["created", "restarting", "running", "removing", "paused", "exited", "dead"];

/// `mycontainer ps`.
pub(crate) static PS: Verb<Request> = Verb {
    about: About {
        also: &["container ps", "container ls", "container list"],
        intro: "Lists the containers that run; with --all, --last, --latest or a filter by status or exit code\n\
                also those that do not run. The newest comes first.",
        outro: "Filters: id=DIGITS, name=EXPRESSION, label=NAME[=VALUE], status=created|running|paused|restarting|exited,\n\
                exited=CODE, ancestor=IMAGE,\n\
                before=CONTAINER, since=CONTAINER, health=none|starting|healthy|unhealthy,\n\
                publish=PORT[-END][/PROTOCOL] (of the host), expose=PORT[-END][/PROTOCOL] (its own), network=NETWORK,\n\
                pod=NAME or DIGITS.\n\
                Several of one key: any of them; labels: all.\n\
                --sort goes by command, created (the oldest first), id, image, names, runningfor (what was started last\n\
                first), size or status.\n\
                Fields for --format: ID Names Image Command CreatedAt RunningFor State Status Ports Labels Mounts Networks,\n\
                Pod PodName Size, and {{.Label \"name\"}}. Size is what it has written, and with its image.",
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
            switch("pod", Some('p'), "Show also in which pod it is", |r| &mut r.pod),
            switch("size", Some('s'), "Show also how much it has written", |r| &mut r.size),
            value("sort", None, "FIELD", "Sort them by this; see below", |r, v| {
                let found = SORTS.iter().find(|(name, _)| *name == v).map(|(_, sort)| *sort);
                let names = || SORTS.map(|(name, _)| name).join(", ");
                r.sort = Some(found.ok_or_else(|| ParseError::new(v, format!("they are sorted by {}", names())))?);
                Ok(())
            }),
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
        "health" if !HEALTH.contains(&filter.value.as_str()) => {
            Err(ParseError::new(text, format!("a health is one of {}", HEALTH.join(", "))))
        }
        "exited" if filter.value.parse::<i32>().is_err() => {
            Err(ParseError::new(text, "after exited= stands an exit code"))
        }
        "name" => expression(&filter).map(|_| filter),
        "publish" | "expose" => ports(&filter).map(|_| filter),
        _ => Ok(filter),
    }
}

/// The ports that a filter names, as `80/tcp`.
fn ports(filter: &Filter) -> Result<Vec<String>, ParseError> {
    let mut named = RunOptions::default();
    named.add_exposed(&filter.value)?;
    Ok(named.expose)
}

fn expression(filter: &Filter) -> Result<regex_lite::Regex, ParseError> {
    // Docker's names have a slash before them, and scripts write it.
    let text = match filter.value.strip_prefix("^/") {
        Some(rest) => format!("^{rest}"),
        None => filter.value.strip_prefix('/').unwrap_or(&filter.value).to_owned(),
    };
    regex_lite::Regex::new(&text).map_err(|error| ParseError::new(&*filter.value, error.to_string()))
}

/// The usual columns.
const TABLE: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const WITH_PODS: &str = "\t{{.Pod}}\t{{.PodName}}";
const WITH_SIZES: &str = "\t{{.Size}}";

fn list(request: Request, _: Vec<String>) -> Result<ExitCode, Failure> {
    sys::arena::widen();
    // Templates are looked at first: they are right or wrong whatever is here.
    let more = |is_asked: bool, columns: &'static str| if is_asked { columns } else { "" };
    let default = match request.quiet {
        true => "{{.ID}}".to_owned(),
        false => format!("{TABLE}{}{}", more(request.size, WITH_SIZES), more(request.pod, WITH_PODS)),
    };
    let template = List::parse(request.format.as_deref().filter(|_| !request.quiet), &default)?;
    let last = if request.latest { Some(1) } else { request.last };
    let has = |key: &str| request.filters.iter().any(|filter| filter.key == key);
    let every = request.all || last.is_some() || has("status") || has("exited");
    let mut listed = containers::list(every || has("before") || has("since"))?;
    let has_pods = listed.iter().any(|one| one.pod.is_some());
    let pods = if has_pods { engine::pods::named() } else { Pods::new() };
    let wanted = Wanted::new(&request.filters, &listed, &pods)?;
    let is_shown = |at: usize, one: &Listed| (every || one.is_running()) && wanted.has(at, one);
    let mut at = 0;
    listed.retain(|one| {
        at += 1;
        is_shown(at - 1, one)
    });
    listed.truncate(last.unwrap_or(usize::MAX));
    let names_size = request.format.as_ref().is_some_and(|format| format.contains(".Size"));
    let needs_size = (request.size && !request.quiet) || names_size || request.sort == Some(Sort::Size);
    let sizes: Vec<Option<Size>> = match needs_size {
        true => containers::sizes(&listed).into_iter().map(Some).collect(),
        false => vec![None; listed.len()],
    };
    let mut listed: Vec<(Listed, Option<Size>)> = listed.into_iter().zip(sizes).collect();
    if let Some(sort) = request.sort {
        sort_by(sort, &mut listed);
    }
    let now = Time::now();
    let rows: Vec<Row> = listed.iter().map(|(one, size)| row(one, &pods, *size, request.in_full, now)).collect();
    Ok(show(&template.render(&rows, &any_row(now), HEADINGS)?))
}

const HEADINGS: &[(&str, &str)] =
    &[("ID", "CONTAINER ID"), ("RunningFor", "CREATED"), ("Pod", "POD ID"), ("PodName", "PODNAME")];

/// The names of pods, by their ids.
type Pods = std::collections::BTreeMap<String, String>;

/// Those that are alike stay in their order.
fn sort_by(sort: Sort, listed: &mut [(Listed, Option<Size>)]) {
    let now = Time::now();
    match sort {
        Sort::Command => listed.sort_by_cached_key(|(one, _)| command(&one.command)),
        Sort::Created => listed.sort_by_cached_key(|(one, _)| (one.created.clone(), one.id.clone())),
        Sort::Id => listed.sort_by_cached_key(|(one, _)| one.id.clone()),
        Sort::Image => listed.sort_by_cached_key(|(one, _)| one.image.clone()),
        Sort::Names => listed.sort_by_cached_key(|(one, _)| one.name.clone()),
        // One that was never started runs for no time at all, and comes last.
        Sort::RunningFor => listed.sort_by_cached_key(|(one, _)| std::cmp::Reverse(one.started.clone())),
        Sort::Size => listed.sort_by_key(|(_, size)| size.map(|size| size.written)),
        Sort::Status => listed.sort_by_cached_key(|(one, _)| status(one, now)),
    }
}

/// As Docker shows it: what was written, and that with the image.
fn size(size: Size) -> String {
    let written = short_size(size.written);
    size.image
        .map_or_else(|| written.clone(), |image| format!("{written} (virtual {})", short_size(image + size.written)))
}

/// The fields of a container, in the order of the JSON. `size` where it is asked for.
fn row(one: &Listed, pods: &Pods, of_size: Option<Size>, in_full: bool, now: Time) -> Row {
    let then = Time::parse(&one.created);
    let labels: Vec<String> = one.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let pod = one.pod.as_deref().unwrap_or_default();
    let cut = |text: &str, width| if in_full { text.to_owned() } else { ellipsis(text, width) };
    let mounts: Vec<String> = one.mounts.iter().map(|path| cut(path, 15)).collect();
    let row = Data::row()
        .with("Command", quoted(&cut(&command(&one.command), 20)))
        .with("CreatedAt", shown::at(&one.created))
        .with("ID", if in_full { &one.id } else { one.id.get(..12).unwrap_or(&one.id) })
        .with("Image", one.image.as_str())
        .with("Labels", labels.join(","))
        .with("Mounts", mounts.join(","))
        .with("Names", one.name.as_deref().unwrap_or_default())
        .with("Networks", one.networks.join(","))
        .with("Pod", if in_full { pod } else { pod.get(..12).unwrap_or(pod) })
        .with("PodName", pods.get(pod).map(String::as_str).unwrap_or_default())
        .with("Ports", one.ports.join(", "))
        .with("RunningFor", then.map_or_else(|| "N/A".into(), |then| ago(then, now)))
        .with("State", one.state.name())
        .with("Status", status(one, now));
    let row = match of_size {
        Some(of_size) => row.with("Size", size(of_size)),
        None => row,
    };
    row.with("Label", one.labels.clone())
}

/// For its fields, also where there is nothing to list.
fn any_row(now: Time) -> Row {
    row(&Listed::default(), &Pods::new(), Some(Size::default()), true, now)
}

fn status(one: &Listed, now: Time) -> String {
    let since = |then: &Option<String>| {
        let then = then.as_deref().and_then(Time::parse);
        duration(then.map_or(0, |then| now.seconds - then.seconds))
    };
    let ended = || format!("({}) {} ago", one.exit_code, since(&one.finished));
    match one.state {
        State::Created => "Created".into(),
        State::Running => match one.health {
            None => format!("Up {}", since(&one.started)),
            Some(Status::Starting) => format!("Up {} (health: starting)", since(&one.started)),
            Some(health) => format!("Up {} ({})", since(&one.started), health.name()),
        },
        State::Paused => format!("Up {} (Paused)", since(&one.started)),
        State::Restarting => format!("Restarting {}", ended()),
        State::Exited => format!("Exited {}", ended()),
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
    networks: Vec<String>,
    pods: &'a Pods,
    /// Those at places from here on are older.
    before: usize,
    /// Those at places up to here are newer.
    since: usize,
}

impl Wanted<'_> {
    fn new<'a>(filters: &'a [Filter], listed: &[Listed], pods: &'a Pods) -> Result<Wanted<'a>, Failure> {
        let mut wanted = Wanted {
            filters,
            names: Vec::new(),
            manifests: Vec::new(),
            networks: Vec::new(),
            pods,
            before: 0,
            since: usize::MAX,
        };
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
                // What is no network by now may be named still.
                "network" => wanted.networks.push(
                    engine::networks::get(&filter.value)
                        .map_or_else(|_| filter.value.clone(), |known| known.config.name),
                ),
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
        let is_in = |filter: &Filter| {
            let pod = one.pod.as_deref().unwrap_or_default();
            pod.starts_with(&filter.value) || self.pods.get(pod) == Some(&filter.value)
        };
        let mut labels = self.filters.iter().filter(|filter| filter.key == "label");
        let name = one.name.as_deref().unwrap_or_default();
        // Either is enough, as with Docker.
        let has_port = |filter: &Filter| {
            let of_one = if filter.key == "publish" { &one.public_ports } else { &one.private_ports };
            ports(filter).is_ok_and(|named| of_one.iter().any(|port| named.contains(port)))
        };
        let mut of_ports = self.filters.iter().filter(|filter| matches!(&*filter.key, "publish" | "expose")).peekable();
        let by_port = of_ports.peek().is_none() || of_ports.any(has_port);
        by_port
            && any("id", &|filter| one.id.starts_with(&filter.value))
            && any("name", &|_| self.names.iter().any(|expression| expression.is_match(name)))
            && labels.all(|filter| filter.label(|name| one.labels.get(name).map(String::as_str)))
            && any("status", &|filter| filter.value == one.state.name())
            && any("exited", &|filter| one.state == State::Exited && filter.value.parse() == Ok(one.exit_code))
            && any("pod", &is_in)
            && any("ancestor", &is_of)
            && any("network", &|_| self.networks.iter().any(|network| one.networks.contains(network)))
            && any("health", &|filter| filter.value == one.health.map_or("none", Status::name))
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
        let now = Time::parse("2026-01-02T00:00:15Z").unwrap();
        let (started, finished) = (Some("2026-01-02T00:00:10Z".into()), Some("2026-01-02T00:00:12Z".into()));
        let any = Listed { started, finished, exit_code: 3, ..Listed::default() };
        for (state, expected) in [
            (State::Created, "Created"),
            (State::Running, "Up 5 seconds"),
            (State::Paused, "Up 5 seconds (Paused)"),
            (State::Restarting, "Restarting (3) 3 seconds ago"),
            (State::Exited, "Exited (3) 3 seconds ago"),
        ] {
            assert_eq!(status(&Listed { state, ..any.clone() }, now), expected);
        }
        for (health, expected) in [
            (Status::Starting, "Up 5 seconds (health: starting)"),
            (Status::Healthy, "Up 5 seconds (healthy)"),
            (Status::Unhealthy, "Up 5 seconds (unhealthy)"),
        ] {
            assert_eq!(status(&Listed { state: State::Running, health: Some(health), ..any.clone() }, now), expected);
        }
    }

    #[test]
    fn filters_that_are_wrong() {
        for wrong in
            ["status=asleep", "name=[", "exited=x", "name!=x", "name", "health=ill", "publish=http", "expose=0"]
        {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
        for (name, text) in [("^/a$", "a"), ("/a", "xa"), ("a", "xax")] {
            assert!(expression(&filter(&format!("name={name}")).unwrap()).unwrap().is_match(text), "{name}");
        }
    }
}
