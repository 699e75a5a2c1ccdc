//! `--restart`: whether a container that has ended is started again, and when.

use crate::parse::ParseError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// When a container that has ended by itself is started again. [docs.docker.com, restart policies]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When its exit code is not 0, so many times at most; 0 is any number.
    OnFailure(u32),
    /// Whenever it has ended, until it is stopped; after a boot in any case.
    Always,
    /// As always, but after a boot only when it had not been stopped before.
    UnlessStopped,
}

impl RestartPolicy {
    /// The policy by its name: `no`, `on-failure[:N]`, `always`, `unless-stopped`.
    pub fn parse(text: &str) -> Result<RestartPolicy, ParseError> {
        let (name, most) = text.split_once(':').map_or((text, None), |(name, most)| (name, Some(most)));
        match (name, most) {
            ("no" | "never", None) => Ok(RestartPolicy::No),
            ("always", None) => Ok(RestartPolicy::Always),
            ("unless-stopped", None) => Ok(RestartPolicy::UnlessStopped),
            ("on-failure", None) => Ok(RestartPolicy::OnFailure(0)),
            ("on-failure", Some(most)) => match most.parse() {
                Ok(most) => Ok(RestartPolicy::OnFailure(most)),
                Err(_) => Err(ParseError::new(text, "after on-failure: stands how often at most")),
            },
            _ => Err(ParseError::new(text, "it is one of no, on-failure[:N], always and unless-stopped")),
        }
    }

    /// Its name alone.
    pub fn name(self) -> &'static str {
        match self {
            RestartPolicy::No => "no",
            RestartPolicy::OnFailure(_) => "on-failure",
            RestartPolicy::Always => "always",
            RestartPolicy::UnlessStopped => "unless-stopped",
        }
    }

    /// How often at most; 0 where there is no such limit.
    pub fn most(self) -> u32 {
        if let RestartPolicy::OnFailure(most) = self { most } else { 0 }
    }

    /// Whether it is started again after it has ended so, having been started again `restarts` times in a row.
    pub(crate) fn wants(self, exit_code: i32, restarts: u32) -> bool {
        match self {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure(most) => exit_code != 0 && (most == 0 || restarts < most),
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        }
    }

    /// Whether it is started after a boot. `stopped` is that somebody had stopped it.
    pub(crate) fn wants_at_boot(self, stopped: bool) -> bool {
        match self {
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !stopped,
            RestartPolicy::No | RestartPolicy::OnFailure(_) => false,
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.most() {
            0 => f.write_str(self.name()),
            most => write!(f, "{}:{most}", self.name()),
        }
    }
}

/// How long is waited before the next start: longer each time, and short again once it has run for a while. Docker's
/// times.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(60);
    const WELL: Duration = Duration::from_secs(10);

    pub(crate) fn new() -> Backoff {
        Backoff(Backoff::FIRST)
    }

    /// The next pause, after it has run for so long.
    pub(crate) fn after(&mut self, ran: Duration) -> Duration {
        if ran >= Backoff::WELL {
            self.0 = Backoff::FIRST;
        }
        let pause = self.0;
        self.0 = (self.0 * 2).min(Backoff::LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_by_name() {
        for (text, expected) in [
            ("no", Some(RestartPolicy::No)),
            ("always", Some(RestartPolicy::Always)),
            ("unless-stopped", Some(RestartPolicy::UnlessStopped)),
            ("on-failure", Some(RestartPolicy::OnFailure(0))),
            ("on-failure:3", Some(RestartPolicy::OnFailure(3))),
            ("on-failure:-1", None),
            ("on-failure:", None),
            ("always:3", None),
            ("", None),
        ] {
            assert_eq!(RestartPolicy::parse(text).ok(), expected, "{text}");
            if let (Some(policy), false) = (expected, text.is_empty()) {
                assert_eq!(policy.to_string(), text);
            }
        }
    }

    #[test]
    fn what_is_started_again() {
        let (failure, twice) = (RestartPolicy::OnFailure(0), RestartPolicy::OnFailure(2));
        for (policy, exit_code, restarts, expected) in [
            (RestartPolicy::No, 1, 0, false),
            (RestartPolicy::Always, 0, 99, true),
            (RestartPolicy::UnlessStopped, 137, 0, true),
            (failure, 0, 0, false),
            (failure, 1, 1000, true),
            (twice, 1, 1, true),
            (twice, 1, 2, false),
        ] {
            assert_eq!(policy.wants(exit_code, restarts), expected, "{policy} {exit_code} {restarts}");
        }
        for (policy, stopped, expected) in [
            (RestartPolicy::Always, true, true),
            (RestartPolicy::UnlessStopped, false, true),
            (RestartPolicy::UnlessStopped, true, false),
            (failure, false, false),
        ] {
            assert_eq!(policy.wants_at_boot(stopped), expected, "{policy} {stopped}");
        }
    }

    #[test]
    fn pauses_grow_and_are_forgotten() {
        let mut backoff = Backoff::new();
        let quick = Duration::from_secs(1);
        let pauses: Vec<u128> = (0..4).map(|_| backoff.after(quick).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800]);
        assert_eq!(backoff.after(Duration::from_secs(10)).as_millis(), 100);
        for _ in 0..20 {
            backoff.after(quick);
        }
        assert_eq!(backoff.after(quick), Duration::from_secs(60));
    }
}
