//! `network rm` and `network prune`.

use super::has_labels;
use crate::images::{for_each, is_agreed, say, shown};
use crate::report::{self, Failure};
use crate::table::Filter;
use crate::verb::{About, Group, Verb, switch, value};
use engine::networks::{self, Config};
use engine::when::Time;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Remove {
    force: bool,
}

/// `mycontainer network rm`.
pub(crate) static RM: Verb<Remove> = Verb {
    about: About {
        also: &["network remove"],
        outro: "One that a container is on is not removed. A container that does not run may name it: it will not start until\n\
                there is a network of that name.",
        example: "network rm net",
        ..About::new("network rm", "NETWORK [NETWORK...]", "Remove networks")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[switch("force", Some('f'), "That it is not there is no failure", |r: &mut Remove| &mut r.force)],
    }],
    act: |request, words| {
        Ok(for_each(&words, |word| {
            networks::remove(word, request.force)?;
            say(word);
            Ok(())
        }))
    },
};

#[derive(Debug, Default)]
pub(crate) struct Prune {
    force: bool,
    filters: Vec<Filter>,
}

/// `mycontainer network prune`.
pub(crate) static PRUNE: Verb<Prune> = Verb {
    about: About {
        outro: "One that a container names stays, be it running or not.",
        ..About::new("network prune", "", "Remove networks that no container names")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value(
                "filter",
                None,
                "KEY=VALUE",
                "Only those that are as until=24h, label=NAME[=VALUE] or label!=... say",
                |r: &mut Prune, v| {
                    r.filters.push(shown::old_or_labelled(v)?);
                    Ok(())
                },
            ),
            switch("force", Some('f'), "Do not ask first", |r| &mut r.force),
        ],
    }],
    act: |request, _| {
        let warning = "WARNING! This will remove all custom networks not used by at least one container.";
        if !request.force && !is_agreed(warning) {
            return Err(Failure::new("nothing was removed: it was not agreed to").hint("-f removes without asking"));
        }
        delete(&request.filters)
    },
};

/// Removes networks and says which.
pub(crate) fn delete(filters: &[Filter]) -> Result<ExitCode, Failure> {
    let pruned = networks::prune(&|config| is_old(filters, config) && has_labels(filters, config))?;
    if !pruned.removed.is_empty() {
        say("Deleted Networks:");
        pruned.removed.iter().for_each(|name| say(name));
        say("");
    }
    Ok(pruned.errors.into_iter().fold(ExitCode::SUCCESS, |_, error| report::failure(&error.into())))
}

/// Whether all filters for the time let a network through.
fn is_old(filters: &[Filter], config: &Config) -> bool {
    let created = Time::parse(&config.created);
    let is_before = |filter: &Filter| {
        let until = shown::until(filter).ok();
        // One that does not say when it was made is as old as any.
        until.is_some_and(|until| created.is_none_or(|created| (created < until) != filter.is_not))
    };
    filters.iter().filter(|filter| filter.key == "until").all(is_before)
}
