//! `inspect`: all that is known of a container or an image.

use crate::help::show;
use crate::report::{self, Failure};
use crate::template::{Backslashes, Data, Template};
use crate::verb::{About, Flag, Group, Verb, latest, value};
use engine::{Error, ParseError, containers, images};
use image::Images;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    format: Option<String>,
    kind: Kind,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// A container, and if there is none an image.
    #[default]
    Any,
    Container,
    Image,
}

const FORMAT: Flag<Request> =
    value("format", Some('f'), "FORMAT", "`json`, or a template as '{{.Config.Cmd}}'", |r, v| {
        r.format = Some(v.to_owned());
        Ok(())
    });

const OUTRO: &str = "What is not there is told on standard error, and the exit code is 1.";

/// `mycontainer inspect`.
pub(crate) static INSPECT: Verb<Request> = Verb {
    about: About {
        outro: OUTRO,
        example: "inspect alpine",
        ..About::new("inspect", "NAME [NAME...]", "Show all that is known of a container or an image, as JSON")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            FORMAT,
            value("type", None, "TYPE", "Look only for a container, or only for an image", |r, v| {
                r.kind = match v {
                    "container" => Kind::Container,
                    "image" => Kind::Image,
                    _ => return Err(ParseError::new(v, "the types are container and image")),
                };
                Ok(())
            }),
            latest(),
        ],
    }],
    act: inspect,
};

/// `mycontainer container inspect`.
pub(crate) static OF_CONTAINER: Verb<Request> = Verb {
    about: About {
        outro: OUTRO,
        example: "container inspect NAME",
        ..About::new("container inspect", "CONTAINER [CONTAINER...]", "Show all that is known of a container, as JSON")
    },
    groups: &[Group { heading: "Flags", flags: &[FORMAT, latest()] }],
    act: |request, words| inspect(Request { kind: Kind::Container, ..request }, words),
};

/// `mycontainer image inspect`.
pub(crate) static OF_IMAGE: Verb<Request> = Verb {
    about: About {
        outro: OUTRO,
        example: "image inspect alpine",
        ..About::new("image inspect", "IMAGE [IMAGE...]", "Show all that is known of an image, as JSON")
    },
    groups: &[Group { heading: "Flags", flags: &[FORMAT] }],
    act: |request, words| inspect(Request { kind: Kind::Image, ..request }, words),
};

fn inspect(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let template = match request.format.as_deref() {
        None | Some("") => None,
        Some("json") => Some(Template::parse("{{json .}}", Backslashes::Kept)?),
        Some(format) => Some(Template::parse(format, Backslashes::Kept)?),
    };
    // Opened only when an image is looked for, and then once.
    let mut store = None;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for words in &words {
        match look(words, request.kind, &mut store) {
            Ok(thing) => found.push(thing),
            Err(error) => failures.push(Failure::from(error)),
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

fn look(words: &str, kind: Kind, store: &mut Option<Images>) -> Result<Data, Error> {
    if kind != Kind::Image {
        match containers::inspect(words)? {
            Some(container) => return Ok(Data::of(&container)),
            None if kind == Kind::Container => return Err(Error::NoSuchContainer { words: words.to_owned() }),
            None => {}
        }
    }
    let store = match store {
        Some(store) => store,
        None => store.insert(images::store()?),
    };
    let image = match kind {
        Kind::Image => store.get(words)?,
        _ => store.find(words)?.ok_or_else(|| Error::NothingNamed { words: words.to_owned() })?,
    };
    Ok(Data::of(&images::inspect(store, &image)))
}
