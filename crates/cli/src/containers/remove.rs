//! `rm`: containers go.

use crate::report::{self, Failure};
use crate::verb::{About, Group, Verb, switch};
use std::io::Write;
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    force: bool,
}

/// `mycontainer rm`.
pub(crate) static RM: Verb<Request> = Verb {
    about: About {
        also: &["container rm", "container remove"],
        intro: "Removes containers that were created, by name, id, or the beginning of an id. One that runs is removed at\n\
                its end by itself, and before only with --force.",
        example: "rm NAME",
        ..About::new("rm", "CONTAINER [CONTAINER...]", "Remove containers")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[switch("force", Some('f'), "Kill a container that runs", |r: &mut Request| &mut r.force)],
    }],
    act: remove,
};

fn remove(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    let mut code = ExitCode::SUCCESS;
    for word in &words {
        match engine::containers::remove(word, request.force) {
            Ok(()) => drop(writeln!(std::io::stdout(), "{word}")),
            Err(error) => code = report::failure(&error.into()),
        }
    }
    engine::containers::tidy().iter().for_each(|note| report::note(note));
    Ok(code)
}
