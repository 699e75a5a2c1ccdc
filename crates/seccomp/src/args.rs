//! Conditions on arguments.
//!
//! An argument has 64 bits and BPF compares 32, so a comparison looks at the high half first and at the low half only
//! where the high half leaves it open. Every comparison but the masked one is a set of ranges; rules that each compare
//! one and the same argument become one search tree instead of a list of comparisons.
//!
//! On ABIs with 32-bit arguments the kernel gives the low half, zero-extended; on x32 and n32 libseccomp looks at the low
//! half only, and so does this. A value that does not fit is compared as the number it is: libseccomp cuts it off, so that
//! there `arg == 0x1_0000_0005` also lets 5 pass.

use std::cmp::Ordering;

use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator as Operator};

use crate::arch::Words;
use crate::tree::{Graph, Id, Node, Ranges};

/// `offsetof(struct seccomp_data, args)`
const ARGS: u32 = 16;

/// A comparison of one argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Condition {
    pub(crate) arg: u32,
    pub(crate) operator: Operator,
    /// What to compare with. For [`Operator::ScmpCmpMaskedEq`] within the mask.
    pub(crate) value: u64,
    mask: u64,
}

impl Condition {
    /// `None` if it always holds.
    pub(crate) fn from_oci(from: &LinuxSeccompArg, arg: u32) -> Option<Condition> {
        let operator = from.op();
        let (value, mask) = match operator {
            // libseccomp too compares within the mask only, so bits outside of it in `valueTwo` mean nothing.
            Operator::ScmpCmpMaskedEq => (from.value_two().unwrap_or_default() & from.value(), from.value()),
            _ => (from.value(), u64::MAX),
        };
        let always = mask == 0 || (operator == Operator::ScmpCmpGe && value == 0);
        (!always).then_some(Condition { arg, operator, value, mask })
    }

    /// `arg == value`
    pub(crate) fn equal(arg: u32, value: u64) -> Condition {
        Condition { arg, operator: Operator::ScmpCmpEq, value, mask: u64::MAX }
    }

    pub(crate) fn is_masked(&self) -> bool {
        self.operator == Operator::ScmpCmpMaskedEq
    }

    /// Which of two conditions is asked first: libseccomp's order, the more specific one.
    ///
    /// Higher arguments before lower ones, equalities before upper bounds before lower bounds, and the tighter of two
    /// bounds first; of equals the rule that stands first. Where libseccomp lets the order of the rules decide between an
    /// equality and a mask (it sees equal high halves first), the larger value goes first here too.
    pub(crate) fn precedence(&self, other: &Condition) -> Ordering {
        let class = |condition: &Condition| match condition.operator {
            Operator::ScmpCmpMaskedEq | Operator::ScmpCmpEq | Operator::ScmpCmpNe => 0,
            Operator::ScmpCmpLe | Operator::ScmpCmpLt => 1,
            Operator::ScmpCmpGe | Operator::ScmpCmpGt => 2,
        };
        let tightness = match class(self) {
            1 => self.value.cmp(&other.value),
            _ => other.value.cmp(&self.value),
        };
        other.arg.cmp(&self.arg).then(class(self).cmp(&class(other))).then(tightness)
    }

    /// Whether it holds for `value`, for conditions that are not masked.
    pub(crate) fn holds(&self, value: u64) -> bool {
        match self.operator {
            Operator::ScmpCmpNe => value != self.value,
            Operator::ScmpCmpLt => value < self.value,
            Operator::ScmpCmpLe => value <= self.value,
            Operator::ScmpCmpEq => value == self.value,
            Operator::ScmpCmpGe => value >= self.value,
            Operator::ScmpCmpGt => value > self.value,
            Operator::ScmpCmpMaskedEq => value & self.mask == self.value,
        }
    }

    /// The values above 0 at which it may begin or cease to hold.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = u64> {
        [Some(self.value), self.value.checked_add(1)].into_iter().flatten().filter(|bound| *bound > 0)
    }

    /// The node that goes to `yes` where the condition holds and to `no` elsewhere.
    pub(crate) fn node(&self, graph: &mut Graph, words: Words, yes: Id, no: Id) -> Id {
        if self.is_masked() {
            return self.masked_node(graph, words, yes, no);
        }
        let to = |holds| if holds { yes } else { no };
        let mut ranges = Ranges::all(to(self.holds(0)));
        for bound in self.bounds() {
            ranges.from(bound, to(self.holds(bound)));
        }
        search_argument(graph, self.arg, words, &ranges)
    }

    fn masked_node(&self, graph: &mut Graph, words: Words, yes: Id, no: Id) -> Id {
        let half = |graph: &mut Graph, offset, mask: u64, value: u64, yes| {
            let (mask, value) = (mask as u32, value as u32);
            if mask == 0 {
                return yes;
            }
            let mut test = graph.add(Node::IfEqual { value, yes, no });
            if mask != u32::MAX {
                test = graph.add(Node::And { mask, next: test });
            }
            graph.add(Node::Load { offset, next: test })
        };
        let (low, high) = offsets(self.arg, words);
        if !words.wide && self.value >> 32 != 0 {
            return no;
        }
        let yes = half(graph, low, self.mask, self.value, yes);
        if words.wide { half(graph, high, self.mask >> 32, self.value >> 32, yes) } else { yes }
    }
}

/// Where the low and the high half of an argument are.
fn offsets(arg: u32, words: Words) -> (u32, u32) {
    let first = ARGS + arg * 8;
    if words.big_endian { (first + 4, first) } else { (first, first + 4) }
}

/// A search tree over all values of an argument, or over those below 2^32 if they are not wide.
pub(crate) fn search_argument(graph: &mut Graph, arg: u32, words: Words, ranges: &Ranges<u64>) -> Id {
    let (low, high) = offsets(arg, words);
    let mut entries = ranges.as_slice().iter().copied().peekable();
    let mut current = entries.next_if(|(from, _)| *from == 0).map(|(_, to)| to).unwrap_or_default();
    let mut highs = Ranges::all(current);
    while let Some((from, _)) = entries.peek() {
        let word = from >> 32;
        if !words.wide && word > 0 {
            break;
        }
        let mut lows = Ranges::all(current);
        while let Some((from, to)) = entries.next_if(|(from, _)| from >> 32 == word) {
            lows.from(from as u32, to);
            current = to;
        }
        let tree = lows.search(graph);
        let test = graph.add(Node::Load { offset: low, next: tree });
        if !words.wide {
            return test;
        }
        highs.from(word as u32, test);
        if let Some(above) = (word as u32).checked_add(1) {
            highs.from(above, current);
        }
    }
    if !words.wide {
        return current;
    }
    let tree = highs.search(graph);
    graph.add(Node::Load { offset: high, next: tree })
}
