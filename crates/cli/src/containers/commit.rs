//! `commit`: an image from what a container has become.

use crate::report::Failure;
use crate::verb::{About, Group, Verb, switch, value};
use engine::ParseError;
use engine::containers::{self, CommitOrder};
use image::archive::Change;
use std::io::Write;
use std::process::ExitCode;

#[derive(Debug)]
pub(crate) struct Request {
    order: CommitOrder,
}

impl Default for Request {
    fn default() -> Request {
        let order = CommitOrder {
            container: String::new(),
            name: None,
            author: String::new(),
            message: String::new(),
            changes: Vec::new(),
            pause: true,
        };
        Request { order }
    }
}

/// `mycontainer commit`.
pub(crate) static COMMIT: Verb<Request> = Verb {
    about: About {
        also: &["container commit"],
        intro: "Makes an image of a container, running or created: its image's layers and one more of what it wrote, or its\n\
                whole root when that was a directory or an archive. Prints the image's id.",
        outro: "The image runs what the container runs, with its variables, user, directory and labels, unless --change says\n\
                otherwise: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR.\n\
                While it is read a container that runs stands still; it runs on also when this command is killed.",
        example: "commit NAME mine:1",
        ..About::new("commit", "CONTAINER [NAME[:TAG]]", "Make an image of a container")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("author", Some('a'), "NAME", "Who made it, as \"Ann <ann@example.org>\"", |r: &mut Request, v| {
                r.order.author = v.to_owned();
                Ok(())
            }),
            value("message", Some('m'), "TEXT", "Why", |r, v| {
                r.order.message = v.to_owned();
                Ok(())
            }),
            value(
                "change",
                Some('c'),
                "INSTRUCTION",
                "Change its configuration, as 'CMD [\"sh\"]' or 'ENV A=1'",
                |r, v| {
                    r.order.changes.push(Change::parse(v).map_err(|error| ParseError::new(v, error.to_string()))?);
                    Ok(())
                },
            ),
            switch("pause", Some('p'), "Let the container stand still meanwhile (default; --pause=false)", |r| {
                &mut r.order.pause
            }),
        ],
    }],
    act: commit,
};

fn commit(mut request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let mut words = words.into_iter();
    request.order.container = words.next().unwrap_or_default();
    request.order.name = words.next();
    let image = containers::commit(&request.order)?;
    let _ = writeln!(std::io::stdout(), "{}", image.id);
    containers::tidy().iter().for_each(|note| crate::report::note(note));
    Ok(ExitCode::SUCCESS)
}
