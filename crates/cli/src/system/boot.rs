//! `system boot`: the containers that shall run after a boot.

use crate::images::say;
use crate::report::{self, Failure};
use crate::verb::{About, Verb};
use std::process::ExitCode;

/// `mycontainer system boot`.
pub(crate) static BOOT: Verb<()> = Verb {
    about: About {
        intro: "Starts the containers with --restart always, and those with --restart unless-stopped that nobody had\n\
                stopped, if they have run before, in the order in which they were made. A service manager runs it once\n\
                after each boot.",
        ..About::new("system boot", "", "Start the containers that shall run after a boot")
    },
    groups: &[],
    act: boot,
};

fn boot((): (), _: Vec<String>) -> Result<ExitCode, Failure> {
    runtime::seal::ensure().map_err(|error| Failure::of_run(error.into()))?;
    let mut code = ExitCode::SUCCESS;
    let mut told = |name: &str, started| match started {
        Ok(()) => say(name),
        Err(error) => code = report::failure(&engine::Error::into(error)),
    };
    engine::containers::boot(&mut told, &mut report::note)?;
    engine::containers::tidy_all().iter().for_each(|note| report::note(note));
    Ok(code)
}
