//! `network connect` and `network disconnect`.

use crate::report;
use crate::verb::{About, Group, Verb, switch, value};
use engine::{Endpoint, containers};
use std::process::ExitCode;

/// `mycontainer network connect`.
pub(crate) static CONNECT: Verb<Endpoint> = Verb {
    about: About {
        intro: "Puts a container on a network beside those that it is on, whether it runs or not: it gets a link, an address\n\
                and its names there, and its /etc/hosts and /etc/resolv.conf say so.",
        outro: "What it publishes goes on to lead to its first network that is not an internal one.",
        example: "network connect --alias db backend NAME",
        ..About::new("network connect", "NETWORK CONTAINER", "Put a container on a network")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("ip", None, "ADDRESS", "Its address there", |r: &mut Endpoint, v| r.set_address(v)),
            value("ip6", None, "ADDRESS", "Its address of IPv6 there, and the one of IPv4 beside it", |r, v| {
                r.set_address6(v)
            }),
            value("alias", None, "NAME", "A name that it has there beside its own; may stand several times", |r, v| {
                r.add_alias(v)
            }),
            value("mac-address", None, "ADDRESS", "Its hardware address there, as 02:42:ac:12:00:05", |r, v| {
                r.set_mac(v)
            }),
        ],
    }],
    act: |endpoint, words| {
        let [network, container] = &words[..] else { return Ok(ExitCode::FAILURE) };
        for note in containers::connect(container, &Endpoint { network: network.clone(), ..endpoint })? {
            report::note(&note);
        }
        Ok(ExitCode::SUCCESS)
    },
};

#[derive(Debug, Default)]
pub(crate) struct Disconnect {
    force: bool,
}

/// `mycontainer network disconnect`.
pub(crate) static DISCONNECT: Verb<Disconnect> = Verb {
    about: About {
        intro: "Takes a container off a network, whether it runs or not.",
        example: "network disconnect backend NAME",
        ..About::new("network disconnect", "NETWORK CONTAINER", "Take a container off a network")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[switch("force", Some('f'), "That it is not there is no failure", |r: &mut Disconnect| &mut r.force)],
    }],
    act: |request, words| {
        let [network, container] = &words[..] else { return Ok(ExitCode::FAILURE) };
        for note in containers::disconnect(container, network, request.force)? {
            report::note(&note);
        }
        Ok(ExitCode::SUCCESS)
    },
};
