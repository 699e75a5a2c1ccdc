//! The graph becomes instructions.
//!
//! Classic BPF jumps only forward, and a conditional jump at most 255 instructions far. So the program is laid out from
//! its end: a node is placed after everything it leads to has been. What has come to lie too far ahead is brought
//! near first: a verdict is simply written again, anything else gets an unconditional jump, whose distance has 32 bits.
//! Either then stands for the node, so that other nodes nearby use it as well.

use crate::Error;
use crate::instruction::{AND, Instruction, JUMP, JUMP_EQ, JUMP_GE, LOAD_WORD, MAX_INSTRUCTIONS, RETURN};
use crate::tree::{Graph, Id, Node};

/// The instructions that decide what `root` decides.
pub(crate) fn assemble(graph: &Graph, root: Id) -> Result<Vec<Instruction>, Error> {
    let mut layout = Layout { graph, reversed: Vec::new(), at: vec![None; root as usize + 1] };
    for (id, needed) in reachable(graph, root).into_iter().enumerate() {
        if needed {
            layout.place(id as Id);
        }
    }
    // A section without any rule is a single verdict, which nothing brought near.
    layout.fall_into(root);
    let length = layout.reversed.len();
    if length > MAX_INSTRUCTIONS {
        return Err(Error::TooLong { length, limit: MAX_INSTRUCTIONS });
    }
    layout.reversed.reverse();
    Ok(layout.reversed)
}

/// Which nodes up to `root` a path from `root` meets.
fn reachable(graph: &Graph, root: Id) -> Vec<bool> {
    let mut needed = vec![false; root as usize + 1];
    needed[root as usize] = true;
    for id in (0..=root).rev() {
        if !needed[id as usize] {
            continue;
        }
        match graph.node(id) {
            Node::Return(_) => {}
            Node::Load { next, .. } | Node::And { next, .. } => needed[next as usize] = true,
            Node::IfEqual { yes, no, .. } | Node::IfAtLeast { yes, no, .. } => {
                needed[yes as usize] = true;
                needed[no as usize] = true;
            }
        }
    }
    needed
}

struct Layout<'a> {
    graph: &'a Graph,
    /// The program, last instruction first.
    reversed: Vec<Instruction>,
    /// Where in `reversed` a node, or the nearest stand-in for it, is.
    at: Vec<Option<usize>>,
}

impl Layout<'_> {
    fn place(&mut self, id: Id) {
        match self.graph.node(id) {
            // Written where it is first needed.
            Node::Return(_) => return,
            Node::Load { offset, next } => {
                self.fall_into(next);
                self.push(LOAD_WORD, 0, 0, offset);
            }
            Node::And { mask, next } => {
                self.fall_into(next);
                self.push(AND, 0, 0, mask);
            }
            Node::IfEqual { value, yes, no } => self.place_branch(JUMP_EQ, value, yes, no),
            Node::IfAtLeast { value, yes, no } => self.place_branch(JUMP_GE, value, yes, no),
        }
        self.at[id as usize] = Some(self.reversed.len() - 1);
    }

    fn place_branch(&mut self, code: u16, value: u32, yes: Id, no: Id) {
        // Bringing the second one near moves the first one away by an instruction.
        self.bring_near(yes, 254);
        self.bring_near(no, 255);
        let jt = self.distance(yes).unwrap_or_default() as u8;
        let jf = self.distance(no).unwrap_or_default() as u8;
        self.push(code, jt, jf, value);
    }

    /// How many instructions the next one pushed would skip to reach `id`.
    fn distance(&self, id: Id) -> Option<usize> {
        self.at[id as usize].map(|at| self.reversed.len() - 1 - at)
    }

    fn bring_near(&mut self, id: Id, reach: usize) {
        if self.distance(id).is_none_or(|distance| distance > reach) {
            self.stand_in(id);
            self.at[id as usize] = Some(self.reversed.len() - 1);
        }
    }

    /// Makes the last instruction pushed one that does what `id` does.
    fn fall_into(&mut self, id: Id) {
        if self.distance(id) != Some(0) {
            self.stand_in(id);
        }
    }

    fn stand_in(&mut self, id: Id) {
        match (self.graph.node(id), self.distance(id)) {
            (Node::Return(verdict), _) => self.push(RETURN, 0, 0, verdict),
            (_, Some(distance)) => self.push(JUMP, 0, 0, distance as u32),
            (_, None) => unreachable!("a node is placed after all that it leads to"),
        }
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.reversed.push(Instruction { code, jt, jf, k });
    }
}
