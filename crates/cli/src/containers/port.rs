//! `port`: where the ports of a container can be reached.

use crate::images::say;
use crate::report::Failure;
use crate::verb::{About, Group, Verb, latest};
use engine::containers::{self, Port};
use std::process::ExitCode;

/// `mycontainer port`.
pub(crate) static PORT: Verb<()> = Verb {
    about: About {
        also: &["container port"],
        intro: "Shows where the published ports of a container can be reached while it runs, with the real ports of the\n\
                host where any were asked for. That a port which was named is not published is a failure.",
        example: "port NAME 80",
        ..About::new("port", "CONTAINER [PORT[/PROTOCOL]]", "Show where the ports of a container can be reached")
    },
    groups: &[Group { heading: "Flags", flags: &[latest()] }],
    act: port,
};

fn port((): (), words: Vec<String>) -> Result<ExitCode, Failure> {
    let named = words.get(1).map(|word| Port::parse(word)).transpose();
    let named = named.map_err(|error| Failure::misuse(error.to_string(), "see `mycontainer help port`"))?;
    containers::ports(&words[0], named.as_ref())?.iter().for_each(|line| say(line));
    Ok(ExitCode::SUCCESS)
}
