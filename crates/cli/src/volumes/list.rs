//! `volume ls` and `volume inspect`.

use super::has_labels;
use crate::help::show;
use crate::report::{self, Failure};
use crate::table::Filter;
use crate::template::{Backslashes, Data, List, Template};
use crate::verb::{About, Group, Verb, switch, value};
use engine::volumes::{self, Known, Listed};
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    quiet: bool,
    format: Option<String>,
    filters: Vec<Filter>,
}

const FILTERS: &[&str] = &["dangling", "driver", "label", "name"];

/// `mycontainer volume ls`.
pub(crate) static LS: Verb<Request> = Verb {
    about: About {
        also: &["volume list"],
        outro: "Filters: dangling=true|false (no container uses it), driver=local, label=NAME[=VALUE], label!=...,\n\
                name=PART. Several of one key: any of them; labels: all.\n\
                Fields for --format: Name Driver Scope Mountpoint Labels, and {{.Label \"name\"}}.",
        ..About::new("volume ls", "", "List volumes")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("filter", Some('f'), "KEY=VALUE", "Show only these; see below", |r, v| {
                let filter = Filter::parse(v, FILTERS)?;
                if filter.key == "dangling" {
                    filter.truth()?;
                }
                r.filters.push(filter);
                Ok(())
            }),
            value("format", None, "FORMAT", "`table`, `json`, or a template as '{{.Name}}'", |r, v| {
                r.format = Some(v.to_owned());
                Ok(())
            }),
            switch("quiet", Some('q'), "Print names, and nothing else", |r| &mut r.quiet),
        ],
    }],
    act: list,
};

fn list(request: Request, _: Vec<String>) -> Result<ExitCode, Failure> {
    let default = if request.quiet { "{{.Name}}" } else { "table {{.Driver}}\t{{.Name}}" };
    let list = List::parse(request.format.as_deref().filter(|_| !request.quiet), default)?;
    let (volumes, errors) = volumes::list()?;
    let code = errors.into_iter().fold(ExitCode::SUCCESS, |_, error| report::failure(&error.into()));
    let wanted = volumes.iter().filter(|volume| is_wanted(&request.filters, volume));
    let rows: Vec<Data> = wanted.map(|volume| row(&volume.known)).collect();
    let empty = Known { name: String::new(), created: String::new(), labels: Default::default() };
    let shown = show(&list.render(&rows, &row(&empty), &[("Name", "VOLUME NAME")])?);
    Ok(if code == ExitCode::SUCCESS { shown } else { code })
}

fn row(known: &Known) -> Data {
    let labels: Vec<String> = known.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Data::row()
        .with("Driver", "local")
        .with("Labels", labels.join(","))
        .with("Mountpoint", known.mountpoint().to_string_lossy().as_ref())
        .with("Name", known.name.as_str())
        .with("Scope", "local")
        .with("Label", known.labels.clone())
}

fn is_wanted(filters: &[Filter], volume: &Listed) -> bool {
    let any = |key: &str, is: &dyn Fn(&Filter) -> bool| {
        let mut of = filters.iter().filter(|filter| filter.key == key).peekable();
        of.peek().is_none() || of.any(is)
    };
    any("dangling", &|filter| filter.truth() == Ok(volume.containers.is_empty()))
        && any("driver", &|filter| (filter.value == "local") != filter.is_not)
        && any("name", &|filter| volume.known.name.contains(&filter.value) != filter.is_not)
        && has_labels(filters, &volume.known)
}

#[derive(Debug, Default)]
pub(crate) struct Look {
    format: Option<String>,
}

/// `mycontainer volume inspect`.
pub(crate) static INSPECT: Verb<Look> = Verb {
    about: About {
        outro: "What is not there is told on standard error, and the exit code is 1.",
        example: "volume inspect data",
        ..About::new("volume inspect", "VOLUME [VOLUME...]", "Show all that is known of a volume, as JSON")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[value("format", Some('f'), "FORMAT", "`json`, or a template as '{{.Mountpoint}}'", |r, v| {
            r.format = Some(v.to_owned());
            Ok(())
        })],
    }],
    act: inspect,
};

fn inspect(request: Look, words: Vec<String>) -> Result<ExitCode, Failure> {
    let template = match request.format.as_deref() {
        None | Some("") => None,
        Some("json") => Some(Template::parse("{{json .}}", Backslashes::Kept)?),
        Some(format) => Some(Template::parse(format, Backslashes::Kept)?),
    };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for word in &words {
        match volumes::get(word) {
            Ok(known) => found.push(all(&known)),
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    let text = match template {
        None => Data::List(found).pretty_json() + "\n",
        Some(template) => {
            let lines: Result<String, Failure> =
                found.iter().map(|volume| template.render(volume).map(|line| line + "\n")).collect();
            lines?
        }
    };
    let code = show(&text);
    Ok(failures.iter().fold(code, |_, failure| report::failure(failure)))
}

/// In Docker's order.
fn all(known: &Known) -> Data {
    Data::row()
        .with("CreatedAt", known.created.as_str())
        .with("Driver", "local")
        .with("Labels", if known.labels.is_empty() { Data::Null } else { Data::of(&known.labels) })
        .with("Mountpoint", known.mountpoint().to_string_lossy().as_ref())
        .with("Name", known.name.as_str())
        .with("Options", Data::Null)
        .with("Scope", "local")
}
