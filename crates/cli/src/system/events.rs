//! `events`: what happens to containers, images, volumes and networks.

use crate::report::Failure;
use crate::table::{Filter, harmless};
use crate::template::{Backslashes, Data, Row, Template};
use crate::verb::{About, Flag, Group, Verb, value};
use engine::events::{Event, EventsOrder};
use engine::when::Time;
use engine::{ParseError, events};
use std::io::Write;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    order: EventsOrder,
    filters: Vec<Filter>,
    format: Option<String>,
}

const FILTERS: &[&str] = &["container", "event", "image", "label", "network", "type", "volume"];
const TYPES: &[&str] = &["container", "image", "network", "volume"];

const FLAGS: &[Flag<Request>] = &[
    value("filter", Some('f'), "KEY=VALUE", "Show only these; see below", |r, v| {
        r.filters.push(filter(v)?);
        Ok(())
    }),
    value("format", None, "FORMAT", "`json`, or a template as '{{.Type}} {{.Action}}'", |r, v| {
        r.format = Some(v.to_owned());
        Ok(())
    }),
    value("since", None, "TIME", "Show also what has happened since: a time, or how long ago, as 10m", |r, v| {
        r.order.since = Some(time(v)?);
        Ok(())
    }),
    value("until", None, "TIME", "End at this time; without --since show all that has happened", |r, v| {
        r.order.until = Some(time(v)?);
        Ok(())
    }),
];

/// `mycontainer events`.
pub(crate) static EVENTS: Verb<Request> = Verb {
    about: About {
        also: &["system events"],
        intro: "Shows what happens to containers, images, volumes and networks, from now on until you press Ctrl-C. Each\n\
                command and each container's monitor writes it down; of what is older at least the last MiB is kept, until the\n\
                next boot.",
        outro: "Filters: container=NAME, event=EVENT, image=NAME, label=NAME[=VALUE],\n\
                network=NAME, type=container|image|network|volume,\n\
                volume=NAME. Several of one key: any of them; labels: all.\n\
                Events of containers: attach, commit, create, destroy, die, exec_create, exec_die, exec_start, kill, oom,\n\
                pause, rename, restart, start, stop, unpause. Of images: delete, import, load, pull, push, save, tag, untag.\n\
                Of volumes and networks: create, destroy. The end of a detached exec is seen by nobody.\n\
                Fields for --format: Type Action Actor.ID Actor.Attributes Status ID From Scope Time TimeNano.",
        ..About::new("events", "", "Show what happens to containers, images, volumes and networks")
    },
    groups: &[Group { heading: "Flags", flags: FLAGS }],
    act: |request, _| show(&request),
};

fn time(text: &str) -> Result<Time, ParseError> {
    Time::parse_loosely(text, Time::now()).ok_or_else(|| {
        ParseError::new(text, "write 2006-01-02T15:04:05Z, seconds since 1970, or how long ago, as 1h30m")
    })
}

fn filter(text: &str) -> Result<Filter, ParseError> {
    let filter = Filter::parse(text, FILTERS)?;
    if filter.is_not {
        return Err(ParseError::new(text, "write KEY=VALUE"));
    }
    if filter.key == "type" && !TYPES.contains(&filter.value.as_str()) {
        return Err(ParseError::new(text, format!("a type is one of {}", TYPES.join(", "))));
    }
    Ok(filter)
}

/// How an event is written.
enum Form {
    Line,
    Json,
    Template(Template),
}

fn show(request: &Request) -> Result<ExitCode, Failure> {
    let form = match request.format.as_deref().map(str::trim) {
        None | Some("") => Form::Line,
        Some("json" | "{{json .}}") => Form::Json,
        Some(format) => Form::Template(Template::parse(format, Backslashes::Read)?),
    };
    // It is right or wrong, whatever happens.
    if let Form::Template(template) = &form {
        template.render(&row(&Event::default()))?;
    }
    let mut failure = None;
    events::follow(request.order, &mut |event| {
        if !is_meant(&request.filters, event) {
            return true;
        }
        let text = match &form {
            Form::Line => harmless(&line(event)),
            Form::Json => match serde_json::to_string(event) {
                Ok(json) => json,
                Err(_) => return true,
            },
            Form::Template(template) => match template.render(&row(event)) {
                Ok(text) => text,
                Err(wrong) => {
                    failure = Some(wrong);
                    return false;
                }
            },
        };
        // Nobody reads any more.
        writeln!(std::io::stdout(), "{text}").is_ok()
    })?;
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// As Docker prints it.
fn line(event: &Event) -> String {
    let at = event.at().fixed();
    let attributes: Vec<String> =
        event.actor.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let attributes = if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!("{} {} {} {}{attributes}", String::from_utf8_lossy(&at), event.kind, event.action, event.actor.id)
}

/// The fields by the names that they have for Docker's templates.
fn row(event: &Event) -> Row {
    let attributes = event.actor.attributes.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let actor = Data::row().with("ID", event.actor.id.as_str()).with("Attributes", Data::Map(attributes));
    Data::row()
        .with("Status", event.status.as_str())
        .with("ID", event.id.as_str())
        .with("From", event.from.as_str())
        .with("Type", event.kind.as_str())
        .with("Action", event.action.as_str())
        .with("Actor", actor)
        .with("Scope", event.scope.as_str())
        .with("Time", Data::Int(event.time.into()))
        .with("TimeNano", Data::Int(event.time_nano.into()))
}

/// Whether all filters mean an event. [moby, daemon/events/filter.go]
fn is_meant(filters: &[Filter], event: &Event) -> bool {
    let any = |key: &str, is: &dyn Fn(&str) -> bool| {
        let mut of = filters.iter().filter(|filter| filter.key == key).peekable();
        of.peek().is_none() || of.any(|filter| is(&filter.value))
    };
    let attribute = |name: &str| event.actor.attributes.get(name).map(String::as_str);
    // Names, and the beginnings of names and ids.
    let is_called = |kind: &str, words: &str| {
        event.kind == kind
            && (event.actor.id.starts_with(words) || attribute("name").is_some_and(|name| name.starts_with(words)))
    };
    let is_image = |words: &str| {
        let name = attribute(if event.kind == "image" { "name" } else { "image" }).unwrap_or_default();
        let bare = |text: &str| engine::images::reference(text).map(|name| name.familiar_name()).ok();
        event.actor.id == words || name == words || bare(name).as_deref() == Some(words)
    };
    // `exec_start: COMMAND`
    let action = event.action.split_once(':').map_or(event.action.as_str(), |(action, _)| action);
    let mut labels = filters.iter().filter(|filter| filter.key == "label");
    any("container", &|words| is_called("container", words))
        && any("network", &|words| is_called("network", words))
        && any("volume", &|words| is_called("volume", words))
        && any("image", &is_image)
        && any("type", &|kind| event.kind == kind)
        && any("event", &|wanted| wanted == event.action || wanted == action)
        && labels.all(|filter| filter.label(attribute))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::events::Actor;
    use std::collections::BTreeMap;

    fn event(kind: &str, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        let attributes: BTreeMap<String, String> =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Event {
            kind: kind.into(),
            action: action.into(),
            actor: Actor { id: id.into(), attributes },
            time_nano: 1_700_000_000_000_000_001,
            ..Event::default()
        }
    }

    #[test]
    fn filters_are_dockers() {
        let of_container =
            event("container", "exec_start: sh -c a", "abcd", &[("name", "web"), ("image", "alpine:3"), ("l", "v")]);
        let of_image = event("image", "pull", "alpine:3", &[("name", "alpine")]);
        let of_volume = event("volume", "create", "data", &[("driver", "local")]);
        let of_network = event("network", "destroy", "f00d", &[("name", "net"), ("type", "bridge")]);
        for (filters, expected) in [
            (&[][..], [true, true, true]),
            (&["container=web"], [true, false, false]),
            (&["container=abc"], [true, false, false]),
            (&["container=eb"], [false, false, false]),
            (&["container=x", "container=web"], [true, false, false]),
            (&["volume=data"], [false, false, true]),
            (&["image=alpine"], [true, true, false]),
            (&["image=alpine:3"], [true, true, false]),
            (&["type=image", "type=volume"], [false, true, true]),
            (&["event=exec_start"], [true, false, false]),
            (&["event=create", "event=pull"], [false, true, true]),
            (&["event=create", "type=image"], [false, false, false]),
            (&["label=l"], [true, false, false]),
            (&["label=l=v", "label=m"], [false, false, false]),
        ] {
            let read: Vec<Filter> = filters.iter().map(|text| filter(text).unwrap()).collect();
            assert_eq!(is_meant(&read, &of_network), filters.is_empty(), "{filters:?}");
            let meant = [&of_container, &of_image, &of_volume].map(|event| is_meant(&read, event));
            assert_eq!(meant, expected, "{filters:?}");
        }
        for (words, expected) in
            [("network=ne", true), ("network=f0", true), ("network=data", false), ("type=network", true)]
        {
            assert_eq!(is_meant(&[filter(words).unwrap()], &of_network), expected, "{words}");
        }
        for wrong in ["type=plugin", "scope=local", "container!=a", "web"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_are_dockers() {
        let event = event("container", "die", "abcd", &[("name", "web"), ("exitCode", "3")]);
        assert_eq!(line(&event), "2023-11-14T22:13:20.000000001Z container die abcd (exitCode=3, name=web)");
        let bare = super::tests::event("volume", "destroy", "v", &[]);
        assert_eq!(line(&bare), "2023-11-14T22:13:20.000000001Z volume destroy v");
    }
}
