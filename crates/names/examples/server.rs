//! Serves a directory of names, as the engine's process does: what the tests run, and what measures it.
//!
//! ```text
//! server NAMES_DIR NETWORK ADDRESS:PORT [SUBNET/BITS...]
//! ```
//!
//! It says `ready`, and ends within a second of the end of its standard input.

use names::{Server, Subnet, serve};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::net::{SocketAddr, TcpListener, UdpSocket};

type Failure = Box<dyn std::error::Error>;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Err(error) = run(&words) {
        eprintln!("server: {error}");
        std::process::exit(1);
    }
}

fn run(words: &[String]) -> Result<(), Failure> {
    let [dir, network, address, subnets @ ..] = words else { return Err("usage: see the head of server.rs".into()) };
    let address: SocketAddr = address.parse()?;
    let server = Server {
        udp: UdpSocket::bind(address)?.into(),
        tcp: TcpListener::bind(address)?.into(),
        names: std::fs::File::open(dir)?.into(),
        network: network.clone(),
        subnets: subnets.iter().map(|subnet| parse(subnet)).collect::<Result<_, _>>()?,
        loopback: None,
        is_over: Box::new(input_has_ended),
    };
    println!("ready");
    Ok(serve(server)?)
}

fn parse(subnet: &str) -> Result<Subnet, Failure> {
    let (address, bits) = subnet.split_once('/').ok_or("a subnet has bits")?;
    Ok((address.parse()?, bits.parse()?))
}

fn input_has_ended() -> bool {
    let input = rustix::stdio::stdin();
    let mut events = [PollFd::new(&input, PollFlags::empty())];
    poll(&mut events, Some(&Timespec::default())).is_ok() && events[0].revents().contains(PollFlags::HUP)
}
