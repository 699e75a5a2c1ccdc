//! `image prune` and `system prune`: what nobody needs is removed.

use super::{remove, say, shown};
use crate::report::{self, Failure};
use crate::table::{Filter, size};
use crate::verb::{About, Group, Verb, switch, value};
use engine::images::{self, PruneOrder};
use engine::when::Time;
use image::Image;
use std::io::Write;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    all: bool,
    force: bool,
    filters: Vec<Filter>,
    // Of `system prune`.
    volumes: bool,
}

const FLAGS: &[Group<Request>] = &[OF_IMAGES];

const OF_IMAGES: Group<Request> = Group {
    heading: "Flags",
    flags: &[
        switch("all", Some('a'), "Remove images that have a name, too, where no container is made of them", |r| {
            &mut r.all
        }),
        value(
            "filter",
            None,
            "KEY=VALUE",
            "Only those that are as until=24h, label=NAME[=VALUE] or label!=... say",
            |r, v| {
                r.filters.push(shown::old_or_labelled(v)?);
                Ok(())
            },
        ),
        switch("force", Some('f'), "Do not ask first", |r| &mut r.force),
    ],
};

/// `mycontainer image prune`.
pub(crate) static PRUNE: Verb<Request> = Verb {
    about: About::new("image prune", "", "Remove images that have no name, and what else nobody needs"),
    groups: FLAGS,
    act: |request, _| {
        let what = if request.all { "all images without at least one container" } else { "all dangling images" };
        agree(&request, &format!("WARNING! This will remove {what}."))?;
        prune(&request, 0, ExitCode::SUCCESS)
    },
};

/// `mycontainer system prune`.
pub(crate) static SYSTEM_PRUNE: Verb<Request> = Verb {
    about: About {
        outro: "These are containers that do not run, networks that no container names then, images, layers and what was\n\
                begun to be fetched.",
        ..About::new("system prune", "", "Remove all that nobody needs")
    },
    groups: &[
        OF_IMAGES,
        Group {
            heading: "More",
            flags: &[switch("volumes", None, "Volumes without a name that no container uses, too", |r| &mut r.volumes)],
        },
    ],
    act: |request, _| {
        let what = if request.all { "all images without at least one container" } else { "all dangling images" };
        let volumes = if request.volumes { "  - anonymous volumes not used by at least one container\n" } else { "" };
        let containers = "  - all stopped containers";
        let networks = "  - all networks not used by at least one container";
        let layers = "  - layers and downloads that no image needs";
        agree(
            &request,
            &format!("WARNING! This will remove:\n{containers}\n{networks}\n{volumes}  - {what}\n{layers}\n"),
        )?;
        let (mut bytes, of_containers) = crate::containers::delete(&request.filters)?;
        let of_networks = crate::networks::delete(&request.filters)?;
        let mut code = if of_networks == ExitCode::SUCCESS { of_containers } else { of_networks };
        if request.volumes {
            let labels: Vec<Filter> = request.filters.iter().filter(|filter| filter.key == "label").cloned().collect();
            let (freed, of_volumes) = crate::volumes::delete(false, &labels)?;
            bytes += freed;
            code = if of_volumes == ExitCode::SUCCESS { code } else { of_volumes };
        }
        prune(&request, bytes, code)
    },
};

fn agree(request: &Request, warning: &str) -> Result<(), Failure> {
    if request.force || is_agreed(warning) {
        return Ok(());
    }
    Err(Failure::new("nothing was removed: it was not agreed to").hint("-f removes without asking"))
}

/// Removes images, after what has freed so many bytes.
fn prune(request: &Request, bytes: u64, code: ExitCode) -> Result<ExitCode, Failure> {
    let store = images::store()?;
    let pruned = images::prune(&store, &PruneOrder { all: request.all }, &|image| !is_meant(&request.filters, image))?;
    if !pruned.removed.is_empty() {
        say("Deleted Images:");
        pruned.removed.iter().for_each(|removed| say(&remove::told(removed, ["untagged", "deleted"])));
        say("");
    }
    say(&format!("Total reclaimed space: {}", size(pruned.freed.bytes + bytes)));
    let tell = |_, error: &String| report::failure(&Failure::new(error.as_str()));
    Ok(pruned.errors.iter().fold(code, tell))
}

/// Asks; the end of the input means no.
pub(crate) fn is_agreed(warning: &str) -> bool {
    let _ = write!(std::io::stdout(), "{warning}\nAre you sure you want to continue? [y/N] ");
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Whether all filters mean an image.
fn is_meant(filters: &[Filter], image: &Image) -> bool {
    filters.iter().all(|filter| match filter.key.as_str() {
        "until" => {
            let created = image.config.created.as_deref().and_then(Time::parse);
            // One that does not say when it was made is as old as any.
            shown::until(filter).is_ok_and(|until| created.is_none_or(|created| (created < until) != filter.is_not))
        }
        _ => filter.label(|name| image.config.config.labels.get(name).map(String::as_str)),
    })
}
