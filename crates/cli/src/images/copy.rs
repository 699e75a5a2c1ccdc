//! `image copy`: an image from one place to another, without this machine's store where neither is it.

use super::say;
use crate::progress::Progress;
use crate::report::Failure;
use crate::verb::{About, Group, Verb, switch, value};
use engine::RunOptions;
use engine::images::{self, CopyOrder, Place};
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    order: CopyOrder,
    quiet: bool,
}

/// `mycontainer image copy`.
pub(crate) static COPY: Verb<Request> = Verb {
    about: About {
        also: &["image cp"],
        intro: "Copies an image from one place to another, and prints its digest there. A place is\n  \
                NAME, docker://NAME           a registry\n  \
                store:NAME                    the images of this machine\n  \
                oci:DIRECTORY[:TAG]           an OCI image layout\n  \
                oci-archive:FILE[:TAG]        a tar of one\n  \
                docker-archive:FILE[:NAME]    a tar of `docker save`",
        example: "image copy alpine oci:layout:latest",
        ..About::new(
            "image copy",
            "SOURCE DESTINATION",
            "Copy an image between registries, archives, layouts and the store",
        )
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("all", Some('a'), "Copy the images for all platforms, and their index", |r| &mut r.order.all),
            value("platform", None, "OS/ARCH", "Copy the image for this machine (default: this one)", |r, v| {
                r.order.platform = Some(RunOptions::platform(v)?);
                Ok(())
            }),
            switch("quiet", Some('q'), "Do not tell how far it is", |r| &mut r.quiet),
        ],
    }],
    act: copy,
};

fn copy(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    if request.order.all && request.order.platform.is_some() {
        return Err(Failure::misuse("--all and --platform contradict each other", "leave one of them away"));
    }
    let (from, to) = (Place::parse(&words[0])?, Place::parse(&words[1])?);
    let descriptor = images::copy(&from, &to, &request.order, &Progress::new(request.quiet))?;
    say(descriptor.digest.as_str());
    Ok(ExitCode::SUCCESS)
}
