//! `logs`: what a container has printed.

use crate::report::{self, Failure};
use crate::verb::{About, Group, Verb, latest, switch, value};
use engine::when::Time;
use engine::{LogQuery, ParseError};
use std::process::ExitCode;

/// `mycontainer logs`.
pub(crate) static LOGS: Verb<LogQuery> = Verb {
    about: About {
        also: &["container logs"],
        intro: "Shows what a container, running or not, has printed: what went to its standard output on standard output, what\n\
                went to its standard error on that. TIME is as 2026-01-02T03:04:05Z or a beginning of that, in UTC, seconds\n\
                since 1970, or how long ago, as 1h30m.",
        example: "logs -f NAME",
        ..About::new("logs", "CONTAINER", "Show what a container has printed")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            switch("follow", Some('f'), "Go on with what is yet to come, until it has ended", |q: &mut LogQuery| {
                &mut q.follow
            }),
            value("tail", Some('n'), "NUMBER", "So many lines from the end, or all (default)", |q, v| {
                q.tail = tail(v)?;
                Ok(())
            }),
            switch("details", None, "Show what --log-opt labels and env put beside each line", |q| &mut q.details),
            switch("timestamps", Some('t'), "Show when each line was printed", |q| &mut q.timestamps),
            value("since", None, "TIME", "Nothing that was printed before", |q, v| {
                q.since = Some(time(v)?);
                Ok(())
            }),
            value("until", None, "TIME", "Nothing that was printed after", |q, v| {
                q.until = Some(time(v)?);
                Ok(())
            }),
            latest(),
        ],
    }],
    act: logs,
};

/// As Docker: a negative number is all.
pub(crate) fn tail(text: &str) -> Result<Option<u64>, ParseError> {
    match text.parse::<i64>() {
        Ok(count) => Ok(u64::try_from(count).ok()),
        Err(_) if text == "all" => Ok(None),
        Err(_) => Err(ParseError::new(text, "it is no number of lines: write 10, or all")),
    }
}

pub(crate) fn time(text: &str) -> Result<Time, ParseError> {
    let hint = "it is no time: write 2026-01-02T03:04:05Z, a date, seconds since 1970, or how long ago, as 1h30m";
    Time::parse_loosely(text, Time::now()).ok_or_else(|| ParseError::new(text, hint))
}

fn logs(query: LogQuery, words: Vec<String>) -> Result<ExitCode, Failure> {
    let container = words.first().map_or("", String::as_str);
    engine::containers::logs(container, &query, &mut report::note)?;
    Ok(ExitCode::SUCCESS)
}
