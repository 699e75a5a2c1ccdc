//! `history`: how an image was made.

use super::shown;
use crate::help::show;
use crate::report::Failure;
use crate::table::short_size;
use crate::template::{Data, List};
use crate::verb::{About, Group, Verb, also, switch, value};
use engine::images::{self, Step};
use engine::when::Time;
use std::process::ExitCode;

/// Characters of a command that are shown.
const WIDTH: usize = 45;

#[derive(Debug)]
pub(crate) struct Request {
    in_full: bool,
    quiet: bool,
    human: bool,
    format: Option<String>,
}

impl Default for Request {
    fn default() -> Request {
        Request { in_full: false, quiet: false, human: true, format: None }
    }
}

/// `mycontainer history`.
pub(crate) static HISTORY: Verb<Request> = Verb {
    about: About {
        also: &["image history"],
        outro: "Fields for --format: ID CreatedSince CreatedAt CreatedBy Size Comment.",
        example: "history alpine",
        ..About::new("history", "IMAGE", "Show how an image was made, the newest step first")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("format", None, "FORMAT", "`table`, `json`, or a template as '{{.CreatedBy}}'", |r, v| {
                r.format = Some(v.to_owned());
                Ok(())
            }),
            switch("human", Some('H'), "Sizes and times for people; --human=false: bytes, and RFC 3339", |r| {
                &mut r.human
            }),
            also(&["notrunc"], switch("no-trunc", None, "Show ids and commands in full", |r| &mut r.in_full)),
            switch("quiet", Some('q'), "Print ids, and nothing else", |r| &mut r.quiet),
        ],
    }],
    act: history,
};

fn history(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let default = match (request.quiet, request.human) {
        (true, _) => "{{.ID}}",
        (_, true) => "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        (_, false) => "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    };
    let list = List::parse(request.format.as_deref().filter(|_| !request.quiet), default)?;
    let store = images::store()?;
    let image = store.get(&words[0]).map_err(engine::Error::from)?;
    let rows: Vec<Data> = images::history(&store, &image).iter().map(|step| data(step, &request)).collect();
    Ok(show(&list.render(&rows, &data(&Step::default(), &request), &[("ID", "IMAGE"), ("CreatedSince", "CREATED")])?))
}

fn data(step: &Step, request: &Request) -> Data {
    let command = step.created_by.replace(['\t', '\n'], " ");
    Data::row()
        .with("ID", shown::id(&step.id, request.in_full))
        .with("CreatedSince", shown::since(&step.created))
        .with("CreatedAt", Time::parse(&step.created).map_or_else(|| "N/A".into(), Time::rfc3339))
        .with("CreatedBy", if request.in_full { command } else { cut(&command) })
        .with("Size", if request.human { short_size(step.size) } else { step.size.to_string() })
        .with("Comment", step.comment.as_str())
}

fn cut(text: &str) -> String {
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    text.chars().take(WIDTH - 1).chain(['…']).collect()
}
