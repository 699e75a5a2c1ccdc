//! `events`: a line of JSON each time, in runc's shape.

use super::global::Global;
use super::words::{Flag, Words, switch, value};
use super::{Failure, show, usage};
use runtime::Known;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::json;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

pub(crate) const FLAGS: &[Flag] = &[
    value("interval", None, "TIME", "Time between two figures, as 500ms or 5s (default)"),
    switch("stats", None, "Show the figures once"),
];

/// `events ID`
pub(crate) fn events(global: &Global, words: &Words) -> Result<i32, Failure> {
    let interval = words.get("interval").map_or(Some(Duration::from_secs(5)), duration);
    let interval = interval.ok_or_else(|| usage("--interval is a time above 0, as 500ms, 5s or 1m"))?;
    let mut known = global.runtime()?.find(words.id()?)?;
    if words.has("stats") {
        show::print(&line(&mut known)?);
        return Ok(0);
    }
    follow(&mut known, interval)
}

fn line(known: &mut Known) -> Result<String, Failure> {
    let value = json!({ "type": "stats", "id": known.id(), "data": known.stats()? });
    Ok(format!("{value}\n"))
}

/// Until the container's first process ends.
fn follow(known: &mut Known, interval: Duration) -> Result<i32, Failure> {
    let id = known.id().to_owned();
    let Some(pidfd) = known.pidfd()? else { return line(known).map(|_| 0) };
    let mut watch = known.oom_watch()?;
    let mut next = Instant::now();
    loop {
        let now = Instant::now();
        if now >= next {
            match line(known) {
                Ok(text) => show::print(&text),
                // It ended while it was looked at.
                Err(_) if known.pid()? == 0 => return Ok(0),
                Err(failure) => return Err(failure),
            }
            next = now + interval;
        }
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        let mut watched = [PollFd::new(&pidfd, PollFlags::IN), PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)];
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(usage(format!("cannot wait for the container: {errno}"))),
        }
        let ended = !watched[0].revents().is_empty();
        if !watched[1].revents().is_empty() && watch.next().map_err(runtime::Error::from)? {
            show::print(&format!("{}\n", json!({ "type": "oom", "id": id })));
        }
        if ended {
            return Ok(0);
        }
    }
}

/// Go's durations, as far as people write them: `1m30s`, `500ms`, `1.5s`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| n + digits);
        let unit = match &rest[digits..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[unit_end..];
    }
    Duration::try_from_secs_f64(total).ok().filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("5s", Some(5_000)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1_500)),
            ("1h", Some(3_600_000)),
            ("0s", None),
            ("5", None),
            ("", None),
            ("s", None),
            ("-5s", None),
        ] {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
