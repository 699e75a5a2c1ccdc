//! `kill`, `stop` and `wait`: a container's end.

use super::start::patience;
use crate::images::{for_each, say};
use crate::report::{self, Failure};
use crate::verb::{About, Group, Verb, also, switch, value};
use engine::ParseError;
use engine::containers::{self, StopOrder, Waiting};
use std::process::ExitCode;

#[derive(Debug, Default)]
pub(crate) struct Request {
    signal: Option<i32>,
    stop: StopOrder,
    ignore: bool,
    all: bool,
}

pub(crate) fn signal(text: &str) -> Result<i32, ParseError> {
    let number = engine::signal_number(text).filter(|number| *number > 0);
    number.ok_or_else(|| ParseError::new(text, "there is no such signal: write TERM, SIGTERM or 15"))
}

/// The containers that words name, or all: those that run, or `every` one.
pub(super) fn or_all(about: &About, words: Vec<String>, all: bool, every: bool) -> Result<Vec<String>, Failure> {
    let name = about.name;
    match (words.is_empty(), all) {
        (false, false) => Ok(words),
        (true, true) => {
            let called = |one: containers::Listed| one.name.unwrap_or(one.id);
            Ok(containers::list(every)?.into_iter().map(called).collect())
        }
        (true, false) => {
            let hint = format!("try `mycontainer {}`, or see `mycontainer help {name}`", about.example);
            Err(Failure::misuse(format!("{name} needs CONTAINER [CONTAINER...], or --all"), hint))
        }
        (false, true) => Err(Failure::misuse(
            "--all is every container: name none beside it",
            format!("see `mycontainer help {name}`"),
        )),
    }
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
            switch("all", Some('a'), "Every container that runs", |r| &mut r.all),
        ],
    }],
    act: |request, words| {
        const SIGKILL: i32 = 9;
        let words = or_all(&KILL.about, words, request.all, false)?;
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
            switch("ignore", Some('i'), "That there is no such container is no error", |r| &mut r.ignore),
            switch("all", Some('a'), "Every container that runs", |r| &mut r.all),
        ],
    }],
    act: |request, words| {
        let mut code = ExitCode::SUCCESS;
        let words = or_all(&STOP.about, words, request.all, false)?;
        containers::stop(&words, request.stop, &mut |word, done| match done {
            Ok(()) => say(word),
            Err(engine::Error::NoSuchContainer { .. }) if request.ignore => {}
            Err(error) => code = report::failure(&error.into()),
        });
        containers::tidy().iter().for_each(|note| report::note(note));
        Ok(code)
    },
};

/// `mycontainer wait`.
pub(crate) static WAIT: Verb<()> = Verb {
    about: About {
        also: &["container wait"],
        intro: "Waits until containers have ended, and prints the exit code of each; of one that does not run the last one, or\n\
                0 if it never ran. When the tool of one in the foreground was killed nobody knows the code: an error.",
        example: "wait NAME",
        ..About::new("wait", "CONTAINER [CONTAINER...]", "Wait for the end of containers and print their exit codes")
    },
    groups: &[],
    act: wait,
};

fn wait((): (), words: Vec<String>) -> Result<ExitCode, Failure> {
    // All are found first: one of the last may be the first to end.
    let waiting: Vec<_> = words.iter().map(|word| Waiting::new(word)).collect();
    let mut code = ExitCode::SUCCESS;
    for one in waiting {
        match one.and_then(Waiting::wait) {
            Ok(exit_code) => say(&exit_code.to_string()),
            Err(error) => code = report::failure(&error.into()),
        }
    }
    Ok(code)
}
