//! `load`: images out of an archive, a layout, or standard input.

use super::say;
use crate::progress::Progress;
use crate::report::{self, Failure};
use crate::verb::{About, Group, Verb, switch, value};
use engine::RunOptions;
use engine::images::{self, Platform};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    input: Option<PathBuf>,
    platform: Option<Platform>,
    quiet: bool,
}

/// `mycontainer load`.
pub(crate) static LOAD: Verb<Request> = Verb {
    about: About {
        also: &["image load"],
        outro: "It is what `docker save`, `podman save`, skopeo, umoci or buildah wrote, plain or compressed; or a directory\n\
                that is an OCI image layout.",
        example: "load -i alpine.tar",
        ..About::new("load", "", "Read the images of an archive")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("input", Some('i'), "FILE", "Read this file or layout, not standard input", |r, v| {
                r.input = Some(v.into()).filter(|_| v != "-");
                Ok(())
            }),
            value("platform", None, "OS/ARCH", "Of several, take the image for this machine", |r, v| {
                r.platform = Some(RunOptions::platform(v)?);
                Ok(())
            }),
            switch("quiet", Some('q'), "Do not tell how far it is", |r| &mut r.quiet),
        ],
    }],
    act: load,
};

fn load(request: Request, _: Vec<String>) -> Result<ExitCode, Failure> {
    if request.input.is_none() && std::io::stdin().is_terminal() {
        return Err(Failure::new("there is nothing to load: standard input is a terminal").hint("name a file by -i"));
    }
    let store = images::store()?;
    let progress = Progress::new(request.quiet);
    for loaded in images::load(&store, request.input.as_deref(), request.platform.as_ref(), &progress)? {
        if let Some(other) = &loaded.received.other_platform {
            report::note(&format!("{} is for {other}", loaded.names.first().map_or("the image", String::as_str)));
        }
        if loaded.names.is_empty() {
            say(&format!("Loaded image ID: {}", loaded.received.id));
        }
        loaded.names.iter().for_each(|name| say(&format!("Loaded image: {name}")));
    }
    Ok(ExitCode::SUCCESS)
}
