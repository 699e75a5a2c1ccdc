//! Answers of containers to clients in whose name a process of this host talks to them.
//!
//! Where ports are not published by rules but by a process that takes connections and passes them on (an ordinary user's:
//! no rule of that user's sees what comes to the host), the container should see the client's address all the same. That
//! process takes it on (IP_TRANSPARENT, ip(7)); what is missing is the way back, for by its destination an answer would
//! leave the host. So what comes from a published port of a container by a bridge is routed to this host itself,
//! by a table of its own: to its sockets, of which one has the client's address.
//!
//! A rule that a `kill -9` leaves is about a port that nobody publishes: nothing comes from there, and the next
//! container with that address and port finds the rule that it needs.

use crate::error::{Cause, Error};
use crate::ports::Published;
use crate::route::{LOOPBACK, one};
use crate::socket::Netlink;
use crate::wire::{ACK, CREATE, EXCLUSIVE};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage, RulePortRange};
use netlink_packet_route::{AddressFamily, IpProtocol, RouteNetlinkMessage};
use rustix::io::Errno;
use std::net::IpAddr;

/// The table in which everything is this host's.
const TABLE: u8 = 77;
/// Before the main table (32766), after the local one (0).
const PRIORITY: u32 = 77;

/// Leads answers from these ports of containers to this host's own sockets. [ip-rule(8)]
pub fn take_answers(ports: &[Published]) -> Result<(), Error> {
    let netlink = Netlink::route()?;
    let failed = |errno| Error::Configure { action: "lead answers to this host", source: Cause::from(errno) };
    let there = |done| if done == Err(Errno::EXIST) { Ok(()) } else { done };
    for is_ipv4 in [true, false] {
        if ports.iter().any(|port| port.container.is_ipv4() == is_ipv4) {
            let route = RouteNetlinkMessage::NewRoute(everything(is_ipv4));
            there(one(&netlink, ACK | CREATE | EXCLUSIVE, &route)).map_err(failed)?;
        }
    }
    for port in ports {
        let rule = RouteNetlinkMessage::NewRule(rule(port));
        there(one(&netlink, ACK | CREATE | EXCLUSIVE, &rule)).map_err(failed)?;
    }
    Ok(())
}

/// Takes that back.
pub fn leave_answers(ports: &[Published]) -> Result<(), Error> {
    let netlink = Netlink::route()?;
    for port in ports {
        match one(&netlink, ACK, &RouteNetlinkMessage::DelRule(rule(port))) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::Configure { action: "leave answers alone", source: Cause::from(errno) }),
        }
    }
    Ok(())
}

fn family(is_ipv4: bool) -> AddressFamily {
    if is_ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn everything(is_ipv4: bool) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: family(is_ipv4),
        table: TABLE,
        protocol: RouteProtocol::Boot,
        scope: RouteScope::Host,
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    route.attributes = vec![RouteAttribute::Oif(LOOPBACK)];
    route
}

fn rule(port: &Published) -> RuleMessage {
    let from = port.container.ip();
    let mut rule = RuleMessage::default();
    rule.header = RuleHeader {
        family: family(from.is_ipv4()),
        src_len: if matches!(from, IpAddr::V4(_)) { 32 } else { 128 },
        table: TABLE,
        action: RuleAction::ToTable,
        ..RuleHeader::default()
    };
    let number = port.container.port();
    rule.attributes = vec![
        RuleAttribute::Source(from),
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::IpProtocol(IpProtocol::from(port.protocol as i32)),
        RuleAttribute::SourcePortRange(RulePortRange { start: number, end: number }),
    ];
    rule
}
