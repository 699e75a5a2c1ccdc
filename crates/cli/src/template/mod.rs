//! `--format`: the part of Go's text/template that people use with Docker and Podman.
//!
//! Actions, trim markers, comments, variables, pipes, `if`, `with`, `range` (with `break` and `continue`), Go's functions
//! for comparing, printing and indexing, and Docker's own (`json`, `join`, `split`, `upper`, `lower`, `title`, `pad`,
//! `truncate`). Not there: `define`, `template` and `block`, and `call`, `html`, `js` and `urlquery`.
//!
//! What a template is applied to is a [`Data`], made from anything that serde can write: a struct is a Go struct, its
//! fields in their order, and an unknown field is an error; a map is a Go map, sorted, and an unknown key is `<no value>`.
//! A template comes from the command line of whoever runs the tool, yet a bad one is an error with its place and never a
//! panic: nesting, the steps that are done and the text that comes out are bounded.
//!
//! The way of a template: `lex` (text to tokens), `parse` (tokens to nodes), `eval` (nodes and data to text), which calls
//! `functions`; `go` writes values as Go does. `list` is what verbs that list things do with it.

mod data;
mod eval;
mod functions;
mod go;
mod lex;
mod list;
mod parse;
mod printf;

pub(crate) use data::Data;
pub(crate) use go::quoted;
pub(crate) use list::{List, Row};

use crate::report::Failure;

/// A template that was understood.
#[derive(Debug)]
pub(crate) struct Template {
    text: String,
    nodes: Vec<parse::Node>,
}

/// What is wrong with a template, and where: a byte of its text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    at: usize,
    what: String,
}

impl Wrong {
    fn new(at: usize, what: impl Into<String>) -> Wrong {
        Wrong { at, what: what.into() }
    }

    /// With line and column, as a person counts.
    fn told(&self, text: &str) -> String {
        let before = up_to(text, self.at);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let place =
            if text.contains('\n') { format!("line {line}, column {column}") } else { format!("column {column}") };
        format!("the template is wrong at {place}: {}", self.what)
    }
}

/// Whether `\t` and `\n` outside of actions stand for a tab and a newline, as in Docker's lists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backslashes {
    Kept,
    Read,
}

impl Template {
    /// Reads a template. A failure is one of the words: exit code 125.
    pub(crate) fn parse(text: &str, backslashes: Backslashes) -> Result<Template, Failure> {
        let nodes = lex::tokens(text)
            .and_then(|tokens| parse::nodes(tokens, backslashes))
            .map_err(|wrong| Failure::misuse(wrong.told(text), "templates are Go's, as in --format '{{.ID}}'"))?;
        Ok(Template { text: text.to_owned(), nodes })
    }

    /// The text for a thing. A field that it does not have is a failure.
    pub(crate) fn render(&self, data: &Data) -> Result<String, Failure> {
        self.with(data, eval::Mode::Values)
    }

    /// The text with the headings of the fields in place of their values.
    fn headings(&self, headings: &Data) -> Result<String, Failure> {
        self.with(headings, eval::Mode::Headings)
    }

    fn with(&self, data: &Data, mode: eval::Mode) -> Result<String, Failure> {
        eval::render(&self.nodes, data, mode).map_err(|wrong| Failure::new(wrong.told(&self.text)))
    }
}

/// So many bytes of a text, or fewer where a character would be cut.
fn up_to(text: &str, mut bytes: usize) -> &str {
    bytes = bytes.min(text.len());
    while !text.is_char_boundary(bytes) {
        bytes -= 1;
    }
    &text[..bytes]
}

#[cfg(test)]
mod tests;
