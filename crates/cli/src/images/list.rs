//! `images`: what the store has.

use super::shown;
use crate::help::show;
use crate::report::{self, Failure};
use crate::table::{Filter, short_size};
use crate::template::{Data, List};
use crate::verb::{About, Group, Verb, also, switch, value};
use engine::images::{self, Row};
use engine::when::Time;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    all: bool,
    quiet: bool,
    in_full: bool,
    digests: bool,
    format: Option<String>,
    filters: Vec<Filter>,
}

const FILTERS: &[&str] = &["dangling", "label", "reference", "before", "since", "until"];

/// `mycontainer images`.
pub(crate) static IMAGES: Verb<Request> = Verb {
    about: About {
        also: &["image ls", "image list"],
        outro: "Filters: dangling=true|false (has no name), label=NAME[=VALUE], label!=..., reference=PATTERN as 'a/*:1.*',\n\
                before=IMAGE, since=IMAGE, until=TIME (24h, or 2026-01-31). Several of one key: any of them; labels: all.\n\
                Fields for --format: ID Repository Tag Digest CreatedSince CreatedAt Size Platform, and {{.Label \"name\"}}.",
        ..About::new("images", "[REPOSITORY[:TAG]]", "List the images that are here")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            // Docker hides images without a name that are parts of others: there are none of that kind here.
            switch("all", Some('a'), "Show all, which is what is shown: no image is hidden", |r| &mut r.all),
            switch("digests", None, "Show under which digest the registry has it", |r| &mut r.digests),
            value("filter", Some('f'), "KEY=VALUE", "Show only these; see below", |r, v| {
                let filter = Filter::parse(v, FILTERS)?;
                match filter.key.as_str() {
                    "dangling" => drop(filter.truth()?),
                    "until" => drop(shown::until(&filter)?),
                    _ => {}
                }
                r.filters.push(filter);
                Ok(())
            }),
            value("format", None, "FORMAT", "`table`, `json`, or a template as '{{.ID}} {{.Size}}'", |r, v| {
                r.format = Some(v.to_owned());
                Ok(())
            }),
            also(&["notrunc"], switch("no-trunc", None, "Show ids in full", |r| &mut r.in_full)),
            switch("quiet", Some('q'), "Print ids, and nothing else", |r| &mut r.quiet),
        ],
    }],
    act: list,
};

fn list(mut request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    // Templates are looked at first: they are right or wrong whatever is here.
    let default = match (request.quiet, request.digests) {
        (true, _) => "{{.ID}}",
        (_, true) => "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
        _ => "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    };
    let format = request.format.as_deref().filter(|_| !request.quiet);
    let list = List::parse(format, default)?;
    let store = images::store()?;
    let (rows, errors) = images::rows(&store)?;
    errors.iter().for_each(|error| report::note(&error.to_string()));
    if let Some(word) = words.first() {
        request.filters.push(Filter { key: "reference".into(), value: word.clone(), is_not: false });
    }
    let wanted = Wanted::new(&store, &request.filters)?;
    let rows: Vec<Data> = rows.iter().filter(|row| wanted.has(row)).map(|row| data(row, request.in_full)).collect();
    Ok(show(&list.render(&rows, &data(&Row::default(), false), &[("ID", "IMAGE ID"), ("CreatedSince", "CREATED")])?))
}

/// The fields of a row, in the order of the JSON.
pub(super) fn data(row: &Row, in_full: bool) -> Data {
    let labels: Vec<String> = row.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Data::row()
        .with("Repository", row.repository.as_str())
        .with("Tag", row.tag.as_str())
        .with("Digest", row.digest.as_str())
        .with("ID", shown::id(&row.id, in_full))
        .with("CreatedSince", shown::since(&row.created))
        .with("CreatedAt", shown::at(&row.created))
        .with("Size", short_size(row.size))
        .with("Platform", row.platform.as_str())
        .with("Labels", labels.join(","))
        .with("Label", row.labels.clone())
}

/// What filters let through.
struct Wanted<'a> {
    filters: &'a [Filter],
    before: Option<Time>,
    since: Option<Time>,
}

impl Wanted<'_> {
    fn new<'a>(store: &image::Images, filters: &'a [Filter]) -> Result<Wanted<'a>, Failure> {
        let mut wanted = Wanted { filters, before: None, since: None };
        for filter in filters {
            let earliest = |a: Option<Time>, b: Time| Some(a.map_or(b, |a| a.min(b)));
            match filter.key.as_str() {
                "before" => wanted.before = earliest(wanted.before, created(store, &filter.value)?),
                "since" => {
                    let since = created(store, &filter.value)?;
                    wanted.since = Some(wanted.since.map_or(since, |other| other.max(since)));
                }
                "until" => {
                    let until = shown::until(filter).map_err(|e| Failure::new(e.to_string()))?;
                    wanted.before = earliest(wanted.before, until);
                }
                _ => {}
            }
        }
        Ok(wanted)
    }

    fn has(&self, row: &Row) -> bool {
        let of = |key: &'static str| self.filters.iter().filter(move |filter| filter.key == key);
        let any = |key: &'static str, is: &dyn Fn(&Filter) -> bool| of(key).next().is_none() || of(key).any(is);
        let name = format!("{}:{}", row.repository, row.tag);
        let like = |filter: &Filter| {
            let pattern = familiar(&filter.value);
            (shown::is_like(&pattern, &name) || shown::is_like(&pattern, &row.repository)) != filter.is_not
        };
        let time = Time::parse(&row.created).unwrap_or(Time { seconds: 0, nanoseconds: 0 });
        any("dangling", &|filter| filter.truth() == Ok(row.repository == "<none>"))
            && of("label").all(|filter| filter.label(|name| row.labels.get(name).map(String::as_str)))
            && any("reference", &like)
            && self.before.is_none_or(|before| time < before)
            && self.since.is_none_or(|since| time > since)
    }
}

/// A pattern may be written with Docker Hub's name in full, too.
fn familiar(pattern: &str) -> String {
    let short = pattern.strip_prefix("docker.io/").unwrap_or(pattern);
    short.strip_prefix("library/").unwrap_or(short).to_owned()
}

fn created(store: &image::Images, words: &str) -> Result<Time, Failure> {
    let image = store.get(words).map_err(engine::Error::from)?;
    Ok(image.config.created.as_deref().and_then(Time::parse).unwrap_or(Time { seconds: 0, nanoseconds: 0 }))
}
