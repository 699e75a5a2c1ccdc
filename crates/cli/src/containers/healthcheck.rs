//! `healthcheck run`: how a container is, at this moment.

use crate::images::say;
use crate::report::Failure;
use crate::verb::{About, Verb};
use engine::containers;
use std::process::ExitCode;

/// `mycontainer healthcheck run`.
pub(crate) static HEALTHCHECK: Verb<()> = Verb {
    about: About {
        intro: "Runs a container's health check once, whenever its own times are. What `ps` and `inspect` tell of its health\n\
                does not change by it. What the check prints goes to standard error.",
        outro: "Exit code: 0 when it is healthy, 1 when the check failed or took too long; 125 when there is no check, or\n\
                the container does not run.",
        example: "healthcheck run NAME",
        ..About::new("healthcheck run", "CONTAINER", "Run the health check of a container once")
    },
    groups: &[],
    act: |(), words| {
        let container = words.first().map_or("", String::as_str);
        if containers::healthcheck(container).map_err(Failure::of_run)? {
            return Ok(ExitCode::SUCCESS);
        }
        say("unhealthy");
        Ok(ExitCode::FAILURE)
    },
};
