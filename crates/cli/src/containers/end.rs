//! `kill`, `stop` and `wait`: a container's end.

use crate::images::{for_each, say};
use crate::report::{self, Failure};
use crate::verb::{About, Group, Verb, also, value};
use engine::ParseError;
use engine::containers::{self, StopOrder, Waiting};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Request {
    signal: Option<i32>,
    stop: StopOrder,
}

fn signal(text: &str) -> Result<i32, ParseError> {
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
        ..About::new("kill", "CONTAINER [CONTAINER...]", "Send a signal to containers that run")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[value("signal", Some('s'), "SIGNAL", "Send this signal: a name or a number", |r: &mut Request, v| {
            r.signal = Some(signal(v)?);
            Ok(())
        })],
    }],
    act: |request, words| {
        const SIGKILL: i32 = 9;
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
        intro: "Ends containers that run: each gets the signal that its image wants, or SIGTERM, and when it has not ended\n\
                after 10 seconds, SIGKILL. One that was started in the foreground is then removed, as at any end.",
        example: "stop NAME",
        ..About::new("stop", "CONTAINER [CONTAINER...]", "End containers that run")
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
                    let seconds: i64 = v.parse().map_err(|_| ParseError::new(v, "it is no number of seconds"))?;
                    r.stop.timeout =
                        Some(u32::try_from(seconds).ok().map(|seconds| Duration::from_secs(seconds.into())));
                    Ok(())
                }),
            ),
        ],
    }],
    act: |request, words| {
        let mut code = ExitCode::SUCCESS;
        containers::stop(&words, request.stop, &mut |word, done| match done {
            Ok(()) => say(word),
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
        intro: "Waits until containers have ended, and prints the exit code of each. It has to be running when this begins: of\n\
                one that has ended before, and was removed with that, nothing is known. When the tool that ran it was killed\n\
                nobody knows the code, which is an error. One that was created and does not run counts as ended, with 0.",
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
