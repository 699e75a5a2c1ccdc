//! `container prune`: containers that do not run are removed.

use crate::images::{is_agreed, say, shown};
use crate::report::{self, Failure};
use crate::table::{Filter, size};
use crate::verb::{About, Group, Verb, switch, value};
use engine::Error;
use engine::containers::{self, Listed};
use engine::when::Time;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    force: bool,
    filters: Vec<Filter>,
}

/// `mycontainer container prune`.
pub(crate) static PRUNE: Verb<Request> = Verb {
    about: About {
        outro: "What they have written goes with them, and so do their logs; volumes stay.",
        ..About::new("container prune", "", "Remove containers that do not run")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value(
                "filter",
                None,
                "KEY=VALUE",
                "Only those that are as until=24h, label=NAME[=VALUE] or label!=... say",
                |r: &mut Request, v| {
                    r.filters.push(shown::old_or_labelled(v)?);
                    Ok(())
                },
            ),
            switch("force", Some('f'), "Do not ask first", |r| &mut r.force),
        ],
    }],
    act: |request, _| {
        if !request.force && !is_agreed("WARNING! This will remove all stopped containers.") {
            return Err(Failure::new("nothing was removed: it was not agreed to").hint("-f removes without asking"));
        }
        let (bytes, code) = delete(&request.filters)?;
        say(&format!("Total reclaimed space: {}", size(bytes)));
        Ok(code)
    },
};

/// Removes those that do not run and that the filters mean, and says which; how many bytes they had written.
pub(crate) fn delete(filters: &[Filter]) -> Result<(u64, ExitCode), Failure> {
    let stopped: Vec<Listed> =
        containers::list(true)?.into_iter().filter(|one| !one.is_running() && is_meant(filters, one)).collect();
    let sizes = containers::sizes(&stopped);
    let (mut bytes, mut code, mut said) = (0, ExitCode::SUCCESS, false);
    for (one, size) in stopped.iter().zip(sizes) {
        match containers::remove(&one.id, false, false) {
            Ok(()) => {
                if !std::mem::replace(&mut said, true) {
                    say("Deleted Containers:");
                }
                say(&one.id);
                bytes += size.written;
            }
            // Another has removed or started it meanwhile; or it goes with its pod.
            Err(Error::NoSuchContainer { .. } | Error::IsRunning { .. } | Error::HoldsPod { .. }) => {}
            Err(error) => code = report::failure(&error.into()),
        }
    }
    if said {
        say("");
    }
    Ok((bytes, code))
}

fn is_meant(filters: &[Filter], one: &Listed) -> bool {
    filters.iter().all(|filter| match filter.key.as_str() {
        "until" => {
            let created = Time::parse(&one.created);
            shown::until(filter).is_ok_and(|until| created.is_none_or(|created| (created < until) != filter.is_not))
        }
        _ => filter.label(|name| one.labels.get(name).map(String::as_str)),
    })
}
