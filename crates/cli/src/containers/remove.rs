//! `rm`: containers go.

use super::meant::Meant;
use super::start::patience;
use crate::report::{self, Failure};
use crate::verb::{About, Group, Verb, also, latest, switch, value};
use engine::containers::StopOrder;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Request {
    force: bool,
    volumes: bool,
    patience: Option<Option<Duration>>,
    meant: Meant,
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
            also(
                &["timeout"],
                value(
                    "time",
                    Some('t'),
                    "SECONDS",
                    "With --force: end it as `stop` does; -1: wait for ever",
                    |r, v| {
                        r.patience = Some(patience(v)?);
                        Ok(())
                    },
                ),
            ),
            switch("ignore", Some('i'), "That there is no such container is no error", |r| &mut r.meant.ignore),
            value("cidfile", None, "FILE", "The container whose id is in this file", |r, v| {
                r.meant.cidfiles.push(v.into());
                Ok(())
            }),
            latest(),
            switch("all", Some('a'), "Every container", |r| &mut r.meant.all),
        ],
    }],
    act: remove,
};

fn remove(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    if request.patience.is_some() && !request.force {
        return Err(Failure::misuse("--time says how long one that runs has to end", "say --force beside it"));
    }
    let mut code = ExitCode::SUCCESS;
    let words = request.meant.words(&RM.about, words, |_| true)?;
    if let Some(timeout) = request.patience {
        // What cannot be ended is told where it cannot be removed.
        let order = StopOrder { timeout: Some(timeout), ..StopOrder::default() };
        engine::containers::stop(&words, order, &mut |_, _| {});
    }
    for word in &words {
        match engine::containers::remove(word, request.force, request.volumes) {
            Ok(()) => drop(writeln!(std::io::stdout(), "{word}")),
            Err(engine::Error::NoSuchContainer { .. }) if request.meant.ignore => {}
            Err(error) => code = report::failure(&error.into()),
        }
    }
    engine::containers::tidy().iter().for_each(|note| report::note(note));
    Ok(code)
}
