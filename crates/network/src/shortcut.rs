//! The shortcut between two containers of one bridge.
//!
//! What a container sends to another comes in at the host's end of its cable, goes through the bridge, and out at the host's
//! end of the other's: two cables, and the second costs a turn in the kernel's queue of what has come in. A program at the
//! first end knows by hardware address which cable leads to whom, and hands the packet over to the other container at once,
//! as if one cable joined the two. [bpf-helpers(7), `bpf_redirect_peer`; tc-bpf(8)]
//!
//! Only what the bridge would have handed over by itself takes it: unicast to a container of the same network. All else (who
//! has this address, the host, other networks, published ports) goes through the bridge and the rules as before.
//!
//! The bridge keeps the program in a block of filters that its cables share, and with the last of these links block, program and
//! map go. An address that is left in
//! the map leads to a cable that is not there, as to nobody; who gets the address next overwrites it. So nothing is ever left
//! to be removed. Where the kernel is older or does not let us (a user namespace) there is no program on the bridge, nor on one
//! whose maker was killed before; then all goes through the bridge.

use crate::route::Link;
use crate::socket::Netlink;
use crate::wire::{self, ACK, Batch, CREATE, DUMP, EXCLUSIVE, Message, read_u32};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use step::step;
use sys::bpf::{AddressMap, Insn, load_classifier};

/// Tells our program from others.
const NAME: &str = "mc_shortcut";
/// Twice as many addresses as a bridge has ports. [BR_MAX_PORTS]
const MOST: u32 = 2048;

/// Lets a new bridge keep a program and its map, if that can be.
pub(crate) fn install(netlink: &Netlink, bridge: &Link) {
    let install = || -> Result<(), Errno> {
        let map = AddressMap::create(MOST, name())?;
        let program = load_classifier(&program(bridge.index, map.as_fd().as_raw_fd()), name())?;
        let mut batch = Batch::default();
        share_filters(&mut batch, bridge.index, bridge.index);
        add_filter(&mut batch, bridge.index, program.as_fd());
        netlink.exchange(&batch, |_| ()).map_err(|refused| refused.errno)
    };
    let what = || format!("a program on {} that knows which cable has which address", bridge.name);
    // Without it the containers reach each other as well.
    let _ = step("install-shortcut", "what one container sends another need not go through the bridge", what, install);
}

/// A container that comes to a bridge, by the host's end of its cable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joining<'a> {
    pub(crate) bridge: &'a str,
    pub(crate) bridge_index: u32,
    /// Still down: a link that is up drops what it is to send while filters come to it, and a container whose first packet
    /// asks for an address would wait a second until it asks again. [net/sched/sch_api.c, qdisc_graft]
    pub(crate) cable: &'a Link,
    /// By which others may reach it past the bridge.
    pub(crate) mac: Option<[u8; 6]>,
}

/// Where the bridge keeps a program: the container takes the shortcut to others, and they to it.
pub(crate) fn join(netlink: &Netlink, Joining { bridge, bridge_index, cable, mac }: &Joining<'_>) {
    let Some(program) = program_of(netlink, *bridge_index) else { return };
    let join = || -> Result<(), Errno> {
        if let Some(mac) = mac {
            AddressMap::of(program)?.set(*mac, cable.index)?;
        }
        let mut batch = Batch::default();
        share_filters(&mut batch, cable.index, *bridge_index);
        netlink.exchange(&batch, |_| ()).map_err(|refused| refused.errno)
    };
    let what = || format!("the program of {bridge} on {} too", cable.name);
    let _ = step("join-shortcut", "what other containers send it need not go through the bridge", what, join);
}

fn name() -> [u8; 16] {
    let mut name = [0; 16];
    name[..NAME.len()].copy_from_slice(NAME.as_bytes());
    name
}

// linux/rtnetlink.h and linux/pkt_sched.h
const NEW_QDISC: u16 = 36;
const NEW_FILTER: u16 = 44;
const GET_FILTER: u16 = 46;
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const INGRESS_BLOCK: u16 = 13;
const INGRESS_HANDLE: u32 = 0xffff_0000;
const INGRESS_PARENT: u32 = 0xffff_fff1;
/// `TCM_IFINDEX_MAGIC_BLOCK`: the parent is a block's number.
const OF_BLOCK: u32 = u32::MAX;
/// Priority 1, of packets of all protocols (ETH_P_ALL, in network byte order).
const ALL_PACKETS: u32 = 1 << 16 | 0x0300;
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
/// `TCA_BPF_FLAG_ACT_DIRECT`: what the program returns is what becomes of the packet.
const DIRECT: u32 = 1;
const BPF_ID: u16 = 11;

/// `struct tcmsg`.
const HEADER: usize = 20;
fn header(link: u32, handle: u32, parent: u32, info: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    for (nth, value) in [link, handle, parent, info].into_iter().enumerate() {
        header[4 + nth * 4..8 + nth * 4].copy_from_slice(&value.to_ne_bytes());
    }
    header
}

/// The number of a bridge's block of filters in its network namespace, of which others have small ones.
fn block(bridge: u32) -> u32 {
    0x6d63_0000 ^ bridge
}

/// A link's packets go through the filters of the bridge's block as they come in. The block is there as long as such a link.
/// Not by `BPF_TCX_INGRESS`, which holds up every change of links on the host until no processor can still use what was there
/// before, some 12 ms a link; this takes less than 0.1. [net/sched/sch_generic.c, mini_qdisc_pair_swap]
fn share_filters(batch: &mut Batch, link: u32, bridge: u32) {
    let header = header(link, INGRESS_HANDLE, INGRESS_PARENT, 0);
    batch.raw(NEW_QDISC, ACK | CREATE | EXCLUSIVE, &header, |a| {
        a.string(KIND, "ingress").put(INGRESS_BLOCK, &block(bridge).to_ne_bytes());
    });
}

fn add_filter(batch: &mut Batch, bridge: u32, program: BorrowedFd<'_>) {
    let header = header(OF_BLOCK, 0, block(bridge), ALL_PACKETS);
    batch.raw(NEW_FILTER, ACK | CREATE | EXCLUSIVE, &header, |a| {
        a.string(KIND, "bpf").nest(OPTIONS, |a| {
            a.put(BPF_FD, &program.as_raw_fd().to_ne_bytes()).string(BPF_NAME, NAME);
            a.put(BPF_FLAGS, &DIRECT.to_ne_bytes());
        });
    });
}

/// The number of the program in the bridge's block, if it keeps one.
fn program_of(netlink: &Netlink, bridge: u32) -> Option<u32> {
    let mut batch = Batch::default();
    batch.raw(GET_FILTER, DUMP, &header(OF_BLOCK, 0, block(bridge), 0), |_| ());
    let mut found = None;
    let look = |message: &Message<'_>| {
        let options = message.attributes(HEADER).find(|(kind, _)| *kind == OPTIONS);
        let of_program =
            |wanted: u16| wire::attributes(options?.1).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        if message.kind == NEW_FILTER && of_program(BPF_NAME).is_some_and(|name| wire::text(name) == NAME) {
            found = of_program(BPF_ID).and_then(|id| read_u32(id, 0));
        }
    };
    netlink.exchange(&batch, look).ok()?;
    found
}

// linux/bpf_common.h and linux/bpf.h
const LDX_H: u8 = 0x69;
const LDX_W: u8 = 0x61;
const STX_W: u8 = 0x63;
const LD_IMM64: u8 = 0x18;
const ALU64_ADD_K: u8 = 0x07;
const ALU64_MOV_K: u8 = 0xb7;
const ALU64_MOV_X: u8 = 0xbf;
const JMP32_JEQ_K: u8 = 0x16;
const JMP_JEQ_K: u8 = 0x15;
const JMP_JGT_X: u8 = 0x2d;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// `BPF_PSEUDO_MAP_FD`, where the instruction says from which register it comes.
const MAP_FD: u8 = 1;
const MAP_LOOKUP_ELEM: i32 = 1;
const SKB_CHANGE_TYPE: i32 = 32;
const REDIRECT_PEER: i32 = 155;
/// `TC_ACT_UNSPEC`: as if this program were not there.
const NEXT: i32 = -1;
/// `PACKET_HOST`: meant for who gets it. At the host's end it was somebody else's.
const TO_HOST: i32 = 0;
const ETHERNET_HEADER: i32 = 14;

// Of `struct __sk_buff`.
const IFINDEX: i16 = 40;
const DATA: i16 = 76;
const DATA_END: i16 = 80;

const ANSWER: u8 = 0;
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const START: u8 = 2;
const END: u8 = 3;
const SCRATCH: u8 = 4;
const CONTEXT: u8 = 6;
const LINK: u8 = 7;
const STACK: u8 = 10;

fn insn(code: u8, to: u8, from: u8, off: i16, imm: i32) -> Insn {
    Insn { code, regs: from << 4 | to, off, imm }
}

/// The program of a bridge, which is on it, too, and lets pass what comes in there: of a bridge that somebody listens to
/// that is a second copy of everything.
fn program(bridge: u32, map: i32) -> Vec<Insn> {
    // Where it ends when it has nothing to do, counted from the first.
    const PASS: i16 = 26;
    let pass = |at: i16| PASS - at - 1;
    vec![
        insn(ALU64_MOV_X, CONTEXT, FIRST, 0, 0),
        insn(LDX_W, SCRATCH, CONTEXT, IFINDEX, 0),
        insn(JMP32_JEQ_K, SCRATCH, 0, pass(2), bridge.cast_signed()),
        insn(LDX_W, START, CONTEXT, DATA, 0),
        insn(LDX_W, END, CONTEXT, DATA_END, 0),
        insn(ALU64_MOV_X, SCRATCH, START, 0, 0),
        insn(ALU64_ADD_K, SCRATCH, 0, 0, ETHERNET_HEADER),
        insn(JMP_JGT_X, SCRATCH, END, pass(7), 0),
        // The address it is for, and two bytes of zero.
        insn(LDX_W, SCRATCH, START, 0, 0),
        insn(STX_W, STACK, SCRATCH, -8, 0),
        insn(LDX_H, SCRATCH, START, 4, 0),
        insn(STX_W, STACK, SCRATCH, -4, 0),
        insn(LD_IMM64, FIRST, MAP_FD, 0, map),
        insn(0, 0, 0, 0, 0),
        insn(ALU64_MOV_X, SECOND, STACK, 0, 0),
        insn(ALU64_ADD_K, SECOND, 0, 0, -8),
        insn(CALL, 0, 0, 0, MAP_LOOKUP_ELEM),
        insn(JMP_JEQ_K, ANSWER, 0, pass(17), 0),
        insn(LDX_W, LINK, ANSWER, 0, 0),
        insn(ALU64_MOV_X, FIRST, CONTEXT, 0, 0),
        insn(ALU64_MOV_K, SECOND, 0, 0, TO_HOST),
        insn(CALL, 0, 0, 0, SKB_CHANGE_TYPE),
        insn(ALU64_MOV_X, FIRST, LINK, 0, 0),
        insn(ALU64_MOV_K, SECOND, 0, 0, 0),
        insn(CALL, 0, 0, 0, REDIRECT_PEER),
        insn(EXIT, 0, 0, 0, 0),
        insn(ALU64_MOV_K, ANSWER, 0, 0, NEXT),
        insn(EXIT, 0, 0, 0, 0),
    ]
}
