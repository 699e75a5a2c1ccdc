//! Whether this kernel has what a start needs: tried where nobody sees it.

use super::Finding;
use crate::bridge::mac_of;
use crate::cable::{self, Peer};
use crate::error::{Cause, Error};
use crate::route;
use crate::rules::{self, Wanted};
use crate::socket::Netlink;
use crate::subnet::Subnet;
use crate::tag::Tag;
use crate::uses::Use;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use sys::fork::{Namespaces, unshare};

const NAME: &str = "kernel";

/// Makes in a namespace of a thread's own what a start makes on the host. All of it goes with the thread.
pub(super) fn probe() -> Finding {
    let tried = std::thread::Builder::new().spawn(try_everything).map(std::thread::JoinHandle::join);
    match tried {
        Ok(Ok(Ok(()))) => Finding::ok(NAME, "bridges, veth pairs, nf_tables and NAT are there"),
        Ok(Ok(Err(error))) => Finding::broken(NAME, error.to_string(), "load what is missing, or use another kernel"),
        Ok(Err(_)) => Finding::broken(NAME, "the probe did not end well", "run it again with RUST_BACKTRACE=1"),
        Err(error) => Finding::broken(NAME, format!("cannot start a thread: {error}"), "raise `ulimit -u`"),
    }
}

fn try_everything() -> Result<(), Error> {
    unshare(Namespaces::NETWORK)
        .map_err(|error| Error::EnterNamespace { source: Errno::from_io_error(&error).unwrap_or(Errno::PERM) })?;
    let (name, gateway) = ("probe0", Ipv4Addr::new(192, 0, 2, 1));
    let netlink = Netlink::route()?;
    let own = openat(CWD, "/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|source| Error::EnterNamespace { source })?;
    let bridge = |errno| Error::Bridge { name: "probe0".to_owned(), source: Cause::of(errno, "bridge") };
    route::create_bridge(&netlink, name, mac_of(gateway), 1500).map_err(bridge)?;
    let index = route::link(&netlink, name).map_err(bridge)?.ok_or_else(|| bridge(Errno::NODEV))?.index;
    let peer = Peer { interface: "eth0", mac: mac_of(gateway), netns: own.as_fd() };
    cable::create_veth(&netlink, "probe1", index, 1500, &peer)
        .map_err(|errno| Error::Veth { link: "probe1".into(), source: Cause::of(errno, "veth") })?;
    let one = Use {
        tag: Tag::DEFAULT,
        bridge: name.to_owned(),
        subnet: Subnet { gateway, prefix: 24 },
        six: None,
        internal: false,
        routed: false,
        names: None,
    };
    let wanted = Wanted { networks: &[one], ports: &[], resolver: Some(Ipv4Addr::LOCALHOST) };
    rules::install(&Netlink::netfilter()?, &wanted).map(drop)
}
