//! `inspect`: all that is known of an image.

use crate::help::show;
use crate::report::{self, Failure};
use crate::template::{Backslashes, Data, Template};
use crate::verb::{About, Group, Verb, value};
use engine::images;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    format: Option<String>,
}

/// `mycontainer inspect`.
pub(crate) static INSPECT: Verb<Request> = Verb {
    about: About {
        also: &["image inspect"],
        outro: "What is not there is told on standard error, and the exit code is 1. (So far only images are looked for.)",
        example: "inspect alpine",
        ..About::new("inspect", "NAME [NAME...]", "Show all that is known of an image, as JSON")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[value("format", Some('f'), "FORMAT", "`json`, or a template as '{{.Config.Cmd}}'", |r, v| {
            r.format = Some(v.to_owned());
            Ok(())
        })],
    }],
    act: inspect,
};

fn inspect(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let template = match request.format.as_deref() {
        None | Some("") => None,
        Some("json") => Some(Template::parse("{{json .}}", Backslashes::Kept)?),
        Some(format) => Some(Template::parse(format, Backslashes::Kept)?),
    };
    let store = images::store()?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for words in &words {
        match store.get(words) {
            Ok(image) => found.push(Data::of(&images::inspect(&store, &image))),
            Err(error) => failures.push(Failure::from(engine::Error::from(error))),
        }
    }
    let mut text = String::new();
    match template {
        None => text = Data::List(found).pretty_json() + "\n",
        Some(template) => {
            for thing in &found {
                match template.render(thing) {
                    Ok(line) => text.push_str(&(line + "\n")),
                    Err(failure) => failures.push(failure),
                }
            }
        }
    }
    let code = show(&text);
    Ok(failures.iter().fold(code, |_, failure| report::failure(failure)))
}
