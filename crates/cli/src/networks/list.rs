//! `network ls`.

use super::has_labels;
use crate::help::show;
use crate::images::shown;
use crate::report::{self, Failure};
use crate::table::Filter;
use crate::template::{Data, List, Row};
use crate::verb::{About, Group, Verb, also, switch, value};
use engine::ParseError;
use engine::networks::{self, Listed};
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    quiet: bool,
    in_full: bool,
    format: Option<String>,
    filters: Vec<Filter>,
}

const FILTERS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

/// `mycontainer network ls`.
pub(crate) static LS: Verb<Request> = Verb {
    about: About {
        also: &["network list"],
        outro: "Filters: name=PART, id=DIGITS, driver=bridge|macvlan|ipvlan|host|null, label=NAME[=VALUE], label!=...,\n\
                type=custom|builtin, dangling=true|false (made, and no container names it), scope=local. Several of one key:\n\
                any of them; labels: all.\n\
                Fields for --format: ID Name Driver Scope Labels Internal IPv4 IPv6 CreatedAt, and {{.Label \"name\"}}.",
        ..About::new("network ls", "", "List networks")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("filter", Some('f'), "KEY=VALUE", "Show only these; see below", |r, v| {
                r.filters.push(filter(v)?);
                Ok(())
            }),
            value("format", None, "FORMAT", "`table`, `json`, or a template as '{{.Name}}'", |r, v| {
                r.format = Some(v.to_owned());
                Ok(())
            }),
            also(&["notrunc"], switch("no-trunc", None, "Show ids in full", |r: &mut Request| &mut r.in_full)),
            switch("quiet", Some('q'), "Print ids, and nothing else", |r| &mut r.quiet),
        ],
    }],
    act: list,
};

fn filter(text: &str) -> Result<Filter, ParseError> {
    let filter = Filter::parse(text, FILTERS)?;
    match filter.key.as_str() {
        "dangling" => filter.truth().map(|_| filter),
        "type" if !matches!(filter.value.as_str(), "custom" | "builtin") => {
            Err(ParseError::new(text, "a type is custom or builtin"))
        }
        _ => Ok(filter),
    }
}

fn list(request: Request, _: Vec<String>) -> Result<ExitCode, Failure> {
    let default = if request.quiet { "{{.ID}}" } else { "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}" };
    let list = List::parse(request.format.as_deref().filter(|_| !request.quiet), default)?;
    let (networks, errors) = networks::list()?;
    let code = errors.into_iter().fold(ExitCode::SUCCESS, |_, error| report::failure(&error.into()));
    let wanted = networks.iter().filter(|network| is_wanted(&request.filters, network));
    let rows: Vec<Row> = wanted.map(|network| row(network, request.in_full)).collect();
    let shown = show(&list.render(&rows, &row(&Listed::default(), true), &[("ID", "NETWORK ID")])?);
    Ok(if code == ExitCode::SUCCESS { shown } else { code })
}

fn row(network: &Listed, in_full: bool) -> Row {
    let config = &network.config;
    let labels: Vec<String> = config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    // Docker has these as text.
    let truth = |is: bool| if is { "true" } else { "false" };
    Data::row()
        .with("CreatedAt", shown::at(&config.created))
        .with("Driver", network.driver)
        .with("ID", if in_full { &config.id } else { config.id.get(..12).unwrap_or(&config.id) })
        .with("IPv4", truth(network.has_addresses()))
        .with("IPv6", truth(config.ipv6.is_some()))
        .with("Internal", truth(config.internal))
        .with("Labels", labels.join(","))
        .with("Name", config.name.as_str())
        .with("Scope", "local")
        .with("Label", config.labels.clone())
}

fn is_wanted(filters: &[Filter], network: &Listed) -> bool {
    let any = |key: &str, is: &dyn Fn(&str) -> bool| {
        let mut of = filters.iter().filter(|filter| filter.key == key).peekable();
        of.peek().is_none() || of.any(|filter| is(&filter.value) != filter.is_not)
    };
    let is_dangling = !network.is_built_in && network.containers.is_empty();
    let mut dangling = filters.iter().filter(|filter| filter.key == "dangling").peekable();
    (dangling.peek().is_none() || dangling.any(|filter| filter.truth() == Ok(is_dangling)))
        && any("driver", &|driver| network.driver == driver)
        && any("id", &|digits| network.config.id.starts_with(digits))
        && any("name", &|part| network.config.name.contains(part))
        && any("scope", &|scope| scope == "local")
        && any("type", &|kind| (kind == "builtin") == network.is_built_in)
        && has_labels(filters, &network.config)
}
