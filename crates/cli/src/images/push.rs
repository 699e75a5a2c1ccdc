//! `push`: an image to its registry.

use super::say;
use crate::progress::Progress;
use crate::report::Failure;
use crate::verb::{About, Group, Verb, switch};
use engine::images;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    all_tags: bool,
    quiet: bool,
}

/// `mycontainer push`.
pub(crate) static PUSH: Verb<Request> = Verb {
    about: About {
        also: &["image push"],
        outro: "What the registry has already is not sent: its layers stay byte for byte, and so does the image's digest.",
        example: "push localhost:5000/alpine",
        ..About::new("push", "NAME [DESTINATION]", "Send an image to its registry, or to DESTINATION")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("all-tags", Some('a'), "Send every tag that is here of the repository", |r| &mut r.all_tags),
            switch("quiet", Some('q'), "Print the image's full name, and nothing else", |r| &mut r.quiet),
        ],
    }],
    act: push,
};

fn push(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let store = images::store()?;
    let (name, destination) = (words[0].as_str(), words.get(1).map(String::as_str));
    if !request.all_tags {
        return push_one(&store, name, destination, request.quiet);
    }
    if let Some(destination) = destination {
        let hint = "leave --all-tags or the destination away";
        return Err(Failure::misuse(format!("--all-tags goes to where the names say, not to {destination:?}"), hint));
    }
    let reference = images::reference(name)?;
    if reference.digest().is_some() || reference.familiar() == name && reference.familiar_name() != name {
        let hint = format!("write {}", reference.familiar_name());
        return Err(Failure::misuse(format!("--all-tags sends every tag, and {name:?} names one"), hint));
    }
    for name in images::tags_here(&store, name)? {
        push_one(&store, &name.to_string(), None, request.quiet)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn push_one(store: &image::Images, name: &str, destination: Option<&str>, quiet: bool) -> Result<ExitCode, Failure> {
    let (to, descriptor) = images::push(store, name, destination, &Progress::new(quiet))?;
    if quiet {
        say(&to.to_string());
    } else {
        say(&format!("The push refers to repository [{}]", to.name()));
        say(&format!("{}: digest: {} size: {}", to.object(), descriptor.digest, descriptor.size));
    }
    Ok(ExitCode::SUCCESS)
}
