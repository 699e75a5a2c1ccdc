//! Nodes and data become text.

use super::Wrong;
use super::data::Data;
use super::functions;
use super::parse::{Base, Command, Node, Operand, Pipe};
use crate::report::suggestion;
use std::borrow::Cow;

/// Nodes that are gone through, at most: a range in a range in a range over much is a mistake.
const MOST_STEPS: usize = 2_000_000;
/// Bytes that come out, at most.
const MOST_TEXT: usize = 64 << 20;

/// Whether the data are values, or the headings of a table's columns, through which functions let them pass.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Values,
    Headings,
}

type Value<'a> = Cow<'a, Data>;

/// The text of nodes for a thing.
pub(super) fn render(nodes: &[Node], data: &Data, mode: Mode) -> Result<String, Wrong> {
    let dot = Cow::Borrowed(data);
    let mut eval = Eval { variables: vec![("$", dot.clone())], text: String::new(), steps: 0, mode };
    eval.list(nodes, &dot)?;
    Ok(eval.text)
}

struct Eval<'a> {
    variables: Vec<(&'a str, Value<'a>)>,
    text: String,
    steps: usize,
    mode: Mode,
}

/// How a list of nodes was left.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl<'a> Eval<'a> {
    fn list(&mut self, nodes: &'a [Node], dot: &Value<'a>) -> Result<Flow, Wrong> {
        for node in nodes {
            self.steps += 1;
            let flow = match node {
                Node::Text(text) => {
                    self.text.push_str(text);
                    Flow::On
                }
                Node::Print(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        self.text.push_str(&value.shown());
                    }
                    self.bounds(pipe.at)?;
                    Flow::On
                }
                Node::If(pipe, body, otherwise) => self.scoped(|eval| {
                    let value = eval.pipe(pipe, dot)?;
                    eval.list(if value.is_true() { body } else { otherwise }, dot)
                })?,
                Node::With(pipe, body, otherwise) => self.scoped(|eval| {
                    let value = eval.pipe(pipe, dot)?;
                    if value.is_true() { eval.list(body, &value) } else { eval.list(otherwise, dot) }
                })?,
                Node::Range(pipe, body, otherwise) => self.scoped(|eval| eval.range(pipe, body, otherwise, dot))?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn bounds(&self, at: usize) -> Result<(), Wrong> {
        if self.steps > MOST_STEPS || self.text.len() > MOST_TEXT {
            return Err(Wrong::new(at, "the template does not come to an end"));
        }
        Ok(())
    }

    /// What a block declares goes with it.
    fn scoped<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, Wrong>) -> Result<T, Wrong> {
        let scope = self.variables.len();
        let done = act(self);
        self.variables.truncate(scope);
        done
    }

    fn range(
        &mut self,
        pipe: &'a Pipe,
        body: &'a [Node],
        otherwise: &'a [Node],
        dot: &Value<'a>,
    ) -> Result<Flow, Wrong> {
        let over = self.commands(pipe, dot)?;
        let is_empty = match over.as_ref() {
            _ if self.mode == Mode::Headings => false,
            Data::Missing | Data::Null => true,
            Data::List(_) | Data::Map(_) | Data::Int(_) => !over.is_true(),
            other => return Err(Wrong::new(pipe.at, format!("range does not go over {}", a(other)))),
        };
        if is_empty {
            return self.list(otherwise, dot);
        }
        let items: Box<dyn Iterator<Item = (Data, Value<'a>)>> = match over {
            Cow::Borrowed(Data::List(items)) => {
                Box::new(items.iter().enumerate().map(|(n, item)| (Data::Int(n as i128), Cow::Borrowed(item))))
            }
            Cow::Owned(Data::List(items)) => {
                Box::new(items.into_iter().enumerate().map(|(n, item)| (Data::Int(n as i128), Cow::Owned(item))))
            }
            Cow::Borrowed(Data::Map(map)) => {
                Box::new(map.iter().map(|(key, item)| (Data::Text(key.clone()), Cow::Borrowed(item))))
            }
            Cow::Owned(Data::Map(map)) => {
                Box::new(map.into_iter().map(|(key, item)| (Data::Text(key), Cow::Owned(item))))
            }
            other => match *other {
                Data::Int(n) if self.mode == Mode::Values => {
                    Box::new((0..n).map(|n| (Data::Int(n), Cow::Owned(Data::Int(n)))))
                }
                // A heading stands for all of them.
                _ => Box::new(std::iter::once((Data::Int(0), other))),
            },
        };
        let scope = self.variables.len();
        for (key, item) in items {
            self.steps += 1;
            self.bounds(pipe.at)?;
            match pipe.variables.as_slice() {
                [] => {}
                [one] => self.set(one, item.clone(), pipe.declares),
                [first, second, ..] => {
                    self.set(first, Cow::Owned(key), pipe.declares);
                    self.set(second, item.clone(), pipe.declares);
                }
            }
            let flow = self.list(body, &item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn set(&mut self, name: &'a str, value: Value<'a>, is_new: bool) {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some(known) if !is_new => known.1 = value,
            _ => self.variables.push((name, value)),
        }
    }

    /// A pipe's value, which its variables get.
    fn pipe(&mut self, pipe: &'a Pipe, dot: &Value<'a>) -> Result<Value<'a>, Wrong> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.variables {
            self.set(name, value.clone(), pipe.declares);
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &'a Pipe, dot: &Value<'a>) -> Result<Value<'a>, Wrong> {
        let mut value = None;
        for command in &pipe.commands {
            self.steps += 1;
            self.bounds(pipe.at)?;
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or(Cow::Owned(Data::Missing)))
    }

    fn command(&mut self, command: &'a Command, dot: &Value<'a>, piped: Option<Value<'a>>) -> Result<Value<'a>, Wrong> {
        let first = &command.first;
        let Base::Function(name) = first.base else {
            let value = self.operand(first, dot)?;
            return self.ask(command, value, dot, piped);
        };
        if let "and" | "or" = name {
            return self.first_that(name == "or", command, dot, piped);
        }
        let mut values = Vec::new();
        for operand in &command.rest {
            values.push(self.operand(operand, dot)?);
        }
        values.extend(piped);
        self.call(first.at, name, &values)
    }

    /// A field that is given words: `.Label "x"`.
    fn ask(
        &mut self,
        command: &'a Command,
        value: Value<'a>,
        dot: &Value<'a>,
        piped: Option<Value<'a>>,
    ) -> Result<Value<'a>, Wrong> {
        let asked = match command.rest.as_slice() {
            [] => piped,
            [word] if piped.is_none() => Some(self.operand(word, dot)?),
            _ => return Err(Wrong::new(command.first.at, "it takes one word")),
        };
        match (value.as_ref(), asked.as_deref()) {
            (Data::Lookup(map), Some(Data::Text(word))) => {
                Ok(Cow::Owned(Data::Text(map.get(word).cloned().unwrap_or_default())))
            }
            (Data::Lookup(_), _) => Err(Wrong::new(command.first.at, "it takes a word, as .Label \"name\"")),
            // A heading is the same for every word.
            (_, Some(_)) if self.mode == Mode::Values => {
                Err(Wrong::new(command.first.at, format!("this is {}, which takes no value", a(&value))))
            }
            _ => Ok(value),
        }
    }

    /// `and` and `or`: the first value that decides, or the last; what follows it is not looked at.
    fn first_that(
        &mut self,
        truth: bool,
        command: &'a Command,
        dot: &Value<'a>,
        piped: Option<Value<'a>>,
    ) -> Result<Value<'a>, Wrong> {
        let mut last = None;
        for operand in &command.rest {
            let value = self.operand(operand, dot)?;
            if value.is_true() == truth {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| Wrong::new(command.first.at, "it needs a value"))
    }

    fn call(&mut self, at: usize, name: &str, values: &[Value<'a>]) -> Result<Value<'a>, Wrong> {
        if self.mode == Mode::Headings
            && let Some(heading) = functions::heading(name, values)
        {
            return Ok(Cow::Owned(heading));
        }
        functions::call(name, values).map(Cow::Owned).map_err(|what| Wrong::new(at, format!("{name}: {what}")))
    }

    fn operand(&mut self, operand: &'a Operand, dot: &Value<'a>) -> Result<Value<'a>, Wrong> {
        let mut value = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.map_or(Cow::Owned(Data::Missing), |(_, value)| value.clone())
            }
            Base::Literal(data) => Cow::Borrowed(data),
            Base::Function(name) => self.call(operand.at, name, &[])?,
            Base::Pipe(pipe) => self.pipe(pipe, dot)?,
        };
        for (at, name) in &operand.fields {
            value = match value {
                Cow::Borrowed(data) => self.field(*at, data, name)?.map_or(Cow::Owned(Data::Missing), Cow::Borrowed),
                Cow::Owned(data) => Cow::Owned(self.field(*at, &data, name)?.cloned().unwrap_or(Data::Missing)),
            };
        }
        Ok(value)
    }

    /// A field of a thing; none for what a map does not have.
    fn field<'d>(&self, at: usize, data: &'d Data, name: &str) -> Result<Option<&'d Data>, Wrong> {
        match data {
            Data::Map(map) => Ok(map.get(name)),
            Data::Missing => Ok(None),
            Data::Struct(fields) => match fields.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => Ok(Some(value)),
                None => {
                    let hint = suggestion(name, fields.iter().map(|(name, _)| *name), ".");
                    let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                    Err(Wrong::new(at, format!("there is no field .{name}{hint}")))
                }
            },
            // A part of what a heading stands for has the same heading.
            other if self.mode == Mode::Headings => Ok(Some(other)),
            other => Err(Wrong::new(at, format!("there is no field .{name}: this is {}", a(other)))),
        }
    }
}

/// A value's type, to be told.
fn a(data: &Data) -> String {
    match data.kind() {
        "<nil>" => "nil".into(),
        "int" => "an int".into(),
        kind => format!("a {kind}"),
    }
}
