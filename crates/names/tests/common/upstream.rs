//! A server upstream that does what the name asks of it, and remembers what it was asked.
//!
//! | first label | what it does |
//! |---|---|
//! | `silent` | nothing |
//! | `servfail`, `refused`, `nx`, `nodata` | says so; the last two with a SOA of 20 seconds |
//! | `wrong-id`, `wrong-name`, `wrong-port` | first says 192.0.2.66 with or from that, then the truth |
//! | `rubbish` | first bytes that are no message, then the truth |
//! | `half` | says an answer whose records are cut off |
//! | `big` | by UDP cut, by TCP all of 200 addresses |
//! | `slow` | the truth, after a second |
//! | anything else | no IPv6; its own address, 192.0.2.N for a server at 127.0.0.N, for 60 seconds |

use super::Host;
use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, Serial, Ttl};
use domain::rdata::{A, Soa};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Such a server; it ends with the test.
pub struct Upstream {
    asked: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Upstream {
    /// At 127.0.0.N of the host.
    pub fn new(host: &Host, nth: u8) -> Upstream {
        Upstream::at(host, Ipv4Addr::new(127, 0, 0, nth).into(), nth)
    }

    /// At an address of the host.
    pub fn at(host: &Host, address: IpAddr, nth: u8) -> Upstream {
        let forger = SocketAddr::from((address, 0));
        let address = SocketAddr::from((address, 53));
        let (udp, tcp) = host.ns.inside(|| (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap()));
        let forger = host.ns.inside(|| UdpSocket::bind(forger).unwrap());
        let (asked, is_over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut upstream = Upstream { asked, is_over, threads: Vec::new() };
        upstream.spawn(move |asked, is_over| answer_packets(&udp, &forger, nth, asked, is_over));
        upstream.spawn(move |asked, is_over| answer_connections(&tcp, nth, asked, is_over));
        upstream
    }

    fn spawn(&mut self, act: impl FnOnce(&Mutex<Vec<String>>, &AtomicBool) + Send + 'static) {
        let (asked, is_over) = (self.asked.clone(), self.is_over.clone());
        self.threads.push(std::thread::spawn(move || act(&asked, &is_over)));
    }

    /// What it was asked, in order: `udp www.example.org A`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// How often it was asked for a name.
    pub fn count(&self, name: &str) -> usize {
        self.asked().iter().filter(|asked| asked.split(' ').nth(1) == Some(name)).count()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

const PAUSE: Duration = Duration::from_millis(20);

fn answer_packets(udp: &UdpSocket, forger: &UdpSocket, nth: u8, asked: &Mutex<Vec<String>>, is_over: &AtomicBool) {
    udp.set_read_timeout(Some(PAUSE)).unwrap();
    let mut space = [0; 2048];
    while !is_over.load(Ordering::Relaxed) {
        let Ok((got, from)) = udp.recv_from(&mut space) else { continue };
        let query = &space[..got];
        let (name, lie) = (note("udp", query, asked), answer(query, [192, 0, 2, 66], "udp"));
        let label = name.split('.').next().unwrap();
        match label {
            "wrong-id" => {
                let mut lie = lie.clone();
                lie[1] ^= 1;
                udp.send_to(&lie, from).unwrap();
            }
            "wrong-name" => {
                let mut lie = lie.clone();
                lie[13] = b'x';
                udp.send_to(&lie, from).unwrap();
            }
            "wrong-port" => drop(forger.send_to(&lie, from).unwrap()),
            "rubbish" => drop(udp.send_to(b"rubbish", from).unwrap()),
            "slow" => std::thread::sleep(Duration::from_secs(1)),
            "silent" => continue,
            _ => {}
        }
        if label.starts_with("wrong-") {
            // The lie is there first.
            std::thread::sleep(Duration::from_millis(100));
        }
        udp.send_to(&answer(query, [192, 0, 2, nth], "udp"), from).unwrap();
    }
}

fn answer_connections(tcp: &TcpListener, nth: u8, asked: &Mutex<Vec<String>>, is_over: &AtomicBool) {
    tcp.set_nonblocking(true).unwrap();
    while !is_over.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = tcp.accept() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            continue;
        }
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut query).unwrap();
        note("tcp", &query, asked);
        let answer = answer(&query, [192, 0, 2, nth], "tcp");
        let _ = stream.write_all(&[&(answer.len() as u16).to_be_bytes(), answer.as_slice()].concat());
    }
}

fn note(by: &str, query: &[u8], asked: &Mutex<Vec<String>>) -> String {
    let question = Message::from_slice(query).unwrap().sole_question().unwrap();
    let name = question.qname().to_string();
    asked.lock().unwrap().push(format!("{by} {name} {}", question.qtype()));
    name
}

fn answer(query: &[u8], address: [u8; 4], by: &str) -> Vec<u8> {
    let query = Message::from_slice(query).unwrap();
    let question = query.sole_question().unwrap();
    let name = question.qname().to_string();
    let label = name.split('.').next().unwrap();
    let rcode = match label {
        "servfail" => Rcode::SERVFAIL,
        "refused" => Rcode::REFUSED,
        "nx" => Rcode::NXDOMAIN,
        _ => Rcode::NOERROR,
    };
    let count = match (label, by) {
        ("servfail" | "refused" | "nx" | "nodata", _) | ("big", "udp") => 0,
        _ if question.qtype() == Rtype::AAAA => 0,
        ("big", _) => 200,
        _ => 1,
    };
    let mut builder = MessageBuilder::new_vec().start_answer(query, rcode).unwrap();
    builder.header_mut().set_ra(true);
    builder.header_mut().set_tc((label, by) == ("big", "udp"));
    for nth in 0..count {
        let [a, b, c, d] = address;
        let address = if count > 1 { A::from_octets(198, 51, 100, nth) } else { A::from_octets(a, b, c, d) };
        builder.push((question.qname(), Ttl::from_secs(60), address)).unwrap();
    }
    let mut builder = builder.authority();
    if ["nx", "nodata"].contains(&label) {
        let name = |text| Name::<Vec<u8>>::from_str(text).unwrap();
        let [zero, minimum] = [0, 20].map(Ttl::from_secs);
        let soa = Soa::new(name("ns.example"), name("me.example"), Serial(1), zero, zero, zero, minimum);
        builder.push((name("example"), Ttl::from_secs(99), soa)).unwrap();
    }
    let mut builder = builder.additional();
    if query.opt().is_some() {
        builder.opt(|_| Ok(())).unwrap();
    }
    let mut answer = builder.finish();
    if label == "half" {
        answer.truncate(answer.len() - 14);
    }
    answer
}
