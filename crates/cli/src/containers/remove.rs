//! `rm`: containers go.

use super::end::or_all;
use crate::report::{self, Failure};
use crate::verb::{About, Group, Verb, switch};
use std::io::Write;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    force: bool,
    volumes: bool,
    ignore: bool,
    all: bool,
}

/// `mycontainer rm`.
pub(crate) static RM: Verb<Request> = Verb {
    about: About {
        also: &["container rm", "container remove"],
        intro: "Removes containers that do not run, by name, id, or the beginning of an id; one that runs only with --force.",
        example: "rm NAME",
        ..About::new("rm", "[CONTAINER...]", "Remove containers")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("force", Some('f'), "Kill a container that runs", |r: &mut Request| &mut r.force),
            switch("volumes", Some('v'), "Remove also its volumes that have no name and no other user", |r| {
                &mut r.volumes
            }),
            switch("ignore", Some('i'), "That there is no such container is no error", |r| &mut r.ignore),
            switch("all", Some('a'), "Every container", |r| &mut r.all),
        ],
    }],
    act: remove,
};

fn remove(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let mut code = ExitCode::SUCCESS;
    let words = or_all(&RM.about, words, request.all, true)?;
    for word in &words {
        match engine::containers::remove(word, request.force, request.volumes) {
            Ok(()) => drop(writeln!(std::io::stdout(), "{word}")),
            Err(engine::Error::NoSuchContainer { .. }) if request.ignore => {}
            Err(error) => code = report::failure(&error.into()),
        }
    }
    engine::containers::tidy().iter().for_each(|note| report::note(note));
    Ok(code)
}
