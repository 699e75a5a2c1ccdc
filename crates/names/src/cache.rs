//! Answers from upstream, kept for as long as they say.
//!
//! What is kept came from a server that was asked just that. An answer with records is kept for the least of their
//! times, at most five minutes; "no such name" and "no such record" for what the zone's SOA says, at most 30 seconds,
//! and without a SOA not at all [RFC 2308]. Failures and cut answers are not kept. What is told from here has the times
//! that are left. What has been kept longest goes first when there is no room.

use crate::query::Key;
use domain::base::Message;
use domain::base::iana::{Rcode, Rtype};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Bytes of all that is kept, with what it costs to keep it.
const ROOM: usize = 1 << 20;
/// What an answer costs beside its own bytes.
const OVERHEAD: usize = 200;
/// The longest that is kept; what is longer is asked again.
const LONGEST: usize = 8 << 10;
const MOST_SECONDS: u32 = 300;
const MOST_SECONDS_NEGATIVE: u32 = 30;

/// The answers that are kept.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    answers: HashMap<Key, Kept>,
    /// In the order in which they came. One that was replaced since is known by its number.
    order: VecDeque<(Key, u64)>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    message: Vec<u8>,
    /// Where in it times stand.
    times: Vec<u16>,
    since: Instant,
    until: Instant,
}

impl Cache {
    /// The answer to a question, as old as it is now.
    pub(crate) fn get(&mut self, key: &Key, now: Instant) -> Option<Vec<u8>> {
        let kept = self.answers.get(key)?;
        if kept.until <= now {
            self.remove(&key.clone());
            return None;
        }
        let age = u32::try_from(now.duration_since(kept.since).as_secs()).unwrap_or(u32::MAX);
        let mut message = kept.message.clone();
        for at in &kept.times {
            let at = usize::from(*at);
            let time: &mut [u8; 4] = message.get_mut(at..at + 4)?.try_into().ok()?;
            *time = u32::from_be_bytes(*time).saturating_sub(age).to_be_bytes();
        }
        Some(message)
    }

    /// Keeps an answer, if it may be kept.
    pub(crate) fn put(&mut self, key: Key, message: &[u8], now: Instant) {
        let Some((seconds, times)) = lifetime(message).filter(|_| message.len() <= LONGEST) else { return };
        self.remove(&key);
        let kept = Kept {
            number: self.next,
            message: message.to_vec(),
            times,
            since: now,
            until: now + Duration::from_secs(seconds.into()),
        };
        self.next += 1;
        self.bytes += cost(&key, &kept);
        self.order.push_back((key.clone(), kept.number));
        self.answers.insert(key, kept);
        while self.bytes > ROOM {
            let Some((key, number)) = self.order.pop_front() else { break };
            if self.answers.get(&key).is_some_and(|kept| kept.number == number) {
                self.remove(&key);
            }
        }
        self.forget_replaced();
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        *self = Cache::default();
    }

    fn remove(&mut self, key: &Key) {
        if let Some(kept) = self.answers.remove(key) {
            self.bytes -= cost(key, &kept);
        }
    }

    /// The order is as short as what it orders.
    fn forget_replaced(&mut self) {
        if self.order.len() > 2 * self.answers.len() + 16 {
            let answers = &self.answers;
            self.order.retain(|(key, number)| answers.get(key).is_some_and(|kept| kept.number == *number));
        }
    }
}

/// A key stands with its answer and in the order.
fn cost(key: &Key, kept: &Kept) -> usize {
    2 * key.len() + kept.message.len() + 2 * kept.times.len() + OVERHEAD
}

/// How many seconds an answer may be kept, and where in it times stand; `None` when it may not be.
fn lifetime(message: &[u8]) -> Option<(u32, Vec<u16>)> {
    let message = Message::from_slice(message).ok()?;
    let header = message.header();
    if header.tc() || !matches!(header.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN) {
        return None;
    }
    let is_negative = header.rcode() == Rcode::NXDOMAIN || message.header_counts().ancount() == 0;
    let (mut least, mut times, mut has_soa) = (MOST_SECONDS, Vec::new(), false);
    let mut section = message.answer().ok()?;
    loop {
        while let Some(record) = section.next() {
            let record = record.ok()?;
            if record.rtype() == Rtype::OPT {
                continue;
            }
            // The end of a record: its time, the length of its data, the data.
            let end = section.pos();
            times.push(u16::try_from(end.checked_sub(usize::from(record.rdlen()) + 6)?).ok()?);
            least = least.min(record.ttl().as_secs());
            if record.rtype() == Rtype::SOA {
                has_soa = true;
                let minimum: [u8; 4] = message.as_slice().get(end.checked_sub(4)?..end)?.try_into().ok()?;
                least = least.min(if is_negative { u32::from_be_bytes(minimum) } else { u32::MAX });
            }
        }
        match section.next_section().ok()? {
            Some(next) => section = next,
            None => break,
        }
    }
    if is_negative {
        least = least.min(MOST_SECONDS_NEGATIVE);
    }
    (least > 0 && (has_soa || !is_negative)).then_some((least, times))
}

/// True when a message can be read to its end.
pub(crate) fn is_whole(message: &[u8]) -> bool {
    let Ok(message) = Message::from_slice(message) else { return false };
    message.iter().all(|record| record.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Heard, hear};
    use domain::base::{MessageBuilder, Name, Serial, Ttl};
    use domain::rdata::{A, Soa};
    use std::str::FromStr;

    fn name(text: &str) -> Name<Vec<u8>> {
        Name::from_str(text).unwrap()
    }

    fn key(text: &str) -> Key {
        let mut builder = MessageBuilder::new_vec().question();
        builder.push((name(text), Rtype::A)).unwrap();
        match hear(&builder.finish()) {
            Heard::Query(query) => query.key(),
            _ => panic!("{text}"),
        }
    }

    /// An answer: code, times of its records, times and minimum of its SOA.
    fn message(rcode: Rcode, records: &[u32], soa: Option<(u32, u32)>) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec().question();
        builder.header_mut().set_rcode(rcode);
        builder.push((name("a.example"), Rtype::A)).unwrap();
        let mut builder = builder.answer();
        for ttl in records {
            builder.push((name("a.example"), Ttl::from_secs(*ttl), A::from_octets(192, 0, 2, 1))).unwrap();
        }
        let mut builder = builder.authority();
        if let Some((ttl, minimum)) = soa {
            let [zero, minimum] = [0, minimum].map(Ttl::from_secs);
            let soa = Soa::new(name("ns.example"), name("me.example"), Serial(1), zero, zero, zero, minimum);
            builder.push((name("example"), Ttl::from_secs(ttl), soa)).unwrap();
        }
        let mut builder = builder.additional();
        builder.opt(|_| Ok(())).unwrap();
        builder.finish()
    }

    fn cut(mut message: Vec<u8>) -> Vec<u8> {
        message[2] |= 2;
        message
    }

    #[test]
    fn an_answer_is_kept_as_long_as_it_says() {
        let (ok, none) = (Rcode::NOERROR, Rcode::NXDOMAIN);
        for (what, message, expected) in [
            ("an address", message(ok, &[60], None), 60),
            ("the shortest", message(ok, &[60, 20, 90], None), 20),
            ("with its zone", message(ok, &[60], Some((40, 1))), 40),
            ("a long time", message(ok, &[1_000_000], None), MOST_SECONDS),
            ("no time", message(ok, &[60, 0], None), 0),
            ("a time that is none", message(ok, &[u32::MAX], None), MOST_SECONDS),
            ("no such name", message(none, &[], Some((60, 10))), 10),
            ("no such name, soon", message(none, &[], Some((5, 10))), 5),
            ("no such record", message(ok, &[], Some((60, 10))), 10),
            ("no such name for long", message(none, &[], Some((9999, 9999))), MOST_SECONDS_NEGATIVE),
            ("another name for what is not there", message(none, &[60], Some((60, 10))), 10),
            ("no such name without SOA", message(none, &[], None), 0),
            ("no such record without SOA", message(ok, &[], None), 0),
            ("a failure", message(Rcode::SERVFAIL, &[60], None), 0),
            ("a refusal", message(Rcode::REFUSED, &[60], None), 0),
            ("a cut answer", cut(message(ok, &[60], None)), 0),
            ("half a message", message(ok, &[60], None)[..40].to_vec(), 0),
        ] {
            let (mut cache, now) = (Cache::default(), Instant::now());
            cache.put(key("a.example"), &message, now);
            let after = |seconds: u32| now + Duration::from_secs(seconds.into());
            assert_eq!(cache.get(&key("a.example"), after(expected)), None, "{what}");
            cache.put(key("a.example"), &message, now);
            let kept = expected > 0 && cache.get(&key("a.example"), after(expected - 1)).is_some();
            assert_eq!(kept, expected > 0, "{what}");
            assert_eq!(cache.get(&key("b.example"), now), None);
        }
    }

    #[test]
    fn what_is_told_later_has_less_time_left() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put(key("a.example"), &message(Rcode::NOERROR, &[60, 30], Some((99, 5))), now);
        let later = now + Duration::from_millis(10_900);
        assert_eq!(cache.get(&key("A.example"), later).unwrap(), message(Rcode::NOERROR, &[50, 20], Some((89, 5))));
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let message = message(Rcode::NOERROR, &[60; 20], None);
        let name = |nth: usize| key(&format!("{nth}.example"));
        let many = 2 * ROOM / message.len();
        for nth in 0..many {
            cache.put(name(nth), &message, now);
            assert!(cache.bytes <= ROOM);
        }
        assert!(cache.get(&name(many - 1), now).is_some() && cache.get(&name(0), now).is_none());
        assert!(cache.answers.len() > many / 4 && cache.order.len() <= 2 * cache.answers.len() + 16);
        for _ in 0..many {
            cache.put(name(0), &message, now);
        }
        assert!(cache.order.len() <= 2 * cache.answers.len() + 16);
        cache.put(name(1), &[message.as_slice(), &vec![0; LONGEST]].concat(), now);
        assert!(cache.get(&name(1), now).is_none());
        let all: usize = cache.answers.iter().map(|(key, kept)| cost(key, kept)).sum();
        assert_eq!(all, cache.bytes);
        cache.clear();
        assert!(cache.get(&name(0), now).is_none() && cache.bytes == 0);
    }
}
