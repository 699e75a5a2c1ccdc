//! Tokens become nodes.

use super::data::Data;
use super::functions;
use super::lex::{Kind, Token};
use super::{Backslashes, Wrong};
use crate::report::suggestion;

/// Parentheses and blocks may stand in each other so deep.
const DEEPEST: usize = 64;

#[derive(Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    Range(Pipe, Vec<Node>, Vec<Node>),
    Break,
    Continue,
}

/// `$i, $x := one | two`.
#[derive(Debug, PartialEq)]
pub(super) struct Pipe {
    pub(super) at: usize,
    /// Variables that take the value.
    pub(super) variables: Vec<String>,
    /// Whether they are new.
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

/// A value, or a function and its values.
#[derive(Debug, PartialEq)]
pub(super) struct Command {
    pub(super) first: Operand,
    pub(super) rest: Vec<Operand>,
}

/// A value and the fields of it.
#[derive(Debug, PartialEq)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) base: Base,
    /// Each with its place.
    pub(super) fields: Vec<(usize, String)>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Literal(Data),
    Function(&'static str),
    Pipe(Box<Pipe>),
}

/// The nodes of a whole template.
pub(super) fn nodes(tokens: Vec<Token>, backslashes: Backslashes) -> Result<Vec<Node>, Wrong> {
    let mut parser =
        Parser { tokens, next: 0, at: 0, variables: vec!["$".to_owned()], depth: 0, loops: 0, backslashes };
    let (nodes, end) = parser.list()?;
    match end {
        Close::Text => Ok(nodes),
        Close::Block(at) => Err(Wrong::new(at, "this end ends nothing")),
        Close::Else(at) => Err(Wrong::new(at, "this else belongs to no if, with or range")),
    }
}

/// What a list of nodes ended with.
enum Close {
    Text,
    Block(usize),
    Else(usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Block {
    If,
    With,
    Range,
}

impl Block {
    fn of(word: &str) -> Option<Block> {
        match word {
            "if" => Some(Block::If),
            "with" => Some(Block::With),
            "range" => Some(Block::Range),
            _ => None,
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    // Where the last token was.
    at: usize,
    variables: Vec<String>,
    depth: usize,
    loops: usize,
    backslashes: Backslashes,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    /// Where the next token is; at the end, where the last one was.
    fn place(&self) -> usize {
        self.peek().map_or(self.at, |token| token.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek()?.clone();
        self.next += 1;
        self.at = token.at;
        Some(token)
    }

    fn next_if(&mut self, kind: &Kind) -> bool {
        self.peek().is_some_and(|token| token.kind == *kind) && self.next().is_some()
    }

    fn word_if(&mut self, is_it: impl Fn(&str) -> bool) -> Option<(usize, String)> {
        match self.peek() {
            Some(Token { at, kind: Kind::Word(word), .. }) if is_it(word) => {
                let found = (*at, word.clone());
                self.next().map(|_| found)
            }
            _ => None,
        }
    }

    fn wrong<T>(&self, what: impl Into<String>) -> Result<T, Wrong> {
        Err(Wrong::new(self.at, what))
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Parser) -> Result<T, Wrong>) -> Result<T, Wrong> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return self.wrong(format!("it is nested more than {DEEPEST} deep"));
        }
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn list(&mut self) -> Result<(Vec<Node>, Close), Wrong> {
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            if let Kind::Text(text) = token.kind {
                nodes.push(Node::Text(match self.backslashes {
                    Backslashes::Kept => text,
                    Backslashes::Read => text.replace("\\t", "\t").replace("\\n", "\n"),
                }));
                continue;
            }
            // What is no text is `{{`.
            if let Some((at, word)) = self.word_if(|word| KEYWORDS.contains(&word)) {
                match word.as_str() {
                    "end" => {
                        self.close()?;
                        return Ok((nodes, Close::Block(at)));
                    }
                    "else" => return Ok((nodes, Close::Else(at))),
                    "break" | "continue" if self.loops == 0 => {
                        return self.wrong(format!("{word} stands in no range"));
                    }
                    "break" | "continue" => {
                        self.close()?;
                        nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                    }
                    word => match Block::of(word) {
                        Some(block) => nodes.push(self.deeper(|parser| parser.block(block, at))?),
                        None => return self.wrong(format!("{word} is not supported")),
                    },
                }
                continue;
            }
            let pipe = self.pipe(false)?;
            self.close()?;
            nodes.push(Node::Print(pipe));
        }
        Ok((nodes, Close::Text))
    }

    fn close(&mut self) -> Result<(), Wrong> {
        match self.next() {
            Some(Token { kind: Kind::Close, .. }) => Ok(()),
            Some(token) => self.wrong(format!("{} is too much here", shown(&token.kind))),
            None => self.wrong("the action has no }}"),
        }
    }

    /// `if`, `with` or `range`, from behind the word to behind its `end`.
    fn block(&mut self, block: Block, at: usize) -> Result<Node, Wrong> {
        let scope = self.variables.len();
        let pipe = self.pipe(block == Block::Range)?;
        self.close()?;
        self.loops += usize::from(block == Block::Range);
        let (body, end) = self.list()?;
        self.loops -= usize::from(block == Block::Range);
        let otherwise = match end {
            Close::Text => return Err(Wrong::new(at, "this block has no {{end}}")),
            Close::Block(_) => Vec::new(),
            Close::Else(else_at) => match self.word_if(|word| Block::of(word).is_some()) {
                // `else if` is an `if` in the else, and its `end` is that of both.
                Some((_, word)) if Block::of(&word) == Some(block) && block != Block::Range => {
                    vec![self.deeper(|parser| parser.block(block, else_at))?]
                }
                Some((_, word)) => return self.wrong(format!("an else {word} does not fit here")),
                None => {
                    self.close()?;
                    let (otherwise, end) = self.list()?;
                    match end {
                        Close::Block(_) => otherwise,
                        Close::Else(at) => return Err(Wrong::new(at, "this is the second else")),
                        Close::Text => return Err(Wrong::new(at, "this block has no {{end}}")),
                    }
                }
            },
        };
        self.variables.truncate(scope);
        Ok(match block {
            Block::If => Node::If(pipe, body, otherwise),
            Block::With => Node::With(pipe, body, otherwise),
            Block::Range => Node::Range(pipe, body, otherwise),
        })
    }

    fn pipe(&mut self, is_range: bool) -> Result<Pipe, Wrong> {
        let at = self.place();
        let (variables, declares) = self.declaration(is_range)?;
        let mut commands = vec![self.command()?];
        while self.next_if(&Kind::Sign('|')) {
            let command = self.command()?;
            if !matches!(command.first.base, Base::Function(_)) && command.first.fields.is_empty() {
                return Err(Wrong::new(command.first.at, "behind | stands a function"));
            }
            commands.push(command);
        }
        // Not before: `$x := $x` means the outer one.
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { at, variables, declares, commands })
    }

    /// `$x :=`, `$x =`, or for a range `$i, $x :=`; none of them consumes nothing.
    fn declaration(&mut self, is_range: bool) -> Result<(Vec<String>, bool), Wrong> {
        let mut ahead = self.tokens[self.next..].iter();
        let mut names = Vec::new();
        while let Some(Token { kind: Kind::Variable(name), at, .. }) = ahead.next() {
            names.push(name.clone());
            match ahead.next().map(|token| &token.kind) {
                Some(Kind::Sign(',')) if is_range && names.len() == 1 => {}
                Some(Kind::Sign(',')) => return Err(Wrong::new(*at, "there are too many variables")),
                Some(Kind::Sign('=')) if !self.variables.contains(name) => {
                    return Err(Wrong::new(*at, format!("there is no variable {name}")));
                }
                Some(kind @ (Kind::Declare | Kind::Sign('='))) => {
                    let declares = *kind == Kind::Declare;
                    self.next += 2 * names.len();
                    return Ok((names, declares));
                }
                _ => break,
            }
        }
        Ok((Vec::new(), false))
    }

    fn command(&mut self) -> Result<Command, Wrong> {
        let Some(first) = self.operand(false)? else {
            let at = self.place();
            return Err(Wrong::new(at, "a value is missing"));
        };
        let mut rest = Vec::new();
        while let Some(operand) = self.operand(true)? {
            rest.push(operand);
        }
        // Only a function takes values; a field may be one (`.Label "x"`), which shows when it is looked at.
        let is_callable = matches!(first.base, Base::Function(_)) || !first.fields.is_empty();
        match rest.first() {
            Some(operand) if !is_callable => {
                Err(Wrong::new(operand.at, "a value takes no value: a function goes first"))
            }
            _ => Ok(Command { first, rest }),
        }
    }

    /// The next operand, or none at the end of a command.
    fn operand(&mut self, must_be_spaced: bool) -> Result<Option<Operand>, Wrong> {
        let Some(token) = self.peek() else { return Ok(None) };
        if matches!(token.kind, Kind::Close | Kind::Sign('|' | ')')) {
            return Ok(None);
        }
        let Some(token) = self.next() else { return Ok(None) };
        if must_be_spaced && !token.spaced {
            return self.wrong(format!("a blank is missing before {}", shown(&token.kind)));
        }
        let at = token.at;
        let mut fields = Vec::new();
        let base = match token.kind {
            Kind::Dot => Base::Dot,
            Kind::Field(name) => {
                fields.push((at, name));
                Base::Dot
            }
            Kind::Variable(name) if self.variables.contains(&name) => Base::Variable(name),
            Kind::Variable(name) => return self.wrong(format!("there is no variable {name}")),
            Kind::Int(n) => Base::Literal(Data::Int(n)),
            Kind::Float(f) => Base::Literal(Data::Float(f)),
            Kind::String(text) => Base::Literal(Data::Text(text)),
            Kind::Word(word) => match word.as_str() {
                "true" | "false" => Base::Literal(Data::Bool(word == "true")),
                "nil" => Base::Literal(Data::Null),
                word => Base::Function(self.function(word)?),
            },
            Kind::Sign('(') => {
                let pipe = self.deeper(|parser| parser.pipe(false))?;
                if !self.next_if(&Kind::Sign(')')) {
                    return Err(Wrong::new(at, "this parenthesis is not closed"));
                }
                Base::Pipe(Box::new(pipe))
            }
            kind => return self.wrong(format!("{} does not fit here", shown(&kind))),
        };
        while let Some(Token { at, kind: Kind::Field(name), spaced: false }) = self.peek() {
            fields.push((*at, name.clone()));
            self.next();
        }
        if !fields.is_empty() && matches!(base, Base::Literal(_) | Base::Function(_)) {
            return self.wrong("this has no fields");
        }
        Ok(Some(Operand { at, base, fields }))
    }

    fn function(&self, word: &str) -> Result<&'static str, Wrong> {
        let known = functions::NAMES.iter().copied();
        known.clone().find(|known| *known == word).ok_or_else(|| {
            let hint = suggestion(word, known, "").map(|hint| format!("; {hint}")).unwrap_or_default();
            Wrong::new(self.at, format!("there is no function {word}{hint}"))
        })
    }
}

const KEYWORDS: &[&str] = &["if", "else", "end", "range", "with", "break", "continue", "define", "template", "block"];

fn shown(kind: &Kind) -> String {
    match kind {
        Kind::Text(_) => "text".into(),
        Kind::Open => "{{".into(),
        Kind::Close => "}}".into(),
        Kind::Dot => ".".into(),
        Kind::Field(name) => format!(".{name}"),
        Kind::Variable(name) | Kind::Word(name) => name.clone(),
        Kind::Int(n) => n.to_string(),
        Kind::Float(f) => f.to_string(),
        Kind::String(text) => format!("{text:?}"),
        Kind::Sign(sign) => sign.to_string(),
        Kind::Declare => ":=".into(),
    }
}
