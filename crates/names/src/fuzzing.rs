//! What the fuzz target `names` drives: packets of any bytes from either side, without sockets and files. No panic; what
//! is answered or sent on is a whole message with the client's id that fits; what is sent on is understood as the same.

use crate::answer::answer;
use crate::cache::Cache;
use crate::entry::Entry;
use crate::query::{Heard, hear, is_answer};
use crate::zone::Zone;
use domain::base::Message;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const NETWORK: &str = "0123456789ab";

/// A network with some containers.
#[derive(Debug)]
pub struct Sample(Zone);

impl Default for Sample {
    fn default() -> Sample {
        Sample(Zone::of((0..200).map(|nth: u8| {
            let v6 = nth.is_multiple_of(2).then(|| [0xfd00, 0, 0, 0, 0, 0, 0, nth.into()].into());
            let names = vec![format!("c{nth}"), "all".into(), format!("half{}.example.org", nth % 2)];
            (
                NETWORK.to_owned(),
                format!("{nth:064x}"),
                Entry { v4: [10, 0, 0, nth].into(), v6, names, servers: Vec::new() },
            )
        })))
    }
}

impl Sample {
    /// Takes a client's packet, and after `mode` of its bytes a server's answer.
    ///
    /// # Panics
    ///
    /// When something is wrong.
    pub fn check(&self, mode: u8, bytes: &[u8]) {
        self.check_client(bytes, mode.into());
        let (query, answer) = bytes.split_at(usize::from(mode).min(bytes.len()));
        // As if it had the right id.
        let answer = [query.get(..2).unwrap_or_default(), answer.get(2..).unwrap_or_default()].concat();
        check_answer(query, &answer);
    }

    fn check_client(&self, packet: &[u8], turn: usize) {
        let query = match hear(packet) {
            Heard::Nothing => return,
            Heard::Wrong(reply) => return check_reply(packet, &reply, packet.len().max(512)),
            Heard::Query(query) => query,
        };
        let view = self.0.view(NETWORK, IpAddr::from([10, 0, 0, 1]));
        let subnets = [(IpAddr::from([10, 0, 0, 0]), 24)];
        for limit in [query.our_size(), query.udp_size(), 65_535] {
            match answer(&query, &view, &subnets, turn, limit) {
                Some(reply) => check_reply(packet, &reply, limit),
                None => check_sent(packet, &query.to_send().expect("there is memory")),
            }
        }
    }
}

fn check_reply(packet: &[u8], reply: &[u8], limit: usize) {
    let reply = whole(reply, limit);
    assert!(reply.header().qr() && reply.header().id().to_be_bytes() == packet[..2]);
}

fn check_sent(packet: &[u8], sent: &[u8]) {
    let Heard::Query(again) = hear(whole(sent, packet.len()).as_slice()) else { panic!("what is sent is no question") };
    assert_eq!(again.to_send().as_deref(), Some(sent));
}

/// What a client is told that asked this, after a server said that: at once, and from what is kept, a second later.
fn check_answer(query: &[u8], answer: &[u8]) {
    let Heard::Query(asked) = hear(query) else { return };
    let (mut cache, now) = (Cache::default(), Instant::now());
    cache.put(asked.key(), answer, now);
    let kept = cache.get(&asked.key(), now + Duration::from_secs(1));
    if !is_answer(answer, query) || !crate::cache::is_whole(answer) {
        return;
    }
    for answer in [Some(answer.to_vec()), kept].into_iter().flatten() {
        let limit = asked.udp_size();
        let told = asked.pass_on(answer, limit).expect("it is an answer");
        assert!(whole(&told, limit).is_answer(Message::from_slice(query).expect("it was read")));
    }
}

/// A message that can be read to its end.
fn whole(message: &[u8], limit: usize) -> &Message<[u8]> {
    assert!(message.len() <= limit, "{} bytes are more than {limit}", message.len());
    let message = Message::from_slice(message).expect("a header");
    assert!(message.question().all(|question| question.is_ok()));
    assert!(message.iter().all(|record| record.is_ok()));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_are_almost_right_are_survived() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/names");
        let seeds = std::fs::read_dir(seeds).unwrap().map(|seed| std::fs::read(seed.unwrap().path()).unwrap());
        let (sample, mut seed) = (Sample::default(), 0x9e37_79b9_u32);
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed as usize % below
        };
        for input in seeds {
            let (mode, bytes) = input.split_first().unwrap();
            sample.check(*mode, bytes);
            for _ in 0..3000 {
                let mut bytes = bytes.to_vec();
                for _ in 0..random(4) {
                    let at = random(bytes.len());
                    bytes[at] = random(256) as u8;
                }
                bytes.truncate(bytes.len() + 20 - random(40));
                sample.check(*mode, &bytes);
            }
        }
    }
}
