//! `network create`: from the words to a network that is there, or an error that says what is wrong with them.

use super::driver_options::{self, DriverOptions};
use super::plan::{self, Around};
use super::store::Store;
use crate::error::Error;
use crate::parse::{self, ParseError};
use crate::rootless;
use crate::state::Id;
use network::{Cidr, Config, Driver, Used};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What `network create` is asked for.
#[derive(Clone, Debug, Default)]
pub struct CreateOrder {
    /// `--internal`.
    pub internal: bool,
    /// `--ipv6`.
    pub ipv6: bool,
    /// `--disable-dns`.
    pub no_names: bool,
    /// `--ignore`: that there is one of that name is no failure.
    pub ignore: bool,
    /// `--attachable`.
    pub attachable: bool,
    /// `--label`.
    pub labels: Vec<(String, String)>,
    pub(super) aux: BTreeMap<String, IpAddr>,
    pub(super) name: Option<String>,
    pub(super) driver: Driver,
    pub(super) subnet: Option<Cidr>,
    pub(super) subnet6: Option<Cidr>,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) gateway6: Option<Ipv6Addr>,
    pub(super) range: Option<Cidr>,
    pub(super) link: Option<String>,
    pub(super) options: DriverOptions,
    /// As typed.
    pub(super) typed: BTreeMap<String, String>,
}

/// The names that mean something else after `--network`.
const RESERVED: &[&str] =
    &["bridge", "host", "none", "default", "container", "ns", "pasta", "slirp4netns", "private", "nat"];

impl CreateOrder {
    /// NAME.
    pub fn set_name(&mut self, text: &str) -> Result<(), ParseError> {
        if RESERVED.contains(&text) {
            return Err(ParseError::new(text, format!("these names mean something else: {}", RESERVED.join(", "))));
        }
        self.name = Some(parse::network_name(text)?);
        Ok(())
    }

    /// `--driver`.
    pub fn set_driver(&mut self, text: &str) -> Result<(), ParseError> {
        let driver = Driver::from_name(text);
        self.driver = driver.ok_or_else(|| ParseError::new(text, "the drivers are bridge, macvlan and ipvlan"))?;
        Ok(())
    }

    /// `--subnet`, one of each family.
    pub fn add_subnet(&mut self, text: &str) -> Result<(), ParseError> {
        let subnet: Cidr = text.parse().map_err(|why| ParseError::new(text, why))?;
        let known = if subnet.is_ipv4() { &mut self.subnet } else { &mut self.subnet6 };
        once(known, subnet, text, "a network has one subnet of IPv4, and one of IPv6")
    }

    /// `--gateway`, one of each family.
    pub fn add_gateway(&mut self, text: &str) -> Result<(), ParseError> {
        const ONCE: &str = "a network has one gateway of IPv4, and one of IPv6";
        match text.parse() {
            Ok(IpAddr::V4(address)) => once(&mut self.gateway, address, text, ONCE),
            Ok(IpAddr::V6(address)) => once(&mut self.gateway6, address, text, ONCE),
            Err(_) => Err(ParseError::new(text, "it is no IP address")),
        }
    }

    /// `--ip-range`.
    pub fn add_range(&mut self, text: &str) -> Result<(), ParseError> {
        let range: Cidr = text.parse().map_err(|why| ParseError::new(text, why))?;
        if !range.is_ipv4() {
            let why = "a range is of IPv4: the addresses of IPv6 go with those, the nth with the nth";
            return Err(ParseError::new(text, why));
        }
        once(&mut self.range, range, text, "a network has one range")
    }

    /// `--aux-address NAME=ADDRESS`.
    pub fn add_aux(&mut self, text: &str) -> Result<(), ParseError> {
        let wrong = || ParseError::new(text, "write NAME=ADDRESS, as router=10.9.0.5");
        let (name, address) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        if self.aux.insert(name.to_owned(), address).is_some() {
            return Err(ParseError::new(text, "this name has an address already"));
        }
        Ok(())
    }

    /// `--interface-name`: the bridge's own name, or the parent.
    pub fn set_link(&mut self, text: &str) -> Result<(), ParseError> {
        self.link = Some(driver_options::link_name(text)?);
        Ok(())
    }

    /// `--opt NAME=VALUE`.
    pub fn add_option(&mut self, text: &str) -> Result<(), ParseError> {
        let (name, value) = text.split_once('=').ok_or_else(|| ParseError::new(text, "write NAME=VALUE"))?;
        self.options.add(name, value)?;
        self.typed.insert(name.to_owned(), value.to_owned());
        Ok(())
    }
}

fn once<T>(known: &mut Option<T>, new: T, text: &str, why: &str) -> Result<(), ParseError> {
    match known.replace(new) {
        None => Ok(()),
        Some(_) => Err(ParseError::new(text, why)),
    }
}

/// Makes it. With `ignore` the one that has its name already.
pub fn create(order: &CreateOrder) -> Result<Config, Error> {
    let store = Store::open()?;
    let _lock = store.lock()?;
    let others = super::all()?;
    let name = order.name.clone().unwrap_or_else(|| free_name(&others));
    if let Some(other) = others.iter().find(|other| other.name == name) {
        return if order.ignore { Ok(other.clone()) } else { Err(Error::NetworkExists { name }) };
    }
    // Where the host's links cannot be listed, or nothing is free for it, there is no such place.
    let default = rootless::on_host(|| network::default_pool(super::subnets)).ok();
    let default = default.map(|pool| Cidr::new(pool.subnet.into(), pool.prefix));
    let around = Around { host: &used()?, default, others: &others, random: &random };
    let config = Config {
        id: Id::random()?.as_str().to_owned(),
        name,
        created: image::archive::timestamp(std::time::SystemTime::now()),
        ..plan::plan(order, &around)?
    };
    check_links(&config)?;
    store.make(&config)?;
    Ok(config)
}

/// What is used where the bridges are, and, where they are not on the host, on the host as well: a container would reach
/// neither its network nor that of the host.
fn used() -> Result<Vec<Used>, Error> {
    let mut all = rootless::on_host(network::used_by_host)?;
    if rootless::is_rootless() {
        let of_host = network::used_by_host()?;
        all.extend(of_host.into_iter().filter(|used| !all.contains(used)).collect::<Vec<_>>());
    }
    Ok(all)
}

/// `mycontainer1`, or the first such name that no network has.
fn free_name(others: &[Config]) -> String {
    let mut names = (1..).map(|number| format!("mycontainer{number}"));
    names.find(|name| others.iter().all(|other| other.name != *name)).unwrap_or_default()
}

/// A bridge that is to be ours must not be there; a parent must.
fn check_links(config: &Config) -> Result<(), Error> {
    if let Some(bridge) = &config.bridge
        // The way out of an ordinary user's bridges is called as the host's is.
        && (rootless::on_host(|| network::has_link(bridge))? || network::has_link(bridge)?)
    {
        let reason = "this host has a link of that name, which is not ours to use".into();
        return Err(Error::BadValue { flag: "com.docker.network.bridge.name", value: bridge.clone(), reason });
    }
    if let Some(parent) = &config.parent
        && !rootless::on_host(|| network::has_link(parent))?
    {
        let reason = "this host has no such link".into();
        return Err(Error::BadValue { flag: "parent", value: parent.clone(), reason });
    }
    Ok(())
}

fn random() -> Result<[u8; 7], Error> {
    let mut bytes = [0; 7];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(Error::file("read random bytes from", "the kernel"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_cannot_be_meant() {
        type Say = fn(&mut CreateOrder, &str) -> Result<(), ParseError>;
        let table: [(Say, &[&str], &[&str]); 7] = [
            (CreateOrder::add_aux, &["a=10.9.0.5", "b=fd00::5"], &["10.9.0.5", "=10.9.0.5", "a=x", "a=10.9.0.0/24"]),
            (
                CreateOrder::set_name,
                &["net", "n", "A.b-c_9", "mynet", "9"],
                &[
                    "bridge",
                    "host",
                    "none",
                    "default",
                    "container",
                    "ns",
                    "private",
                    "pasta",
                    "slirp4netns",
                    "",
                    "-a",
                    ".a",
                    "a/b",
                    "a b",
                    "a:b",
                    "..",
                    "ä",
                ],
            ),
            (CreateOrder::set_driver, &["bridge", "macvlan", "ipvlan"], &["overlay", "host", "null", ""]),
            (CreateOrder::add_subnet, &["10.9.0.0/24", "fd00::/64"], &["10.9.0.1/24", "10.9.0.0", "x"]),
            (CreateOrder::add_gateway, &["10.9.0.1", "fd00::1"], &["10.9.0.1/24", "x", ""]),
            (CreateOrder::add_range, &["10.9.0.128/25"], &["fd00::/80", "10.9.0.129/25"]),
            (CreateOrder::add_option, &["mtu=1400", "parent=eth0"], &["mtu", "mtu=", "x=y"]),
        ];
        for (say, right, wrong) in table {
            for text in right {
                assert_eq!(say(&mut CreateOrder::default(), text), Ok(()), "{text}");
            }
            for text in wrong {
                assert!(say(&mut CreateOrder::default(), text).is_err(), "{text:?}");
            }
        }
        let long = "n".repeat(200);
        assert!(
            CreateOrder::default().set_name(&long).is_ok() && CreateOrder::default().set_name(&(long + "n")).is_err()
        );
    }

    #[test]
    fn of_each_family_there_is_one() {
        for (say, one, other, again) in [
            (CreateOrder::add_subnet as fn(&mut CreateOrder, &str) -> _, "10.9.0.0/24", "fd00::/64", "10.8.0.0/24"),
            (CreateOrder::add_gateway, "10.9.0.1", "fd00::1", "fd00::2"),
        ] {
            let mut order = CreateOrder::default();
            let said: Vec<bool> = [one, other, again].into_iter().map(|text| say(&mut order, text).is_ok()).collect();
            assert_eq!(said, [true, true, false], "{one}");
        }
    }

    #[test]
    fn who_gives_no_name_gets_one() {
        let named = |names: &[&str]| -> Vec<Config> {
            names.iter().map(|name| Config { name: (*name).to_owned(), ..Config::default() }).collect()
        };
        assert_eq!(free_name(&named(&[])), "mycontainer1");
        assert_eq!(free_name(&named(&["mycontainer1", "x", "mycontainer3"])), "mycontainer2");
    }
}
