//! `volume create`, `volume rm` and `volume prune`.

use super::has_labels;
use crate::images::{for_each, is_agreed, say};
use crate::report::{self, Failure};
use crate::table::{Filter, size};
use crate::verb::{About, Group, Verb, switch, value};
use engine::{ParseError, RunOptions, volumes};
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Create {
    labels: Vec<(String, String)>,
    name: Option<String>,
}

/// `mycontainer volume create`.
pub(crate) static CREATE: Verb<Create> = Verb {
    about: About {
        outro: "Without a name it gets 64 digits, and `volume prune` removes it when no container uses it.\n\
                That it is there already is no failure. `run -v NAME:DIR` makes a volume that is missing, too.",
        example: "volume create data",
        ..About::new("volume create", "[NAME]", "Make a volume")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("driver", Some('d'), "DRIVER", "local: there is no other", |_, v| {
                if v == "local" { Ok(()) } else { Err(ParseError::new(v, "the only driver is local")) }
            }),
            value("label", None, "NAME=VALUE", "Give it a label", |r, v| {
                r.labels.push(RunOptions::pair(v));
                Ok(())
            }),
            value("name", None, "NAME", "The name, as Docker had it once", |r, v| {
                r.name = Some(v.to_owned());
                Ok(())
            }),
        ],
    }],
    act: |request, words| {
        let name = words.first().or(request.name.as_ref());
        say(&volumes::create(name.map(String::as_str), &request.labels)?);
        Ok(ExitCode::SUCCESS)
    },
};

#[derive(Debug, Default)]
pub(crate) struct Remove {
    force: bool,
}

/// `mycontainer volume rm`.
pub(crate) static RM: Verb<Remove> = Verb {
    about: About {
        also: &["volume remove"],
        outro: "One that a container uses is not removed, be it running or only created.",
        example: "volume rm data",
        ..About::new("volume rm", "VOLUME [VOLUME...]", "Remove volumes and what is in them")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[switch("force", Some('f'), "That it is not there is no failure", |r: &mut Remove| &mut r.force)],
    }],
    act: |request, words| {
        Ok(for_each(&words, |word| {
            volumes::remove(word, request.force)?;
            say(word);
            Ok(())
        }))
    },
};

#[derive(Debug, Default)]
pub(crate) struct Prune {
    all: bool,
    force: bool,
    filters: Vec<Filter>,
}

/// `mycontainer volume prune`.
pub(crate) static PRUNE: Verb<Prune> = Verb {
    about: About::new("volume prune", "", "Remove volumes that no container uses"),
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("all", Some('a'), "Those that have a name, too", |r: &mut Prune| &mut r.all),
            value("filter", None, "KEY=VALUE", "Only volumes as label=NAME[=VALUE] or label!=... says; all", |r, v| {
                let filter = Filter::parse(v, &["label", "all"])?;
                if filter.key == "all" {
                    r.all = filter.truth()?;
                } else {
                    r.filters.push(filter);
                }
                Ok(())
            }),
            switch("force", Some('f'), "Do not ask first", |r| &mut r.force),
        ],
    }],
    act: |request, _| {
        let what = if request.all { "all volumes" } else { "anonymous volumes" };
        if !request.force
            && !is_agreed(&format!("WARNING! This will remove {what} not used by at least one container."))
        {
            return Err(Failure::new("nothing was removed: it was not agreed to").hint("-f removes without asking"));
        }
        let (bytes, code) = delete(request.all, &request.filters)?;
        say(&format!("Total reclaimed space: {}", size(bytes)));
        Ok(code)
    },
};

/// Removes volumes and says which; how many bytes that freed.
pub(crate) fn delete(all: bool, filters: &[Filter]) -> Result<(u64, ExitCode), Failure> {
    let pruned = volumes::prune(&|known| (all || known.is_anonymous()) && has_labels(filters, known))?;
    if !pruned.removed.is_empty() {
        say("Deleted Volumes:");
        pruned.removed.iter().for_each(|name| say(name));
        say("");
    }
    let code = pruned.errors.into_iter().fold(ExitCode::SUCCESS, |_, error| report::failure(&error.into()));
    Ok((pruned.bytes, code))
}
