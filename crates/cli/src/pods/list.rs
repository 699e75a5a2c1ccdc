//! `pod ps`, `pod inspect` and `pod exists`.

use crate::help::show;
use crate::images::shown;
use crate::report::{self, Failure};
use crate::table::{Filter, ago};
use crate::template::{Backslashes, Data, List, Row, Template};
use crate::verb::{About, Group, Verb, also, latest_pod, switch, value};
use engine::ParseError;
use engine::pods::{self, Member, Pod, PodState};
use engine::when::Time;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    quiet: bool,
    in_full: bool,
    latest: bool,
    no_heading: bool,
    ids: bool,
    names: bool,
    states: bool,
    format: Option<String>,
    filters: Vec<Filter>,
}

const FILTERS: &[&str] = &["id", "name", "label", "status", "ctr-ids", "ctr-names", "ctr-number", "ctr-status"];
const STATES: [PodState; 6] =
    [PodState::Created, PodState::Running, PodState::Degraded, PodState::Paused, PodState::Exited, PodState::Stopped];

/// `mycontainer pod ps`.
pub(crate) static PS: Verb<Request> = Verb {
    about: About {
        also: &["pod ls", "pod list"],
        intro: "Lists pods, the newest first, with the number of their containers, the infra container among them.",
        outro: "Filters: id=DIGITS, name=PART, label=NAME[=VALUE], status=created|running|degraded|paused|exited|stopped,\n\
                ctr-ids=DIGITS, ctr-names=PART, ctr-number=NUMBER, ctr-status=STATUS (of any of its containers).\n\
                Several of one key: any of them; labels: all.\n\
                Fields for --format: ID Name Status Created InfraID NumberOfContainers ContainerIds ContainerNames\n\
                ContainerStatuses Labels, and {{.Label \"name\"}}.",
        ..About::new("pod ps", "", "List pods")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("filter", Some('f'), "KEY=VALUE", "Show only these; see below", |r: &mut Request, v| {
                r.filters.push(filter(v)?);
                Ok(())
            }),
            value("format", None, "FORMAT", "`table`, `json`, or a template as '{{.ID}} {{.Name}}'", |r, v| {
                r.format = Some(v.to_owned());
                Ok(())
            }),
            switch("latest", Some('l'), "Show the newest one", |r| &mut r.latest),
            also(&["notrunc"], switch("no-trunc", None, "Show ids in full", |r| &mut r.in_full)),
            also(&["noheading"], switch("no-heading", None, "Show no headings", |r| &mut r.no_heading)),
            switch("quiet", Some('q'), "Print ids, and nothing else", |r| &mut r.quiet),
            switch("ctr-ids", None, "Show the ids of its containers", |r| &mut r.ids),
            switch("ctr-names", None, "Show the names of its containers", |r| &mut r.names),
            switch("ctr-status", None, "Show the states of its containers", |r| &mut r.states),
        ],
    }],
    act: list,
};

fn filter(text: &str) -> Result<Filter, ParseError> {
    let filter = Filter::parse(text, FILTERS)?;
    match filter.key.as_str() {
        _ if filter.is_not && filter.key != "label" => {
            Err(ParseError::new(text, "write KEY=VALUE: only labels can be asked not to be there"))
        }
        "status" if !STATES.iter().any(|state| state.name().eq_ignore_ascii_case(&filter.value)) => {
            Err(ParseError::new(text, "a status is one of created, running, degraded, paused, exited and stopped"))
        }
        "ctr-number" if filter.value.parse::<usize>().is_err() => {
            Err(ParseError::new(text, "after ctr-number= stands a number"))
        }
        _ => Ok(filter),
    }
}

type Listed = (Pod, Vec<Member>, PodState);

fn list(request: Request, _: Vec<String>) -> Result<ExitCode, Failure> {
    let mut columns = vec!["{{.ID}}", "{{.Name}}", "{{.Status}}", "{{.Created}}", "{{.InfraID}}"];
    let more = [
        (request.ids, "{{.ContainerIds}}"),
        (request.names, "{{.ContainerNames}}"),
        (request.states, "{{.ContainerStatuses}}"),
    ];
    columns.extend(more.iter().filter(|(is_asked, _)| *is_asked).map(|(_, column)| column));
    if !(request.ids || request.names || request.states) {
        columns.push("{{.NumberOfContainers}}");
    }
    let table = if request.no_heading { "" } else { "table " };
    let default = if request.quiet { "{{.ID}}".into() } else { format!("{table}{}", columns.join("\t")) };
    let template = List::parse(request.format.as_deref().filter(|_| !request.quiet), &default)?;
    let mut pods = pods::list()?;
    pods.retain(|listed| is_wanted(&request.filters, listed));
    if request.latest {
        pods.truncate(1);
    }
    let now = Time::now();
    let rows: Vec<Row> = pods.iter().map(|listed| row(listed, request.in_full, now)).collect();
    Ok(show(&template.render(&rows, &any_row(now), HEADINGS)?))
}

const HEADINGS: &[(&str, &str)] = &[
    ("ID", "POD ID"),
    ("InfraID", "INFRA ID"),
    ("NumberOfContainers", "# OF CONTAINERS"),
    ("ContainerIds", "IDS"),
    ("ContainerNames", "NAMES"),
    ("ContainerStatuses", "STATUS"),
];

fn row((pod, members, state): &Listed, in_full: bool, now: Time) -> Row {
    let cut = |id: &str| if in_full { id.to_owned() } else { id.get(..12).unwrap_or(id).to_owned() };
    let labels: Vec<String> = pod.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let all = |of: &dyn Fn(&Member) -> String| members.iter().map(of).collect::<Vec<_>>().join(",");
    let then = Time::parse(&pod.created);
    Data::row()
        .with("ContainerIds", all(&|member| cut(&member.id)))
        .with("ContainerNames", all(&|member| member.name.clone()))
        .with("ContainerStatuses", all(&|member| member.state.to_owned()))
        .with("Created", then.map_or_else(|| "N/A".into(), |then| ago(then, now)))
        .with("CreatedAt", shown::at(&pod.created))
        .with("ID", cut(&pod.id))
        .with("InfraID", cut(&pod.infra))
        .with("Labels", labels.join(","))
        .with("Name", pod.name.as_str())
        .with("NumberOfContainers", members.len().to_string())
        .with("Status", state.name())
        .with("Label", pod.labels.clone())
}

/// For its fields, also where there is nothing to list.
fn any_row(now: Time) -> Row {
    row(&(Pod::default(), Vec::new(), PodState::Created), true, now)
}

fn is_wanted(filters: &[Filter], (pod, members, state): &Listed) -> bool {
    let any = |key: &str, is: &dyn Fn(&Filter) -> bool| {
        let mut of = filters.iter().filter(|filter| filter.key == key).peekable();
        of.peek().is_none() || of.any(is)
    };
    let any_member = |is: &dyn Fn(&Member) -> bool| members.iter().any(is);
    let mut labels = filters.iter().filter(|filter| filter.key == "label");
    any("id", &|filter| pod.id.starts_with(&filter.value))
        && any("name", &|filter| pod.name.contains(&filter.value))
        && any("status", &|filter| state.name().eq_ignore_ascii_case(&filter.value))
        && any("ctr-ids", &|filter| any_member(&|member| member.id.starts_with(&filter.value)))
        && any("ctr-names", &|filter| any_member(&|member| member.name.contains(&filter.value)))
        && any("ctr-number", &|filter| filter.value.parse() == Ok(members.len()))
        && any("ctr-status", &|filter| any_member(&|member| member.state == filter.value))
        && labels.all(|filter| filter.label(|name| pod.labels.get(name).map(String::as_str)))
}

#[derive(Debug, Default)]
pub(crate) struct Look {
    format: Option<String>,
}

/// `mycontainer pod inspect`.
pub(crate) static INSPECT: Verb<Look> = Verb {
    about: About {
        outro: "What is not there is told on standard error, and the exit code is 1.",
        example: "pod inspect web",
        ..About::new("pod inspect", "POD [POD...]", "Show all that is known of a pod, as JSON")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("format", Some('f'), "FORMAT", "`json`, or a template as '{{.State}}'", |r: &mut Look, v| {
                r.format = Some(v.to_owned());
                Ok(())
            }),
            latest_pod(),
        ],
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
        match pods::inspect(word) {
            Ok(pod) => found.push(Data::of(&pod)),
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    let text = match template {
        None => Data::List(found).pretty_json() + "\n",
        Some(template) => {
            let lines: Result<String, Failure> =
                found.iter().map(|pod| template.render(pod).map(|line| line + "\n")).collect();
            lines?
        }
    };
    let code = show(&text);
    Ok(failures.iter().fold(code, |_, failure| report::failure(failure)))
}

/// `mycontainer pod exists`.
pub(crate) static EXISTS: Verb<()> = Verb {
    about: About {
        intro: "Says by its exit code whether there is a pod: 0, or 1.",
        example: "pod exists web",
        ..About::new("pod exists", "POD", "Say whether there is a pod")
    },
    groups: &[],
    act: |(), words| {
        let word = words.first().map(String::as_str).unwrap_or_default();
        Ok(ExitCode::from(u8::from(!pods::exists(word)?)))
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_are_wrong() {
        for wrong in ["status=asleep", "ctr-number=x", "name!=x", "name", "until=1h"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
        for right in ["status=Running", "ctr-number=2", "label!=x", "name=x"] {
            assert!(filter(right).is_ok(), "{right}");
        }
    }
}
