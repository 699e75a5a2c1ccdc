//! Network devices of the host that become the container's: `linux.netDevices`.
//!
//! The tool moves them, after the container's network namespace is there and before its program runs. The kernel keeps
//! a device's MTU, hardware address and the like over a move, but takes its addresses and brings it down; so its
//! permanent addresses of global scope are read before and given again after, in the order in which they were, and it
//! is brought up. Its routes are not ours to keep. [config-linux.md, "Network Devices"]
//!
//! What a failure leaves: nothing. When one device cannot be moved those before it are moved back, with name, index,
//! addresses and state; and [`Moved::back`] does the same for a container that fails later. It is needed because a
//! virtual device (veth, macvlan, ...) is destroyed with the namespace that it is in, while hardware falls back to the
//! host. That is also what a crash of the tool in between leads to, and what happens at the end of every container:
//! by the specification we do not move devices back then.

use crate::error::Error;
use crate::netlink::{ACK, DUMP, RTM_GETADDR, RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK, Route, attributes, put, read_u32};
use crate::procfs::Procfs;
use oci_spec::runtime::{Linux, LinuxNamespaceType};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use step::step;

/// One device to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetDevice {
    host: String,
    container: String,
}

/// Checks the section: by name, so that the order is always the same.
pub(crate) fn plan(linux: &Linux) -> Result<Vec<NetDevice>, Error> {
    let mut devices = Vec::new();
    for (host, device) in linux.net_devices().iter().flatten() {
        let container = device.name().as_ref().filter(|name| !name.is_empty()).unwrap_or(host);
        check_name(host, false)?;
        check_name(container, true)?;
        devices.push(NetDevice { host: host.clone(), container: container.clone() });
    }
    devices.sort_by(|a, b| a.host.cmp(&b.host));
    let has_namespace =
        linux.namespaces().iter().flatten().any(|namespace| namespace.typ() == LinuxNamespaceType::Network);
    if !devices.is_empty() && !has_namespace {
        return Err(Error::Invalid("linux.netDevices needs a network namespace other than the host's".into()));
    }
    for (nth, one) in devices.iter().enumerate() {
        let same = |other: &&NetDevice| other.container == one.container && !one.container.contains('%');
        if let Some(other) = devices[nth + 1..].iter().find(same) {
            let names = format!("{} and {} the name {:?}", one.host, other.host, one.container);
            return Err(Error::Invalid(format!("linux.netDevices gives {names}")));
        }
    }
    Ok(devices)
}

/// The kernel's rule for names, and in the container's a template `%d`. [net/core/dev.c: dev_valid_name]
fn check_name(name: &str, may_be_template: bool) -> Result<(), Error> {
    let plain = if may_be_template { name.replacen("%d", "", 1) } else { name.to_owned() };
    let wrong = |c: char| c == '/' || c == ':' || c == '%' || c == '\0' || c.is_whitespace();
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || plain.contains(wrong) {
        return Err(Error::Invalid(format!("linux.netDevices: {name:?} cannot be the name of a network device")));
    }
    Ok(())
}

/// Devices that were moved, in order, with what it takes to move them back.
#[derive(Default)]
pub(crate) struct Moved(Vec<Done>);

struct Done {
    was: Link,
    index: u32,
}

/// A device as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Link {
    index: u32,
    name: String,
    up: bool,
    /// Payloads of RTM_NEWADDR, as far as they are to be given again.
    addresses: Vec<Vec<u8>>,
}

/// The two sides of a move.
struct Sides {
    host: Route,
    host_namespace: OwnedFd,
    container: Route,
}

/// Moves all the devices, or none. The calling process has one thread: it looks into the other namespace for a moment.
pub(crate) fn move_all(devices: &[NetDevice], namespace: BorrowedFd<'_>) -> Result<Moved, Error> {
    let mut moved = Moved::default();
    if devices.is_empty() {
        return Ok(moved);
    }
    let sides = Sides::open(namespace)?;
    for device in devices {
        let what = || format!("move {} as {}", device.host, device.container);
        let act = || sides.give(device, namespace);
        match step("move-device", "asked for by linux.netDevices", what, act) {
            Ok(done) => moved.0.push(done),
            Err(error) => {
                // The first failure is the one to tell.
                let _ = moved.return_over(&sides);
                return Err(error);
            }
        }
    }
    Ok(moved)
}

impl Moved {
    /// Moves the devices back: for a container that is given up before it has run. Goes on after an error.
    pub(crate) fn back(self, namespace: BorrowedFd<'_>) -> Vec<Error> {
        if self.0.is_empty() {
            return Vec::new();
        }
        match Sides::open(namespace) {
            Ok(sides) => self.return_over(&sides),
            Err(error) => vec![error],
        }
    }

    fn return_over(self, sides: &Sides) -> Vec<Error> {
        let back = |done: Done| {
            let what = || format!("move {} back", done.was.name);
            step("return-device", "its container does not come to be", what, || sides.take_back(&done)).err()
        };
        self.0.into_iter().rev().filter_map(back).collect()
    }
}

/// Names the device and what was tried.
fn failed(device: &str, what: impl Into<String>) -> impl FnOnce(Errno) -> Error {
    let (device, what) = (device.to_owned(), what.into());
    move |errno| Error::NetDevice { device, what, reason: errno.to_string() }
}

impl Sides {
    fn open(namespace: BorrowedFd<'_>) -> Result<Sides, Error> {
        let wrap =
            |source: Errno| Error::Process { what: "reach the network namespaces".into(), source: source.into() };
        let proc = Procfs::host()?;
        let own = || proc.own_namespace(&proc.own()?, "net");
        let host_namespace = own().map_err(wrap)?;
        let host = Route::open().map_err(wrap)?;
        // A netlink socket belongs for ever to the namespace in which it was opened.
        let enter = |namespace| move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network));
        enter(namespace).map_err(wrap)?;
        let container = Route::open();
        enter(host_namespace.as_fd()).map_err(wrap)?;
        Ok(Sides { host, host_namespace, container: container.map_err(wrap)? })
    }

    fn give(&self, device: &NetDevice, namespace: BorrowedFd<'_>) -> Result<Done, Error> {
        let NetDevice { host: name, container } = device;
        let fail = |what: &str, reason: String| Error::NetDevice { device: name.clone(), what: what.into(), reason };
        let was = match find(&self.host, name) {
            Ok(Some(link)) => link,
            Ok(None) => return Err(fail("look for it", "this host has no such device".into())),
            Err(errno) => return Err(failed(name, "look for it")(errno)),
        };
        let there = links(&self.container).map_err(failed(name, "look at the container's devices"))?;
        if there.iter().any(|link| link.name == *container) {
            return Err(fail("move it", format!("the container has a device {container} already")));
        }
        let index = free_index(&there, was.index);
        let target = Target { namespace, name: container, index };
        let done = Done { was, index };
        let finish = || -> Result<(), Error> {
            carry(&self.host, done.was.index, &target).map_err(|errno| fail("move it", why_unmoved(errno)))?;
            restore(&self.container, index, &done.was.addresses).map_err(failed(name, "give it its addresses"))?;
            set_up(&self.container, index).map_err(failed(name, "bring it up"))
        };
        match finish() {
            Ok(()) => Ok(done),
            Err(error) => {
                // Also after a refused move, which the kernel may have made and then refused the name. Under this
                // index there is nothing else.
                let _ = self.take_back(&done);
                Err(error)
            }
        }
    }

    fn take_back(&self, done: &Done) -> Result<(), Error> {
        let Link { index, name, up, addresses } = &done.was;
        let target = Target { namespace: self.host_namespace.as_fd(), name, index: *index };
        carry(&self.container, done.index, &target).map_err(failed(name, "move it back"))?;
        restore(&self.host, *index, addresses).map_err(failed(name, "give it its addresses again"))?;
        if *up { set_up(&self.host, *index).map_err(failed(name, "bring it up again")) } else { Ok(()) }
    }
}

/// The kernel's answers to a move.
fn why_unmoved(errno: Errno) -> String {
    match errno {
        Errno::INVAL => "the kernel does not let it leave its network namespace".into(),
        Errno::PERM => "it needs CAP_NET_ADMIN over both network namespaces".into(),
        other => other.to_string(),
    }
}

/// The device's own index where it is free: programs remember it.
fn free_index(there: &[Link], wanted: u32) -> u32 {
    if there.iter().all(|link| link.index != wanted) {
        return wanted;
    }
    there.iter().map(|link| link.index).max().unwrap_or(0) + 1
}

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_NEW_IFINDEX: u16 = 49;
const IFF_UP: u32 = 1;
/// Statistics, of which we want none.
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_F_PERMANENT: u32 = 0x80;
/// What the kernel says of an address and is not told: secondary, DAD failed, deprecated, tentative, permanent.
const IFA_F_KERNELS: u32 = 0x01 | 0x08 | 0x20 | 0x40 | IFA_F_PERMANENT;
const RT_SCOPE_UNIVERSE: u8 = 0;

/// A `struct ifinfomsg`.
fn link_message(index: u32, flags: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for number in [index, flags, flags] {
        bytes.extend_from_slice(&number.to_ne_bytes());
    }
    bytes
}

fn name_attribute(bytes: &mut Vec<u8>, name: &str) {
    put(bytes, IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat());
}

/// The device of that name, with the addresses that go with it.
fn find(route: &Route, name: &str) -> Result<Option<Link>, Errno> {
    let mut request = link_message(0, 0);
    put(&mut request, IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    name_attribute(&mut request, name);
    let found = match route.ask(RTM_GETLINK, ACK, &request) {
        Err(Errno::NODEV) => return Ok(None),
        found => found?,
    };
    // The kernel also finds a device by its other names; what is moved has the one that was asked for.
    let Some(mut link) = found.iter().find_map(|payload| parse_link(payload)).filter(|link| link.name == name) else {
        return Ok(None);
    };
    let all = route.ask(RTM_GETADDR, DUMP, &[0; 8])?;
    link.addresses = all.iter().filter_map(|payload| kept_address(payload, link.index)).collect();
    Ok(Some(link))
}

fn links(route: &Route) -> Result<Vec<Link>, Errno> {
    let mut request = link_message(0, 0);
    put(&mut request, IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    Ok(route.ask(RTM_GETLINK, DUMP, &request)?.iter().filter_map(|payload| parse_link(payload)).collect())
}

fn parse_link(payload: &[u8]) -> Option<Link> {
    let (index, flags) = (read_u32(payload, 4)?, read_u32(payload, 8)?);
    let (_, name) = attributes(payload.get(16..)?).find(|(kind, _)| *kind == IFLA_IFNAME)?;
    let name = std::str::from_utf8(name).ok()?.trim_end_matches('\0').to_owned();
    Some(Link { index, name, up: flags & IFF_UP != 0, addresses: Vec::new() })
}

/// A permanent address of global scope of the device, as it is to be given again: without its label, which is of the
/// old name, and without its age.
fn kept_address(payload: &[u8], index: u32) -> Option<Vec<u8>> {
    let [family, prefix, old_flags, scope, ..] = *payload else { return None };
    if read_u32(payload, 4)? != index || scope != RT_SCOPE_UNIVERSE {
        return None;
    }
    let given: Vec<(u16, &[u8])> = attributes(payload.get(8..)?).collect();
    let of = |wanted| given.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| *value);
    let flags = of(IFA_FLAGS).and_then(|value| read_u32(value, 0)).unwrap_or(old_flags.into());
    if flags & IFA_F_PERMANENT == 0 {
        return None;
    }
    let mut kept = vec![family, prefix, 0, scope];
    kept.extend_from_slice(&index.to_ne_bytes());
    for kind in [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_RT_PRIORITY] {
        if let Some(value) = of(kind) {
            put(&mut kept, kind, value);
        }
    }
    put(&mut kept, IFA_FLAGS, &(flags & !IFA_F_KERNELS).to_ne_bytes());
    Some(kept)
}

/// Where a device goes.
struct Target<'a> {
    namespace: BorrowedFd<'a>,
    name: &'a str,
    index: u32,
}

fn carry(from: &Route, index: u32, to: &Target<'_>) -> Result<(), Errno> {
    let mut request = link_message(index, 0);
    put(&mut request, IFLA_NET_NS_FD, &to.namespace.as_raw_fd().to_ne_bytes());
    // In the kernel since 5.13. It says by which index to go on, whatever the kernel makes of the name.
    put(&mut request, IFLA_NEW_IFINDEX, &to.index.to_ne_bytes());
    // Looked at twice: when its old name is taken there, and for its name from then on. [do_setlink]
    name_attribute(&mut request, to.name);
    from.ask(RTM_NEWLINK, ACK, &request).map(drop)
}

fn restore(route: &Route, index: u32, addresses: &[Vec<u8>]) -> Result<(), Errno> {
    addresses.iter().try_for_each(|address| {
        let mut request = address.clone();
        request[4..8].copy_from_slice(&index.to_ne_bytes());
        const CREATE: u16 = 0x400;
        match route.ask(RTM_NEWADDR, ACK | CREATE, &request) {
            // There already: no matter who gave it.
            Err(Errno::EXIST) => Ok(()),
            done => done.map(drop),
        }
    })
}

fn set_up(route: &Route, index: u32) -> Result<(), Errno> {
    route.ask(RTM_NEWLINK, ACK, &link_message(index, IFF_UP)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{in_child, is_root, need};
    use serde_json::{Value, json};
    use std::process::Command;
    use sys::fork::{Namespaces, unshare};

    fn of(devices: Value, namespace: bool) -> Result<Vec<NetDevice>, Error> {
        let mut linux: Linux = serde_json::from_value(json!({ "netDevices": devices })).unwrap();
        let network = json!([{ "type": "network" }]);
        linux.set_namespaces(namespace.then(|| serde_json::from_value(network).unwrap()));
        plan(&linux)
    }

    #[test]
    fn names_and_namespaces() {
        for (devices, namespace, expected) in [
            (json!({}), false, None),
            (json!({"eth0": {}}), true, None),
            (json!({"eth0": {"name": "lan%d"}, "eth1": {"name": "lan%d"}}), true, None),
            (json!({"eth0": {}}), false, Some("needs a network namespace")),
            (json!({"": {}}), true, Some("\"\" cannot be the name")),
            (json!({"eth0": {"name": "sixteen-letters-"}}), true, Some("cannot be the name")),
            (json!({"eth0": {"name": "a/b"}}), true, Some("cannot be the name")),
            (json!({"eth0": {"name": "a:1"}}), true, Some("cannot be the name")),
            (json!({"eth0": {"name": "a b"}}), true, Some("cannot be the name")),
            (json!({"eth0": {"name": ".."}}), true, Some("cannot be the name")),
            (json!({"eth0": {"name": "a%d%d"}}), true, Some("cannot be the name")),
            (json!({"eth0": {"name": "a%s"}}), true, Some("cannot be the name")),
            (json!({"eth%d": {}}), true, Some("cannot be the name")),
            (json!({"eth0": {"name": "x"}, "eth1": {"name": "x"}}), true, Some("eth0 and eth1 the name \"x\"")),
            (json!({"eth0": {"name": "eth1"}, "eth1": {}}), true, Some("the name \"eth1\"")),
        ] {
            let said = of(devices.clone(), namespace).err().map(|e| e.to_string());
            assert_eq!(said.is_some(), expected.is_some(), "{devices}: {said:?}");
            assert!(said.as_ref().is_none_or(|said| said.contains(expected.unwrap())), "{devices}: {said:?}");
        }
    }

    /// `ip` as the independent judge, in the namespace that this process is in.
    fn ip(words: &str) -> String {
        let output = Command::new("ip").args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn addresses(device: &str) -> Vec<String> {
        let shown: Value = serde_json::from_str(&ip(&format!("-j address show {device}"))).unwrap();
        let text = |a: &Value| {
            let word = |name: &str| a[name].as_str().unwrap_or("").to_owned();
            format!("{}/{} {} {}", word("local"), a["prefixlen"], word("broadcast"), word("scope"))
        };
        let all = shown[0]["addr_info"].as_array().unwrap().iter().map(text);
        all.filter(|text| !text.starts_with("fe80")).collect()
    }

    /// Runs `trial` in a host's network namespace with a veth `dev0` to `peer0`, both up, beside a container's one.
    fn on_a_host(test: &str, trial: impl FnOnce(&OwnedFd, &dyn Fn(&dyn Fn()))) {
        let has_ip = Command::new("ip").arg("-V").output().is_ok();
        if !is_root(test) || !need(test, has_ip, "it needs ip(8)") {
            return;
        }
        in_child(|| {
            let proc = Procfs::host().unwrap();
            let own = || proc.own_namespace(&proc.own().unwrap(), "net").unwrap();
            unshare(Namespaces::NETWORK).unwrap();
            let container = own();
            unshare(Namespaces::NETWORK).unwrap();
            let host = own();
            ip("link add dev0 type veth peer name peer0");
            for device in ["dev0", "peer0"] {
                ip(&format!("link set {device} up"));
            }
            ip("link set dev0 mtu 1400");
            ip("address add 192.0.2.5/24 brd + dev dev0");
            ip("address add 192.0.2.6/24 dev dev0");
            ip("address add 198.51.100.1/32 dev dev0 label dev0:x");
            ip("address add 2001:db8::5/64 dev dev0 nodad");
            ip("address add 203.0.113.1/24 dev dev0 scope link");
            ip("address add 100.64.0.9/24 dev dev0 valid_lft 600 preferred_lft 600");
            let enter = |ns: &OwnedFd| {
                move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            };
            trial(&container, &|inside| {
                enter(&container);
                inside();
                enter(&host);
            });
        });
    }

    const KEPT: [&str; 4] = [
        "192.0.2.5/24 192.0.2.255 global",
        "198.51.100.1/32  global",
        "192.0.2.6/24  global",
        "2001:db8::5/64  global",
    ];

    #[test]
    fn a_device_keeps_its_permanent_global_addresses_and_comes_up() {
        on_a_host("a_device_keeps_its_permanent_global_addresses_and_comes_up", |container, inside| {
            let devices = of(json!({"dev0": {"name": "lan0"}}), true).unwrap();
            let before: Value = serde_json::from_str(&ip("-j link show dev0")).unwrap();
            move_all(&devices, container.as_fd()).unwrap();
            assert!(!ip("-br link").contains("dev0"), "it is still here");
            inside(&|| {
                let mut got = addresses("lan0");
                let mut wanted = KEPT.map(String::from);
                got.sort();
                wanted.sort();
                assert_eq!(got, wanted);
                let after: Value = serde_json::from_str(&ip("-j link show lan0")).unwrap();
                assert!(after[0]["flags"].as_array().unwrap().contains(&"UP".into()), "{after}");
                for same in ["ifindex", "mtu", "address"] {
                    assert_eq!(after[0][same], before[0][same], "{same}");
                }
            });
        });
    }

    #[test]
    fn names_that_are_taken_and_templates() {
        on_a_host("names_that_are_taken_and_templates", |container, inside| {
            inside(&|| drop(ip("link add lan0 type veth peer name taken0")));
            let to = |name: &str| of(json!({"dev0": {"name": name}}), true).unwrap();
            let said = |name: &str| move_all(&to(name), container.as_fd()).map(drop).unwrap_err().to_string();
            assert!(said("lan0").contains("has a device lan0 already"), "{}", said("lan0"));
            assert!(ip("-br link").contains("dev0@"), "it was moved all the same");
            // The old name is free there: the kernel itself would not use the template.
            move_all(&to("lan%d"), container.as_fd()).unwrap();
            inside(&|| assert!(ip("-br link show dev lan1").contains("lan1"), "{}", ip("-br link")));
        });
    }

    #[test]
    fn all_or_none_and_back() {
        on_a_host("all_or_none_and_back", |container, inside| {
            let before = (addresses("dev0"), ip("-j link show dev0"));
            // Devices go in the order of their names, so dev0 has gone when the second fails.
            for second in ["eth9", "lo"] {
                let devices = of(json!({"dev0": {"name": "x"}, second: {"name": "y"}}), true).unwrap();
                let error = move_all(&devices, container.as_fd()).map(drop).unwrap_err().to_string();
                let why = if second == "lo" { "does not let it leave" } else { "has no such device" };
                assert!(error.contains(second) && error.contains(why), "{error}");
                inside(&|| assert!(!ip("-br link").contains("x@")));
            }
            let moved = move_all(&of(json!({"dev0": {"name": "x"}}), true).unwrap(), container.as_fd()).unwrap();
            inside(&|| assert!(ip("-br link").contains("x@")));
            let errors = moved.back(container.as_fd());
            assert!(errors.is_empty(), "{}", errors[0]);
            let mut after = addresses("dev0");
            after.sort();
            let mut kept = KEPT.map(String::from);
            kept.sort();
            assert_eq!(after, kept);
            let shown = |text: &str| {
                let value: Value = serde_json::from_str(text).unwrap();
                let of = |name: &str| value[0][name].clone();
                (of("ifindex"), of("ifname"), of("mtu"), of("address"), of("operstate"))
            };
            assert_eq!(shown(&ip("-j link show dev0")), shown(&before.1));
        });
    }
}
