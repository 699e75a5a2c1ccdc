//! `pull`: an image from its registry.

use super::{for_each, say};
use crate::progress::Progress;
use crate::report::{self, Failure};
use crate::verb::{About, Group, Verb, switch, value};
use engine::RunOptions;
use engine::images::{self, PullOrder, Pulled};
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    all_tags: bool,
    quiet: bool,
    order: PullOrder,
}

/// `mycontainer pull`.
pub(crate) static PULL: Verb<Request> = Verb {
    about: About {
        also: &["image pull"],
        outro: "A NAME without a registry is one of Docker Hub, unless registries.conf says otherwise; without a tag it is\n\
                NAME:latest. The layers are kept ready to run, and each of them once, whichever images have it.",
        example: "pull alpine",
        ..About::new("pull", "NAME [NAME...]", "Fetch an image from its registry")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("all-tags", Some('a'), "Fetch every tag of the repository", |r| &mut r.all_tags),
            value("platform", None, "OS/ARCH", "Take the image for this machine, as linux/arm64", |r, v| {
                r.order.platform = Some(RunOptions::platform(v)?);
                Ok(())
            }),
            switch("quiet", Some('q'), "Print the image's full name, and nothing else", |r| &mut r.quiet),
        ],
    }],
    act: pull,
};

fn pull(request: Request, names: Vec<String>) -> Result<ExitCode, Failure> {
    let store = images::store()?;
    Ok(for_each(&names, |name| {
        if request.all_tags {
            return pull_all(&store, name, &request);
        }
        let reference = images::reference(name)?;
        if reference.familiar() == format!("{name}:latest") && !request.quiet {
            say("Using default tag: latest");
        }
        let pulled = images::pull(&store, name, &request.order, &Progress::new(request.quiet))?;
        tell(&pulled, request.quiet);
        Ok(())
    }))
}

fn pull_all(store: &image::Images, name: &str, request: &Request) -> Result<(), Failure> {
    let reference = images::reference(name)?;
    if reference.digest().is_some() || reference.familiar() == name && reference.familiar() != reference.familiar_name()
    {
        return Err(Failure::misuse(
            format!("--all-tags fetches every tag, and {name:?} names one"),
            format!("write {}", reference.familiar_name()),
        ));
    }
    let events = |_: &_| Box::new(Progress::new(request.quiet)) as Box<dyn image::Events>;
    images::pull_all_tags(store, name, &request.order, &events)?.iter().for_each(|pulled| tell(pulled, request.quiet));
    Ok(())
}

fn tell(pulled: &Pulled, quiet: bool) {
    if let Some(other) = &pulled.received.other_platform {
        report::note(&format!("{} is for {other}: it has no image for another platform", pulled.name.familiar()));
    }
    if !quiet {
        say(&format!("Digest: {}", pulled.received.top));
        let status = if pulled.received.changed { "Downloaded newer image for" } else { "Image is up to date for" };
        say(&format!("Status: {status} {}", pulled.name.familiar()));
    }
    say(&pulled.name.to_string());
}
