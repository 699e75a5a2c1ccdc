//! `network create`.

use crate::images::say;
use crate::verb::{About, Group, Verb, switch, value};
use engine::networks::{self, CreateOrder};
use engine::{ParseError, RunOptions};
use std::process::ExitCode;

/// `mycontainer network create`.
pub(crate) static CREATE: Verb<CreateOrder> = Verb {
    about: About {
        outro: "Prints the network's id. Without a name it gets one, and without --subnet the next one that is free of\n\
                172.18.0.0/16 to 172.31.0.0/16 and of the /20s in 192.168.0.0/16: no network has it, and no route of this\n\
                host. The gateway is the subnet's first address, by default.\n\
                Options of bridge: mtu (or com.docker.network.driver.mtu), com.docker.network.bridge.name,\n\
                com.docker.network.bridge.enable_ip_masquerade=false (what leaves keeps its address). Of macvlan and ipvlan:\n\
                mtu, parent=LINK (a link of this host, which must be named), mode (of macvlan bridge, private, vepa or\n\
                passthru, of ipvlan l2, l3 or l3s). These two need --subnet, that of the parent's network: there is no DHCP.",
        example: "network create net",
        ..About::new("network create", "[NAME]", "Make a network")
    },
    groups: &[Group {
        heading: "Flags",
        flags: &[
            value("driver", Some('d'), "DRIVER", "bridge (default), macvlan, or ipvlan", |r, v| r.set_driver(v)),
            value(
                "subnet",
                None,
                "SUBNET",
                "Its addresses, as 10.9.0.0/24; and once of IPv6, as fd00:9::/64",
                |r, v| r.add_subnet(v),
            ),
            value(
                "gateway",
                None,
                "ADDRESS",
                "The bridge's own address, or the router behind the parent; once of each",
                |r, v| r.add_gateway(v),
            ),
            value("aux-address", None, "NAME=ADDRESS", "Give this address out to nobody: NAME has it", |r, v| {
                r.add_aux(v)
            }),
            value("ip-range", None, "SUBNET", "Give out only these addresses of it", |r, v| r.add_range(v)),
            switch("internal", None, "Nothing leads out of it, or in", |r| &mut r.internal),
            switch("ipv6", None, "Addresses of IPv6 as well; without a subnet of it a random one of fd00::/8", |r| {
                &mut r.ipv6
            }),
            value("opt", Some('o'), "NAME=VALUE", "Tell its driver; see below", |r, v| r.add_option(v)),
            value(
                "interface-name",
                None,
                "LINK",
                "The bridge's name on this host; of macvlan and ipvlan the parent",
                |r, v| r.set_link(v),
            ),
            value("label", None, "NAME=VALUE", "Give it a label", |r, v| {
                r.labels.push(RunOptions::pair(v));
                Ok(())
            }),
            switch("attachable", None, "Show it as such; every container can be put on any network", |r| {
                &mut r.attachable
            }),
            switch("disable-dns", None, "Do not tell its containers each other's names", |r| &mut r.no_names),
            switch("ignore", None, "That there is a network of that name is no failure", |r| &mut r.ignore),
            value("scope", None, "SCOPE", "local: there is no other", |_, v| only(v, &["local"])),
            value("ipam-driver", None, "DRIVER", "default, or host-local: addresses are given out here", |_, v| {
                only(v, &["default", "host-local"])
            }),
        ],
    }],
    act: |mut order, words| {
        if let Some(name) = words.first() {
            order.set_name(name).map_err(|error| {
                crate::report::Failure::misuse(error.to_string(), "see `mycontainer help network create`")
            })?;
        }
        say(&networks::create(&order)?.id);
        Ok(ExitCode::SUCCESS)
    },
};

fn only(text: &str, known: &[&str]) -> Result<(), ParseError> {
    if known.contains(&text) {
        Ok(())
    } else {
        Err(ParseError::new(text, format!("there is only {}", known.join(" and "))))
    }
}
