//! The verbs of networks, as Docker's and Podman's users type them. What they do stands in `engine::networks`; here are
//! their words.

mod create;
mod doctor;
mod inspect;
mod join;
mod list;
mod remove;

pub(crate) use create::CREATE;
pub(crate) use doctor::DOCTOR;
pub(crate) use inspect::{EXISTS, INSPECT};
pub(crate) use join::{CONNECT, DISCONNECT};
pub(crate) use list::LS;
pub(crate) use remove::{PRUNE, RM, delete};

use crate::report::{self, Failure};
use crate::table::Filter;
use crate::verb::{About, Verb};
use engine::networks::Config;
use std::process::ExitCode;

/// `mycontainer network reload`.
pub(crate) static RELOAD: Verb<()> = Verb {
    about: About {
        intro: "Puts the network's rules in place anew, with all published ports: after something has flushed or replaced\n\
                the host's, as the reload of a firewall does. The next container that starts does so, too. A bridge that\n\
                somebody has deleted comes back, with the containers on it. Where nothing is on the network, nothing is\n\
                changed.",
        ..About::new("network reload", "", "Put the rules of the network in place anew")
    },
    groups: &[],
    act: reload,
};

fn reload((): (), _: Vec<String>) -> Result<ExitCode, Failure> {
    if let Some(warning) = engine::networks::reload()? {
        report::note(&warning);
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether all filters for labels let a network through.
fn has_labels(filters: &[Filter], config: &Config) -> bool {
    let mut labels = filters.iter().filter(|filter| filter.key == "label");
    labels.all(|filter| filter.label(|name| config.labels.get(name).map(String::as_str)))
}
