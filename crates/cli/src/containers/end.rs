//! `kill` and `stop`: a container's end.

use super::meant::Meant;
use super::start::patience;
use crate::images::{for_each, say};
use crate::report;
use crate::verb::{About, Flag, Group, Verb, also, latest, switch, value};
use engine::ParseError;
use engine::containers::{self, Listed, StopOrder};
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    signal: Option<i32>,
    stop: StopOrder,
    meant: Meant,
}

const CIDFILE: Flag<Request> =
    value("cidfile", None, "FILE", "The container whose id is in this file", |r: &mut Request, v| {
        r.meant.cidfiles.push(v.into());
        Ok(())
    });

pub(crate) fn signal(text: &str) -> Result<i32, ParseError> {
    let number = engine::signal_number(text).filter(|number| *number > 0);
    number.ok_or_else(|| ParseError::new(text, "there is no such signal: write TERM, SIGTERM or 15"))
}

/// `mycontainer kill`.
pub(crate) static KILL: Verb<Request> = Verb {
    about: About {
        also: &["container kill"],
        intro: "Sends a signal to the first process of containers that run: SIGKILL, or another one. A first process does\n\
                not get a signal, but for SIGKILL, that it has not asked for: the kernel keeps it from it.",
        example: "kill NAME",
        ..About::new("kill", "[CONTAINER...]", "Send a signal to containers that run")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("signal", Some('s'), "SIGNAL", "Send this signal: a name or a number", |r: &mut Request, v| {
                r.signal = Some(signal(v)?);
                Ok(())
            }),
            CIDFILE,
            latest(),
            switch("all", Some('a'), "Every container that runs", |r| &mut r.meant.all),
        ],
    }],
    act: |request, words| {
        const SIGKILL: i32 = 9;
        let words = request.meant.words(&KILL.about, words, Listed::is_running)?;
        Ok(for_each(&words, |word| {
            containers::kill(word, request.signal.unwrap_or(SIGKILL))?;
            say(word);
            Ok(())
        }))
    },
};

/// `mycontainer stop`.
pub(crate) static STOP: Verb<Request> = Verb {
    about: About {
        also: &["container stop"],
        intro: "Ends containers that run: each gets its --stop-signal, the signal that its image wants, or SIGTERM, and when\n\
                it has not ended after 10 seconds, SIGKILL. No restart policy starts it again; `start` does.",
        example: "stop NAME",
        ..About::new("stop", "[CONTAINER...]", "End containers that run")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("signal", Some('s'), "SIGNAL", "Send this signal first: a name or a number", |r, v| {
                r.stop.signal = Some(signal(v)?);
                Ok(())
            }),
            also(
                &["time"],
                value("timeout", Some('t'), "SECONDS", "Wait so long until SIGKILL; -1: for ever", |r, v| {
                    r.stop.timeout = Some(patience(v)?);
                    Ok(())
                }),
            ),
            switch("ignore", Some('i'), "That there is no such container is no error", |r| &mut r.meant.ignore),
            CIDFILE,
            latest(),
            switch("all", Some('a'), "Every container that runs", |r| &mut r.meant.all),
        ],
    }],
    act: |request, words| {
        let mut code = ExitCode::SUCCESS;
        let words = request.meant.words(&STOP.about, words, Listed::is_running)?;
        containers::stop(&words, request.stop, &mut |word, done| match done {
            Ok(()) => say(word),
            Err(engine::Error::NoSuchContainer { .. }) if request.meant.ignore => {}
            Err(error) => code = report::failure(&error.into()),
        });
        containers::tidy().iter().for_each(|note| report::note(note));
        Ok(code)
    },
};
