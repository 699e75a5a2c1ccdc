//! `wait`: until a container has ended, or something else has become of it.

use crate::images::say;
use crate::report::{self, Failure};
use crate::verb::{About, Group, Verb, latest, switch, value};
use engine::ParseError;
use engine::containers::{Condition, WaitOrder, Waiting};
use engine::when;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Request {
    order: WaitOrder,
    ignore: bool,
}

/// `mycontainer wait`.
pub(crate) static WAIT: Verb<Request> = Verb {
    about: About {
        also: &["container wait"],
        intro: "Waits until containers have ended, and prints the exit code of each; of one that does not run the last one, or\n\
                0 if it never ran. When the tool of one in the foreground was killed nobody knows the code: an error.",
        outro: "Conditions: not-running (default), next-exit, removed, created (or configured), running, paused,\n\
                restarting, exited (or stopped: it was started, and has ended), healthy, unhealthy. Of one that is no end\n\
                -1 is printed.",
        example: "wait NAME",
        ..About::new("wait", "CONTAINER [CONTAINER...]", "Wait for the end of containers and print their exit codes")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("condition", None, "CONDITION", "Wait for this; of several for any", |r: &mut Request, v| {
                r.order.conditions.push(Condition::parse(v)?);
                Ok(())
            }),
            value("interval", Some('i'), "TIME", "Look for it so often (default: 250ms)", |r, v| {
                r.order.interval = interval(v)?;
                Ok(())
            }),
            switch("ignore", None, "Of a container that is not there print -1", |r| &mut r.ignore),
            latest(),
        ],
    }],
    act: wait,
};

/// As Podman: a number is one of milliseconds.
fn interval(text: &str) -> Result<Duration, ParseError> {
    const SHORTEST: Duration = Duration::from_millis(1);
    let time = match text.parse() {
        Ok(milliseconds) => Some(Duration::from_millis(milliseconds)),
        Err(_) => when::duration(text),
    };
    time.filter(|time| *time >= SHORTEST).ok_or_else(|| ParseError::new(text, "write a time, as 250ms or 2s"))
}

fn wait(request: Request, words: Vec<String>) -> Result<ExitCode, Failure> {
    // All are found first: one of the last may be the first to end.
    let waiting: Vec<_> = words.iter().map(|word| Waiting::new(word, &request.order)).collect();
    let mut code = ExitCode::SUCCESS;
    for one in waiting {
        match one.and_then(Waiting::wait) {
            Ok(exit_code) => say(&exit_code.to_string()),
            Err(engine::Error::NoSuchContainer { .. }) if request.ignore => say("-1"),
            Err(error) => code = report::failure(&error.into()),
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        for (text, expected) in [
            ("20", Some(20)),
            ("20ms", Some(20)),
            ("1.5s", Some(1500)),
            ("0", None),
            ("soon", None),
            ("", None),
            ("-1s", None),
        ] {
            assert_eq!(interval(text).ok(), expected.map(Duration::from_millis), "{text}");
        }
    }
}
