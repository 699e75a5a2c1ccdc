//! Health checks: what a container's check is, and what is known of its health.
//!
//! The check is the image's, with the person's words over it, and a part of the container's configuration (`config` in
//! its record). Its monitor runs it (`monitor::health`) and writes what comes of it to `DATA/containers/ID/health.json`,
//! beside and renamed, at each start and after each probe; not synced, for it says nothing of a container that does not
//! run any more. The form of that file is that of Docker's `.State.Health`, and so are all rules and defaults. [moby,
//! daemon/health.go]

use crate::error::Error;
use crate::life;
use crate::parse::ParseError;
use crate::state::{self, Id};
use crate::when::{self, Time};
use image::{Healthcheck, RunConfig};
use serde::{Deserialize, Serialize};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

const FILE: &str = "health.json";
/// How many results are kept.
const MOST_RESULTS: usize = 5;
/// The shortest of the times that may be asked for.
const SHORTEST: Duration = Duration::from_millis(1);

/// What the flags say of the check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthFlags {
    /// `--no-healthcheck`: none, also where the image has one.
    pub is_off: bool,
    /// The others: what is not said is as the image has it.
    pub check: Healthcheck,
}

impl HealthFlags {
    /// `--health-cmd`: a command for the shell; as Podman has it also words as a JSON list, or `none`.
    pub fn set_command(&mut self, text: &str) {
        let word = |word: &str| word.to_owned();
        self.check.test = match serde_json::from_str::<Vec<String>>(text) {
            _ if text == "none" => vec![word("NONE")],
            Ok(words) if words.first().is_some_and(|first| matches!(first.as_str(), "CMD" | "CMD-SHELL")) => words,
            Ok(words) if !words.is_empty() => [vec![word("CMD")], words].concat(),
            _ => vec![word("CMD-SHELL"), word(text)],
        };
    }

    /// One of the times, as Go writes them; 0 is what there is without the flag.
    pub fn time(text: &str) -> Result<Option<i64>, ParseError> {
        let wrong = |reason: &str| ParseError::new(text, reason);
        let time = when::duration(text).ok_or_else(|| wrong("it is no time: write it as 30s, 1m30s or 500ms"))?;
        if time.is_zero() {
            return Ok(None);
        }
        if time < SHORTEST {
            return Err(wrong("it cannot be below 1ms"));
        }
        i64::try_from(time.as_nanos()).map(Some).map_err(|_| wrong("it is too long"))
    }

    /// `--health-retries`; 0 is what there is without the flag.
    pub fn retries(text: &str) -> Result<Option<i64>, ParseError> {
        let number: u32 = text.parse().map_err(|_| ParseError::new(text, "it is no number of failures"))?;
        Ok(Some(i64::from(number)).filter(|number| *number > 0))
    }

    /// Flags that contradict each other.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_off && self.check != Healthcheck::default() {
            return Err(Error::Conflict("--no-healthcheck and the --health-* flags contradict each other".into()));
        }
        Ok(())
    }

    /// The check of a container: the image's with these words over it.
    pub(crate) fn over(&self, image: Option<&Healthcheck>) -> Option<Healthcheck> {
        if self.is_off {
            return Some(Healthcheck { test: vec!["NONE".into()], ..Healthcheck::default() });
        }
        if self.check == Healthcheck::default() {
            return image.cloned();
        }
        let (own, base) = (self.check.clone(), image.cloned().unwrap_or_default());
        Some(Healthcheck {
            test: if own.test.is_empty() { base.test } else { own.test },
            interval: own.interval.or(base.interval),
            timeout: own.timeout.or(base.timeout),
            start_period: own.start_period.or(base.start_period),
            start_interval: own.start_interval.or(base.start_interval),
            retries: own.retries.or(base.retries),
        })
    }
}

/// A check that is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// What is run in the container.
    pub(crate) words: Vec<String>,
    /// Between the end of a probe and the next one.
    pub(crate) interval: Duration,
    /// How long a probe may take.
    pub(crate) timeout: Duration,
    /// How long after the start a failure does not count, as long as none has succeeded.
    pub(crate) start_period: Duration,
    /// In place of the interval during that time.
    pub(crate) start_interval: Duration,
    /// How many failures in a row make it unhealthy.
    pub(crate) retries: u32,
}

impl Check {
    /// The check that a container has, if it has one.
    pub(crate) fn of(config: &RunConfig) -> Option<Check> {
        let check = config.healthcheck.as_ref()?;
        let (kind, rest) = check.test.split_first()?;
        let words = match (kind.as_str(), rest) {
            ("CMD", [_, ..]) => rest.to_vec(),
            ("CMD-SHELL", [command, ..]) => {
                let mut words = shell(config);
                words.push(command.clone());
                words
            }
            // NONE, and what no release of Docker's knows.
            _ => return None,
        };
        // An image may say anything.
        let time = |nanoseconds: Option<i64>, usual: Duration| match nanoseconds.map(u64::try_from) {
            Some(Ok(nanoseconds @ 1..)) => Duration::from_nanos(nanoseconds).max(SHORTEST),
            _ => usual,
        };
        Some(Check {
            words,
            interval: time(check.interval, Duration::from_secs(30)),
            timeout: time(check.timeout, Duration::from_secs(30)),
            start_period: time(check.start_period, Duration::ZERO),
            start_interval: time(check.start_interval, Duration::from_secs(5)),
            retries: check.retries.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(3),
        })
    }
}

/// The image's shell, which is Docker's own addition to its configuration.
fn shell(config: &RunConfig) -> Vec<String> {
    let word = |word: &serde_json::Value| word.as_str().map(str::to_owned);
    let own = config.more.get("Shell").and_then(serde_json::Value::as_array);
    let own: Option<Vec<String>> = own.and_then(|words| words.iter().map(word).collect());
    own.filter(|words| !words.is_empty()).unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()])
}

/// What runs a probe: this tool's own binary, which is sealed before it joins the container. (CVE-2019-5736) It has no
/// input; its output is the caller's to say.
pub(crate) fn command(id: &Id, check: &Check) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("mycontainer").args(["exec", id.as_str()]).args(&check.words).stdin(Stdio::null());
    command
}

/// What a check has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing that counts as yet.
    #[default]
    Starting,
    /// The last probe succeeded.
    Healthy,
    /// Too many in a row have failed, or it does not run.
    Unhealthy,
}

impl Status {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Status::Starting => "starting",
            Status::Healthy => "healthy",
            Status::Unhealthy => "unhealthy",
        }
    }
}

/// What is known of a container's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Docker's")]
pub struct Health {
    pub status: Status,
    pub failing_streak: u32,
    /// The last results, the newest last.
    #[serde(default)]
    pub log: Vec<Probed>,
}

/// What came of one probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Docker's")]
pub struct Probed {
    pub start: String,
    pub end: String,
    /// 0 is well; -1 that the probe did not end by itself.
    pub exit_code: i32,
    pub output: String,
}

impl Health {
    /// Takes a result in. In the start period, until one has succeeded, failures do not count.
    pub(crate) fn add(&mut self, probed: Probed, check: &Check, is_start_period: bool) {
        if probed.exit_code == 0 {
            (self.status, self.failing_streak) = (Status::Healthy, 0);
        } else if self.status != Status::Starting || !is_start_period {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= check.retries {
                self.status = Status::Unhealthy;
            }
        }
        if self.log.len() >= MOST_RESULTS {
            self.log.drain(..=self.log.len() - MOST_RESULTS);
        }
        self.log.push(probed);
    }

    /// Writes it down.
    pub(crate) fn write(&self, id: &Id) -> Result<(), Error> {
        life::replace(id, FILE, &serde_json::to_vec(self).unwrap_or_default())
    }
}

/// What is known of the health of a container that has a check. Of one that does not run Docker says that it is unhealthy.
pub(crate) fn read(id: &Id, config: &RunConfig, is_running: bool) -> Option<Health> {
    Check::of(config)?;
    let health: Health = serde_json::from_slice(&std::fs::read(state::layer_path(id).join(FILE)).ok()?).ok()?;
    Some(if is_running { health } else { Health { status: Status::Unhealthy, ..health } })
}

/// This moment, as a result has it.
pub(crate) fn now() -> String {
    Time::now().rfc3339()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn commands_as_docker_and_podman_write_them() {
        for (text, expected) in [
            ("true", "CMD-SHELL true"),
            ("none", "NONE"),
            (r#"["a","b"]"#, "CMD a b"),
            (r#"["CMD","a"]"#, "CMD a"),
            (r#"["CMD-SHELL","a"]"#, "CMD-SHELL a"),
            ("[-f/x]", "CMD-SHELL [-f/x]"),
            ("[]", "CMD-SHELL []"),
        ] {
            let mut flags = HealthFlags::default();
            flags.set_command(text);
            assert_eq!(flags.check.test, words(expected), "{text}");
        }
    }

    #[test]
    fn times_and_numbers() {
        for (text, expected) in [
            ("30s", Some(Some(30_000_000_000))),
            ("1m0.5s", Some(Some(60_500_000_000))),
            ("1ms", Some(Some(1_000_000))),
            ("0", Some(None)),
            ("0s", Some(None)),
            ("999us", None),
            ("-1s", None),
            ("30", None),
            ("", None),
            ("9999999h", None),
        ] {
            assert_eq!(HealthFlags::time(text).ok(), expected, "{text}");
        }
        for (text, expected) in [("3", Some(Some(3))), ("0", Some(None)), ("-1", None), ("x", None)] {
            assert_eq!(HealthFlags::retries(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn the_persons_words_are_over_the_images() {
        let image = Healthcheck { test: words("CMD a"), interval: Some(7), retries: Some(1), ..Healthcheck::default() };
        let over = |flags: &HealthFlags, image: Option<&Healthcheck>| flags.over(image);
        assert_eq!(over(&HealthFlags::default(), Some(&image)), Some(image.clone()));
        assert_eq!(over(&HealthFlags::default(), None), None);
        let check = Healthcheck { interval: Some(9), ..Healthcheck::default() };
        let flags = HealthFlags { check, is_off: false };
        assert_eq!(over(&flags, Some(&image)), Some(Healthcheck { interval: Some(9), ..image.clone() }));
        let off = HealthFlags { is_off: true, ..HealthFlags::default() };
        assert_eq!(over(&off, Some(&image)).map(|check| check.test), Some(words("NONE")));
        assert!(HealthFlags { is_off: true, ..flags }.check().is_err());
    }

    #[test]
    fn what_is_run() {
        let of = |test: &str, shell: Option<&str>| {
            let mut config = RunConfig {
                healthcheck: Some(Healthcheck { test: words(test), ..Healthcheck::default() }),
                ..RunConfig::default()
            };
            config.more.extend(shell.map(|shell| ("Shell".to_owned(), serde_json::json!(words(shell)))));
            Check::of(&config).map(|check| check.words)
        };
        for (test, shell, expected) in [
            ("CMD a b", None, Some("a b")),
            ("CMD-SHELL a", None, Some("/bin/sh -c a")),
            ("CMD-SHELL a", Some("/bin/bash -ec"), Some("/bin/bash -ec a")),
            ("NONE", None, None),
            ("CMD", None, None),
            ("CMD-SHELL", None, None),
            ("WAT x", None, None),
            ("", None, None),
        ] {
            assert_eq!(of(test, shell), expected.map(words), "{test}");
        }
        // An image's numbers are no reason to do anything a million times a second.
        let check = Healthcheck {
            test: words("CMD a"),
            interval: Some(1),
            timeout: Some(-5),
            retries: Some(-1),
            ..Healthcheck::default()
        };
        let check = Check::of(&RunConfig { healthcheck: Some(check), ..RunConfig::default() }).unwrap();
        assert_eq!((check.interval, check.timeout, check.retries), (SHORTEST, Duration::from_secs(30), 3));
    }

    #[test]
    fn results_count() {
        let image = Healthcheck { test: words("CMD a"), retries: Some(2), ..Healthcheck::default() };
        let check = Check::of(&RunConfig { healthcheck: Some(image), ..RunConfig::default() }).unwrap();
        let mut health = Health::default();
        // Exit code, whether it is the start period, and what is known then.
        for (n, (exit_code, is_start, expected)) in [
            (1, true, (Status::Starting, 0)),
            (1, false, (Status::Starting, 1)),
            (0, true, (Status::Healthy, 0)),
            (1, true, (Status::Healthy, 1)),
            (-1, false, (Status::Unhealthy, 2)),
            (7, false, (Status::Unhealthy, 3)),
            (0, false, (Status::Healthy, 0)),
        ]
        .into_iter()
        .enumerate()
        {
            let end = n.to_string();
            health.add(Probed { exit_code, end, ..Probed::default() }, &check, is_start);
            assert_eq!((health.status, health.failing_streak), expected, "{n}");
        }
        let ends: Vec<&str> = health.log.iter().map(|probed| probed.end.as_str()).collect();
        assert_eq!(ends, ["2", "3", "4", "5", "6"]);
    }
}
