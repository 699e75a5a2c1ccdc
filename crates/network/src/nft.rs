//! nf_tables: changing the rule set, and listing it.
//!
//! A [`Transaction`] is one batch: all of it happens or nothing. It carries the generation of the rule set on which it was planned, and the kernel refuses it
//! when anybody has changed any rule since (ERESTART). [linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h]

use crate::rule::{Rule, Verdict};
use crate::socket::Netlink;
use crate::wire::{self, ACK, APPEND, Batch, CREATE, DUMP, EXCLUSIVE, Message};
use rustix::io::Errno;

/// `NFPROTO_INET`: rules that see IPv4 and IPv6.
pub(crate) const INET: u8 = 1;
pub(crate) use crate::rule::{IPV4, IPV6};

/// `ERESTART`: the rule set has changed since it was read.
pub(crate) const STALE: Errno = Errno::RESTART;

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const GET_TABLE: u16 = SUBSYSTEM << 8 | 1;
const DELETE_TABLE: u16 = SUBSYSTEM << 8 | 2;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const GET_CHAIN: u16 = SUBSYSTEM << 8 | 4;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
const GET_RULE: u16 = SUBSYSTEM << 8 | 7;
const DELETE_RULE: u16 = SUBSYSTEM << 8 | 8;
const NEW_SET: u16 = SUBSYSTEM << 8 | 9;
const NEW_ELEMENTS: u16 = SUBSYSTEM << 8 | 12;
const DELETE_ELEMENTS: u16 = SUBSYSTEM << 8 | 14;
const NEW_GENERATION: u16 = SUBSYSTEM << 8 | 15;
const GET_GENERATION: u16 = SUBSYSTEM << 8 | 16;

/// Length of `struct nfgenmsg`: family, version, and the subsystem of a batch.
const HEADER: usize = 4;

/// Where in a packet's way a chain stands. `NF_INET_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// What the fields of a map's keys and values are, as `nft` numbers the types that it shows. [nftables: enum datatypes]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Field {
    Address = 7,
    Address6 = 8,
    Protocol = 12,
    Port = 13,
    Link = 41,
}

impl Field {
    /// Its length in a key or value: a register's, or four of them.
    fn length(self) -> u32 {
        match self {
            Field::Address | Field::Protocol | Field::Port => REGISTER,
            Field::Address6 | Field::Link => 4 * REGISTER,
        }
    }
}

/// A named map of our table; a set where it has no values. Fields stand one after the other, each padded to the four bytes of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) name: &'static str,
    /// Tells it from the other maps of a transaction.
    pub(crate) id: u32,
    pub(crate) key: &'static [Field],
    pub(crate) value: &'static [Field],
}

impl Map {
    fn is_set(&self) -> bool {
        self.value.is_empty()
    }
}

/// `NFT_TABLE_F_OWNER`.
const IS_OWNED: u32 = 2;
/// Length of a register.
const REGISTER: u32 = 4;
/// `NFT_SET_MAP`.
const IS_MAP: u32 = 8;
/// The userdata of a set by which `nft` shows its keys, names of links, from front to back: type 0, length 4, the number of
/// this host's order of bytes. Those of several fields it shows so by itself. [libnftnl/udata.h: NFTNL_UDATA_SET_KEYBYTEORDER]
const KEY_OF_THIS_HOST: [u8; 6] = {
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [0, 4, a, b, c, d]
};
/// Elements in a message: some 50 bytes each, and an attribute is no longer than 65535.
const ELEMENTS: usize = 1000;

/// A key of a map and its value.
pub(crate) type Element = (Vec<u8>, Vec<u8>);

/// The userdata of a rule that shows up as `comment` in listings.
pub(crate) fn comment(text: &str) -> Vec<u8> {
    // Type 0, the length with the NUL, the text. [libnftnl/udata.h: NFTNL_UDATA_RULE_COMMENT]
    let mut bytes = vec![0, text.len() as u8 + 1];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// Changes that happen together or not at all.
pub(crate) struct Transaction {
    batch: Batch,
    /// Something goes by it.
    removes: bool,
}

impl Transaction {
    /// A transaction for the rule set of this generation.
    pub(crate) fn new(generation: u32) -> Transaction {
        let mut batch = Batch::default();
        batch.raw(BATCH_BEGIN, 0, &[0, 0, 0, SUBSYSTEM as u8], |a| {
            a.number(1, generation);
        });
        Transaction { batch, removes: false }
    }

    /// Makes a table, unless it is there.
    pub(crate) fn table(&mut self, family: u8, name: &str) {
        self.batch.raw(NEW_TABLE, CREATE, &header(family), |a| {
            a.string(1, name);
        });
    }

    /// Removes a table and all that is in it.
    pub(crate) fn delete_table(&mut self, family: u8, name: &str) {
        self.removes = true;
        self.batch.raw(DELETE_TABLE, 0, &header(family), |a| {
            a.string(1, name);
        });
    }

    /// Makes a base chain of our table that accepts what no rule decides.
    pub(crate) fn chain(&mut self, table: &str, name: &str, kind: &str, hook: Hook, priority: i32) {
        self.batch.raw(NEW_CHAIN, CREATE, &header(INET), |a| {
            a.string(1, table).string(3, name).nest(4, |a| {
                a.number(1, hook as u32).number(2, priority.cast_unsigned());
            });
            a.number(5, Verdict::Accept as u32).string(7, kind);
        });
    }

    /// Appends a rule to a chain of our table.
    pub(crate) fn append(&mut self, table: &str, chain: &str, rule: &Rule) {
        self.rule(APPEND, INET, table, chain, rule, &[]);
    }

    /// Makes a rule the first of somebody's chain.
    pub(crate) fn insert(&mut self, chain: &Chain, rule: &Rule, userdata: &[u8]) {
        self.rule(0, chain.family, &chain.table, &chain.name, rule, userdata);
    }

    fn rule(&mut self, place: u16, family: u8, table: &str, chain: &str, rule: &Rule, userdata: &[u8]) {
        self.batch.raw(NEW_RULE, CREATE | place, &header(family), |a| {
            a.string(1, table).string(2, chain).nest(4, |a| a.bytes(rule.expressions()));
            if !userdata.is_empty() {
                a.put(7, userdata);
            }
        });
    }

    /// Makes a map or set of our table.
    pub(crate) fn map(&mut self, table: &str, map: &Map) {
        let kind = |fields: &[Field]| fields.iter().fold(0, |all, field| all << 6 | *field as u32);
        let length = |fields: &[Field]| fields.iter().map(|field| field.length()).sum();
        self.batch.raw(NEW_SET, CREATE, &header(INET), |a| {
            a.string(1, table).string(2, map.name).number(10, map.id);
            a.number(4, kind(map.key)).number(5, length(map.key));
            if !map.is_set() {
                a.number(3, IS_MAP).number(6, kind(map.value)).number(7, length(map.value));
            }
            if map.key == [Field::Link] {
                a.put(13, &KEY_OF_THIS_HOST);
            }
        });
    }

    /// Adds elements to a map of our table; that one is there already fails.
    pub(crate) fn add_elements(&mut self, table: &str, map: &Map, elements: &[Element]) {
        self.elements(NEW_ELEMENTS, CREATE | EXCLUSIVE, table, map, elements);
    }

    /// Removes elements from a map of our table; that one is not there fails.
    pub(crate) fn delete_elements(&mut self, table: &str, map: &Map, elements: &[Element]) {
        self.removes = true;
        self.elements(DELETE_ELEMENTS, 0, table, map, elements);
    }

    fn elements(&mut self, kind: u16, flags: u16, table: &str, map: &Map, elements: &[Element]) {
        for some in elements.chunks(ELEMENTS) {
            self.batch.raw(kind, flags, &header(INET), |a| {
                a.string(1, table).string(2, map.name).nest(3, |a| {
                    for (key, value) in some {
                        a.nest(1, |a| {
                            a.nest(1, |a| {
                                a.put(1, key);
                            });
                            // To remove an element its key says enough.
                            if kind == NEW_ELEMENTS && !map.is_set() {
                                a.nest(2, |a| {
                                    a.put(1, value);
                                });
                            }
                        });
                    }
                });
            });
        }
    }

    /// Removes one rule.
    pub(crate) fn delete_rule(&mut self, chain: &Chain, handle: u64) {
        self.removes = true;
        self.batch.raw(DELETE_RULE, 0, &header(chain.family), |a| {
            a.string(1, &chain.table).string(2, &chain.name).put(3, &handle.to_be_bytes());
        });
    }

    /// Sends it.
    pub(crate) fn commit(mut self, netlink: &Netlink) -> Result<(), Errno> {
        // An error is told of every message, and that all went well once.
        self.batch.acknowledge_last();
        self.batch.raw(BATCH_END, 0, &[0, 0, 0, SUBSYSTEM as u8], |_| ());
        netlink.transact(&self.batch).map_err(|refused| refused.errno)?;
        if self.removes {
            netlink.note_removal();
        }
        Ok(())
    }
}

fn header(family: u8) -> [u8; HEADER] {
    [family, 0, 0, 0]
}

/// The generation of the rule set: another number after each transaction of anybody in this network namespace.
pub(crate) fn generation(netlink: &Netlink) -> Result<u32, Errno> {
    let mut batch = Batch::default();
    batch.raw(GET_GENERATION, ACK, &header(0), |_| ());
    let mut found = None;
    netlink
        .exchange(&batch, |message| {
            if message.kind == NEW_GENERATION {
                found = message.attributes(HEADER).find(|(kind, _)| *kind == 1).and_then(|(_, v)| number(v));
            }
        })
        .map_err(|refused| refused.errno)?;
    found.ok_or(Errno::PROTO)
}

/// A chain that the kernel runs at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) family: u8,
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) hook: u32,
    /// It drops what no rule of it decides.
    pub(crate) drops: bool,
}

/// Tables that only the program which made them may change, by family and name.
pub(crate) fn owned_tables(netlink: &Netlink) -> Result<Vec<(u8, String)>, Errno> {
    let mut batch = Batch::default();
    batch.raw(GET_TABLE, DUMP, &header(0), |_| ());
    let mut found = Vec::new();
    netlink
        .exchange(&batch, |message| {
            let part = |wanted| message.attributes(HEADER).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            let is_owned = part(2).and_then(number).is_some_and(|flags| flags & IS_OWNED != 0);
            if let (NEW_TABLE, true, Some(family)) = (message.kind, is_owned, message.payload.first()) {
                found.push((*family, wire::text(part(1).unwrap_or_default()).to_owned()));
            }
        })
        .map_err(|refused| refused.errno)?;
    Ok(found)
}

/// All base chains of the namespace.
pub(crate) fn base_chains(netlink: &Netlink) -> Result<Vec<Chain>, Errno> {
    let mut batch = Batch::default();
    batch.raw(GET_CHAIN, DUMP, &header(0), |_| ());
    let mut found = Vec::new();
    netlink.exchange(&batch, |message| found.extend(parse_chain(message))).map_err(|refused| refused.errno)?;
    Ok(found)
}

/// The handles of those rules of a chain that carry this userdata.
pub(crate) fn rules_marked(netlink: &Netlink, chain: &Chain, userdata: &[u8]) -> Result<Vec<u64>, Errno> {
    let mut batch = Batch::default();
    batch.raw(GET_RULE, DUMP, &header(chain.family), |a| {
        a.string(1, &chain.table).string(2, &chain.name);
    });
    let mut found = Vec::new();
    netlink
        .exchange(&batch, |message| {
            // Kernels before 5.18 list the rules of all chains in a dump of an unknown table: look at the names too.
            let matches = |wanted, value: &str| {
                message.attributes(HEADER).any(|(kind, bytes)| kind == wanted && wire::text(bytes) == value)
            };
            let marked = message.attributes(HEADER).any(|(kind, value)| kind == 7 && value == userdata);
            if message.kind == NEW_RULE && marked && matches(1, &chain.table) && matches(2, &chain.name) {
                let handle = message.attributes(HEADER).find(|(kind, _)| *kind == 3);
                found.extend(handle.and_then(|(_, value)| wire::read_big_endian(value)));
            }
        })
        .map_err(|refused| refused.errno)?;
    Ok(found)
}

/// What a rule does as the last one of its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// It drops or rejects whatever comes to it.
    RefusesAll,
    /// Anything else.
    Other,
}

/// The rules of a chain in their order, as their expressions; of a chain without a name those of the whole table.
pub(crate) fn rules_of(netlink: &Netlink, chain: &Chain) -> Result<Vec<Vec<u8>>, Errno> {
    let mut batch = Batch::default();
    batch.raw(GET_RULE, DUMP, &header(chain.family), |a| {
        a.string(1, &chain.table);
        if !chain.name.is_empty() {
            a.string(2, &chain.name);
        }
    });
    let mut found = Vec::new();
    netlink
        .exchange(&batch, |message| {
            // See `rules_marked`.
            let is = |wanted, value: &str| {
                message.attributes(HEADER).any(|(kind, bytes)| kind == wanted && wire::text(bytes) == value)
            };
            if message.kind == NEW_RULE && is(1, &chain.table) && (chain.name.is_empty() || is(2, &chain.name)) {
                let expressions = message.attributes(HEADER).find(|(kind, _)| *kind == 4);
                found.push(expressions.map_or_else(Vec::new, |(_, value)| value.to_vec()));
            }
        })
        .map_err(|refused| refused.errno)?;
    Ok(found)
}

/// Whether the name of a link stands in the expressions of a rule.
pub(crate) fn names(expressions: &[u8], link: &str) -> bool {
    let link = [link.as_bytes(), b"\0"].concat();
    expressions.windows(link.len()).any(|window| window == link)
}

/// What a rule does, from its expressions. [linux/netfilter/nf_tables.h: nft_list_attributes, nft_expr_attributes]
pub(crate) fn last_of(expressions: &[u8]) -> Last {
    let mut last = Last::Other;
    for (_, expression) in wire::attributes(expressions) {
        let part = |wanted| wire::attributes(expression).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        match part(1).map(wire::text).unwrap_or_default() {
            // These choose nothing.
            "counter" | "log" => {}
            "reject" => last = Last::RefusesAll,
            // NFTA_IMMEDIATE_DATA, NFTA_DATA_VERDICT, NFTA_VERDICT_CODE
            "immediate" if verdict(part(2).unwrap_or_default()) == Some(Verdict::Drop as u32) => {
                last = Last::RefusesAll
            }
            _ => return Last::Other,
        }
    }
    last
}

fn verdict(immediate: &[u8]) -> Option<u32> {
    let part = |bytes, wanted| wire::attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    number(part(part(part(immediate, 2)?, 2)?, 1)?)
}

fn parse_chain(message: &Message) -> Option<Chain> {
    if message.kind != NEW_CHAIN {
        return None;
    }
    let family = *message.payload.first()?;
    let mut chain = Chain { family, table: String::new(), name: String::new(), hook: 0, drops: false };
    let mut hook = None;
    for (kind, value) in message.attributes(HEADER) {
        match kind {
            1 => wire::text(value).clone_into(&mut chain.table),
            3 => wire::text(value).clone_into(&mut chain.name),
            4 => hook = wire::attributes(value).find(|(kind, _)| *kind == 1).and_then(|(_, value)| number(value)),
            5 => chain.drops = number(value) == Some(Verdict::Drop as u32),
            _ => {}
        }
    }
    chain.hook = hook?;
    Some(chain)
}

fn number(value: &[u8]) -> Option<u32> {
    wire::read_big_endian(value).and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_read_and_a_torn_one_is_not() {
        let mut transaction = Transaction::new(1);
        transaction.chain("t", "c", "filter", Hook::Forward, -5);
        let messages: Vec<Message> = wire::messages(transaction.batch.bytes()).collect();
        let expected = Chain { family: INET, table: "t".into(), name: "c".into(), hook: 2, drops: false };
        assert_eq!(parse_chain(&messages[1]), Some(expected));
        assert_eq!(parse_chain(&messages[0]), None);
        for length in 0..messages[1].payload.len() {
            let _ = parse_chain(&Message { payload: &messages[1].payload[..length], ..messages[1] });
        }
    }

    #[test]
    fn a_comment_is_what_nft_writes() {
        assert_eq!(comment("x"), [0, 2, b'x', 0]);
    }
}
