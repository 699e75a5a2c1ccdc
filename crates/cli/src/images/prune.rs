//! `image prune` and `system prune`: what nobody needs is removed.

use super::{remove, say, shown};
use crate::report::{self, Failure};
use crate::table::{Filter, size};
use crate::time::Time;
use crate::verb::{About, Group, Verb, switch, value};
use engine::images::{self, PruneOrder};
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
            "Only images that are as until=24h, label=NAME[=VALUE] or label!=... say",
            |r, v| {
                let filter = Filter::parse(v, &["until", "label"])?;
                if filter.key == "until" {
                    shown::until(&filter)?;
                }
                r.filters.push(filter);
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
        prune(&request, &format!("WARNING! This will remove {what}."))
    },
};

/// `mycontainer system prune`.
pub(crate) static SYSTEM_PRUNE: Verb<Request> = Verb {
    about: About {
        outro: "These are images, layers and what was begun to be fetched. Containers that were created stay: `rm` removes\n\
                them.",
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
        prune(
            &request,
            &format!("WARNING! This will remove:\n{volumes}  - {what}\n  - layers and downloads that no image needs\n"),
        )
    },
};

fn prune(request: &Request, warning: &str) -> Result<ExitCode, Failure> {
    if !request.force && !is_agreed(warning) {
        return Err(Failure::new("nothing was removed: it was not agreed to").hint("-f removes without asking"));
    }
    let labels: Vec<Filter> = request.filters.iter().filter(|filter| filter.key == "label").cloned().collect();
    let (bytes, code) = if request.volumes { crate::volumes::delete(false, &labels)? } else { (0, ExitCode::SUCCESS) };
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
