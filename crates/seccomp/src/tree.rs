//! The program as a graph of decisions, and the search trees in it.
//!
//! A node is made after the nodes it leads to, so ids fall along every path and there is no cycle: that is what lets
//! `assemble` lay the program out in one pass. Equal nodes are one node: the block that looks at `clone`'s flags stands
//! once for all ABIs that agree on it.

use std::collections::HashMap;

/// Names a node of a [`Graph`].
pub(crate) type Id = u32;

/// One decision.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Node {
    /// The verdict, as the filter returns it.
    Return(u32),
    /// Loads the word at `offset` of `seccomp_data`.
    Load { offset: u32, next: Id },
    /// Keeps the bits of the loaded word that `mask` has.
    And { mask: u32, next: Id },
    /// Is the word equal to `value`?
    IfEqual { value: u32, yes: Id, no: Id },
    /// Is the word `value` or more?
    IfAtLeast { value: u32, yes: Id, no: Id },
}

/// All nodes of a program that is being made.
#[derive(Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    known: HashMap<Node, Id>,
}

impl Graph {
    pub(crate) fn node(&self, id: Id) -> Node {
        self.nodes[id as usize]
    }

    pub(crate) fn verdict(&mut self, verdict: u32) -> Id {
        self.add(Node::Return(verdict))
    }

    /// Adds `node` unless an equal one is there, or it decides nothing: then the id is of what it leads to.
    pub(crate) fn add(&mut self, node: Node) -> Id {
        match node {
            Node::IfEqual { yes, no, .. } | Node::IfAtLeast { yes, no, .. } if yes == no => return yes,
            Node::Load { next, .. } if matches!(self.node(next), Node::Return(_) | Node::Load { .. }) => return next,
            Node::And { next, .. } if matches!(self.node(next), Node::Return(_) | Node::Load { .. }) => return next,
            _ => {}
        }
        *self.known.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            (self.nodes.len() - 1) as Id
        })
    }
}

/// Where each value of `T` leads: every entry holds from its value up to the next entry's. Begins at 0; neighbours
/// differ.
pub(crate) struct Ranges<T>(Vec<(T, Id)>);

impl<T: Copy + Ord + Default> Ranges<T> {
    /// Everything leads to `to`.
    pub(crate) fn all(to: Id) -> Ranges<T> {
        Ranges(vec![(T::default(), to)])
    }

    /// From `value` on everything leads to `to`. Values must not fall from call to call.
    pub(crate) fn from(&mut self, value: T, to: Id) {
        if self.0.last().is_some_and(|(last, _)| *last == value) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|(_, last)| *last != to) {
            self.0.push((value, to));
        }
    }

    pub(crate) fn as_slice(&self) -> &[(T, Id)] {
        &self.0
    }
}

impl Ranges<u32> {
    /// A balanced search tree for the word that is loaded.
    pub(crate) fn search(&self, graph: &mut Graph) -> Id {
        search(graph, &self.0)
    }
}

/// Depth is the logarithm of the number of ranges; one test less for a single value between two equal neighbours.
fn search(graph: &mut Graph, ranges: &[(u32, Id)]) -> Id {
    match *ranges {
        [] => unreachable!("ranges begin at 0 and are never split into nothing"),
        [(_, to)] => to,
        [(_, around), (value, yes), (end, no)] if around == no && end == value + 1 => {
            graph.add(Node::IfEqual { value, yes, no })
        }
        _ => {
            let (below, above) = ranges.split_at(ranges.len() / 2);
            let value = above[0].0;
            let yes = search(graph, above);
            let no = search(graph, below);
            graph.add(Node::IfAtLeast { value, yes, no })
        }
    }
}
