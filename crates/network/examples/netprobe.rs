//! Drives the network crate as the engine does, one command a process: what the tests run, and what measures it.
//!
//! ```text
//! netprobe start RUN_DIR ID NETNS OWNER_PID [RESOLV_CONF]   lease and connect; prints what was leased
//! netprobe lease RUN_DIR ID OWNER_PID                       lease only; prints the address
//! netprobe hold RUN_DIR ID NETNS WISH...                    start, publish, print `ready`; withdraw when its input ends
//!                                                           a WISH is tcp/0.0.0.0/8080-8090/80, or with `any`
//! netprobe ports RUN_DIR ID                                 what is published
//! netprobe release RUN_DIR ID
//! netprobe remove RUN_DIR                                   the network, if nobody is on it; says whether
//! netprobe reload RUN_DIR
//! netprobe sweep RUN_DIR
//! netprobe doctor RUN_DIR RESOLV_CONF [NETWORKS]            what would break the network; NETWORKS is JSON
//! netprobe loopback RUN_DIR                                 lo up in this namespace
//! netprobe bench RUN_DIR COUNT                              lease, publish WISH if it is set, connect, withdraw and release
//!                                                           COUNT times; prints medians
//! ```
//!
//! `NETWORK` is a network's configuration, as JSON, in place of the default one; `ADDRESS` the address that is asked for, `NTH`
//! the number of the link, `NAMES` what others call it, and with `NOT_OUT` the way out is another. With `EXPLAIN=1` the steps are told on stderr; `MYCONTAINER_FAULT` injects a kill at a step.

use network::{Cidr, Config, HostResolver, Lease, Network, Owner, Protocol, Request, Wish};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

fn main() {
    step::arm_faults();
    if std::env::var_os("EXPLAIN").is_some() {
        step::explain(step::Format::Text, rustix::io::dup(rustix::stdio::stderr()).expect("dup"));
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["start", dir, id, netns, owner] => start(dir, id, netns, owner, "/etc/resolv.conf"),
        ["start", dir, id, netns, owner, resolv_conf] => start(dir, id, netns, owner, resolv_conf),
        ["lease", dir, id, owner] => lease(dir, id, owner),
        ["hold", dir, id, netns, ref wishes @ ..] => hold(dir, id, netns, wishes),
        ["ports", dir, id] => ports(dir, id),
        ["remove", dir] => remove(dir),
        ["reload", dir] => Network::open(Path::new(dir)).reload(&[]).map(|_| ()).map_err(Failure::from),
        ["release", dir, id] => all(Network::open(Path::new(dir)).release(id)),
        ["sweep", dir] => all(Network::open(Path::new(dir)).sweep()),
        ["doctor", dir, resolv_conf] => doctor(dir, resolv_conf, "[]"),
        ["doctor", dir, resolv_conf, networks] => doctor(dir, resolv_conf, networks),
        ["loopback", _] => network::loopback_up().map_err(Failure::from),
        ["bench", dir, count] => bench(dir, count),
        _ => Err("usage: see the head of netprobe.rs".into()),
    };
    if let Err(error) = done {
        eprintln!("netprobe: {error}");
        std::process::exit(1);
    }
}

fn start(dir: &str, id: &str, netns: &str, owner: &str, resolv_conf: &str) -> Result<(), Failure> {
    let host = HostResolver::parse(&std::fs::read(resolv_conf).unwrap_or_default());
    let network = Network::open(Path::new(dir));
    let lease = leased(&network, id, Owner::of(owner.parse()?)?, &host)?;
    let netns: OwnedFd = std::fs::File::open(netns)?.into();
    network.connect(&lease, netns.as_fd())?;
    let six = lease.six.map_or_else(|| "-".to_owned(), |(address, _)| address.to_string());
    println!("{} {} {six}", lease.address, lease.gateway);
    print!("{}", host.for_bridge(lease.gateway, &[]));
    if let Some(warning) = lease.warning {
        eprintln!("netprobe: warning: {warning}");
    }
    Ok(())
}

fn lease(dir: &str, id: &str, owner: &str) -> Result<(), Failure> {
    let host = HostResolver::parse(b"nameserver 192.0.2.1");
    let lease = leased(&Network::open(Path::new(dir)), id, Owner::of(owner.parse()?)?, &host)?;
    println!("{}", lease.address);
    Ok(())
}

fn hold(dir: &str, id: &str, netns: &str, wishes: &[&str]) -> Result<(), Failure> {
    let host = HostResolver::parse(b"nameserver 192.0.2.1");
    let network = Network::open(Path::new(dir));
    let lease = leased(&network, id, Owner::this_process()?, &host)?;
    let wishes = wishes.iter().map(|text| wish(text)).collect::<Option<Vec<Wish>>>().ok_or("a wish is wrong")?;
    let held = || -> Result<(), Failure> {
        for port in network.publish(std::slice::from_ref(&lease), &wishes)? {
            println!("{port}");
        }
        let netns: OwnedFd = std::fs::File::open(netns)?.into();
        network.connect(&lease, netns.as_fd())?;
        println!("ready");
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
        Ok(())
    };
    let done = held();
    all([network.withdraw(id), network.release(id)].into_iter().flatten().collect())?;
    done
}

fn remove(dir: &str) -> Result<(), Failure> {
    println!("{}", Network::open(Path::new(dir)).remove_idle(&config()?)?);
    Ok(())
}

fn config() -> Result<Config, Failure> {
    match std::env::var("NETWORK") {
        Ok(text) => Ok(serde_json::from_str(&text)?),
        Err(_) => Ok(Config::of_default()),
    }
}

fn leased(network: &Network, container: &str, owner: Owner, host: &HostResolver) -> Result<Lease, Failure> {
    let config = config()?;
    let address = std::env::var("ADDRESS").ok().map(|text| text.parse()).transpose()?;
    let names: Vec<String> = std::env::var("NAMES").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let nth = std::env::var("NTH").map_or(Ok(0), |text| text.parse())?;
    let is_way_out = std::env::var_os("NOT_OUT").is_none();
    let request = Request {
        network: &config,
        container,
        owner,
        host,
        address,
        mac: None,
        names: &names,
        servers: &[],
        nth,
        is_way_out,
        made,
    };
    Ok(network.lease(&request)?)
}

/// What is in MADE, in place of networks that people made.
fn made() -> Vec<Cidr> {
    let made = std::env::var("MADE").unwrap_or_default();
    made.split_whitespace().filter_map(|text| text.parse().ok()).collect()
}

fn wish(text: &str) -> Option<Wish> {
    let parts: Vec<&str> = text.split('/').collect();
    let [protocol, address, ports, port] = parts[..] else { return None };
    let (address, and_six) = if address == "any" { ("0.0.0.0", true) } else { (address, false) };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    Some(Wish {
        protocol: Protocol::from_name(protocol)?,
        address: address.parse().ok()?,
        and_six,
        host_ports: first.parse().ok()?..=last.parse().ok()?,
        port: port.parse().ok()?,
    })
}

fn ports(dir: &str, id: &str) -> Result<(), Failure> {
    Network::open(Path::new(dir)).ports_of(id)?.iter().for_each(|port| println!("{port}"));
    Ok(())
}

fn all(errors: Vec<network::Error>) -> Result<(), Failure> {
    match errors.len() {
        0 => Ok(()),
        _ => Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n").into()),
    }
}

fn doctor(dir: &str, resolv_conf: &str, networks: &str) -> Result<(), Failure> {
    use network::doctor::{Patient, examine};
    let resolver = HostResolver::parse(&std::fs::read(resolv_conf).unwrap_or_default());
    let networks: Vec<network::Config> = serde_json::from_str(networks)?;
    for one in examine(Patient { run_dir: Path::new(dir), networks: &networks, resolver: &resolver })? {
        println!("{} {}: {} | {}", one.state.name(), one.name, one.seen, one.remedy);
    }
    Ok(())
}

fn bench(dir: &str, count: &str) -> Result<(), Failure> {
    let host = HostResolver::parse(b"nameserver 192.0.2.1");
    let owner = Owner::this_process()?;
    let wishes: Vec<Wish> = std::env::var("WISH").ok().iter().filter_map(|text| wish(text)).collect();
    let mut took: [Vec<Duration>; PHASES.len()] = Default::default();
    for nth in 0..count.parse::<u64>()? {
        // Ids of different beginnings, for links are named by it.
        let id = format!("{:016x}{:048}", nth.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0);
        let netns = fresh_namespace()?;
        // A new handle each time, as each command has.
        let network = Network::open(Path::new(dir));
        let mut laps = vec![Instant::now()];
        let lap = |laps: &mut Vec<Instant>| laps.push(Instant::now());
        all(network.sweep())?;
        lap(&mut laps);
        let lease = leased(&network, &id, owner, &host)?;
        lap(&mut laps);
        network.publish(std::slice::from_ref(&lease), &wishes)?;
        lap(&mut laps);
        network.connect(&lease, netns.as_fd())?;
        lap(&mut laps);
        all(if wishes.is_empty() { Vec::new() } else { network.withdraw(&id) })?;
        lap(&mut laps);
        all(network.release(&id))?;
        lap(&mut laps);
        for (phase, lap) in took.iter_mut().zip(laps.windows(2)) {
            phase.push(lap[1] - lap[0]);
        }
        if nth == 0 {
            let first: Vec<String> =
                PHASES.iter().zip(&took).map(|(name, phase)| format!("{name} {:?}", phase[0])).collect();
            println!("first: {}", first.join(" "));
        }
        drop(netns);
        std::thread::sleep(Duration::from_millis(std::env::var("PAUSE_MS").map_or(Ok(0), |ms| ms.parse())?));
    }
    for (name, phase) in PHASES.iter().zip(&mut took) {
        phase.sort();
        let at = |percent: usize| phase[(phase.len() - 1) * percent / 100];
        println!("{name:<8} median {:?}  p90 {:?}  most {:?}", at(50), at(90), at(100));
    }
    Ok(())
}

/// What is measured.
const PHASES: [&str; 6] = ["sweep", "lease", "publish", "connect", "withdraw", "release"];

/// A network namespace that nobody is in: made by going there and back.
fn fresh_namespace() -> Result<OwnedFd, Failure> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    let home = std::fs::File::open("/proc/thread-self/ns/net")?;
    sys::fork::unshare(sys::fork::Namespaces::NETWORK)?;
    let fresh = std::fs::File::open("/proc/thread-self/ns/net")?;
    move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(fresh.into())
}
