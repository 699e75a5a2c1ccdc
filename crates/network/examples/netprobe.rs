//! Drives the network crate as the engine does, one command a process: what the tests run, and what measures it.
//!
//! ```text
//! netprobe start RUN_DIR ID NETNS OWNER_PID [RESOLV_CONF]   lease and connect; prints what was leased
//! netprobe lease RUN_DIR ID OWNER_PID                       lease only; prints the address
//! netprobe release RUN_DIR ID
//! netprobe sweep RUN_DIR
//! netprobe loopback RUN_DIR                                 lo up in this namespace
//! netprobe bench RUN_DIR COUNT                              lease, connect and release COUNT times; prints medians
//! ```
//!
//! With `EXPLAIN=1` the steps are told on stderr; `MYCONTAINER_FAULT` injects a kill at a step.

use network::{HostResolver, Network, Owner};
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
        ["release", dir, id] => all(Network::open(Path::new(dir)).release(id)),
        ["sweep", dir] => all(Network::open(Path::new(dir)).sweep()),
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
    let lease = network.lease(id, Owner::of(owner.parse()?)?, &host)?;
    let netns: OwnedFd = std::fs::File::open(netns)?.into();
    network.connect(&lease, netns.as_fd())?;
    println!("{} {} {}", lease.address, lease.gateway, lease.host_link);
    print!("{}", host.for_bridge(lease.gateway, &[]));
    if let Some(warning) = lease.warning {
        eprintln!("netprobe: warning: {warning}");
    }
    Ok(())
}

fn lease(dir: &str, id: &str, owner: &str) -> Result<(), Failure> {
    let host = HostResolver::parse(b"nameserver 192.0.2.1");
    let lease = Network::open(Path::new(dir)).lease(id, Owner::of(owner.parse()?)?, &host)?;
    println!("{}", lease.address);
    Ok(())
}

fn all(errors: Vec<network::Error>) -> Result<(), Failure> {
    match errors.len() {
        0 => Ok(()),
        _ => Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n").into()),
    }
}

fn bench(dir: &str, count: &str) -> Result<(), Failure> {
    let host = HostResolver::parse(b"nameserver 192.0.2.1");
    let owner = Owner::this_process()?;
    let mut took: [Vec<Duration>; 4] = Default::default();
    for nth in 0..count.parse::<u64>()? {
        // Ids of different beginnings, for links are named by it.
        let id = format!("{:016x}{:048}", nth.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0);
        let netns = fresh_namespace()?;
        // A new handle each time, as each command has.
        let network = Network::open(Path::new(dir));
        let mut laps = [Instant::now(); 5];
        all(network.sweep())?;
        laps[1] = Instant::now();
        let lease = network.lease(&id, owner, &host)?;
        laps[2] = Instant::now();
        network.connect(&lease, netns.as_fd())?;
        laps[3] = Instant::now();
        all(network.release(&id))?;
        laps[4] = Instant::now();
        for (phase, lap) in took.iter_mut().zip(laps.windows(2)) {
            phase.push(lap[1] - lap[0]);
        }
        if nth == 0 {
            println!(
                "first: sweep {:?} lease {:?} connect {:?} release {:?}",
                took[0][0], took[1][0], took[2][0], took[3][0]
            );
        }
        drop(netns);
        std::thread::sleep(Duration::from_millis(std::env::var("PAUSE_MS").map_or(Ok(0), |ms| ms.parse())?));
    }
    for (name, phase) in ["sweep", "lease", "connect", "release"].iter().zip(&mut took) {
        phase.sort();
        let at = |percent: usize| phase[(phase.len() - 1) * percent / 100];
        println!("{name:<8} median {:?}  p90 {:?}  most {:?}", at(50), at(90), at(100));
    }
    Ok(())
}

/// A network namespace that nobody is in: made by going there and back.
fn fresh_namespace() -> Result<OwnedFd, Failure> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    let home = std::fs::File::open("/proc/thread-self/ns/net")?;
    sys::fork::unshare(sys::fork::Namespaces::NETWORK)?;
    let fresh = std::fs::File::open("/proc/thread-self/ns/net")?;
    move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(fresh.into())
}
