//! A template's text becomes tokens.

use super::Wrong;

/// A token and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
    /// Whether a blank stands before it: `.A.B` is one thing and `.A .B` two.
    pub(super) spaced: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Text(String),
    Open,
    Close,
    Dot,
    /// With the dot left away.
    Field(String),
    /// With the `$`.
    Variable(String),
    Word(String),
    Int(i128),
    Float(f64),
    String(String),
    /// `|`, `(`, `)`, `,`, `=`.
    Sign(char),
    /// `:=`.
    Declare,
}

/// Every token of a template.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Wrong> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut trims = false;
    while let Some(open) = text[at..].find("{{").map(|n| at + n) {
        let body = open + 2;
        let is_trimming = text[body..].starts_with('-') && text[body + 1..].starts_with(is_blank);
        push_text(&mut tokens, at, &text[at..open], trims, is_trimming);
        let body = if is_trimming { body + 1 } else { body };
        let inside = body + (text[body..].len() - text[body..].trim_start_matches(is_blank).len());
        let is_comment = text[inside..].starts_with("/*") && (is_trimming || inside == body);
        (at, trims) = if is_comment {
            comment(text, open, inside)?
        } else {
            tokens.push(Token { at: open, kind: Kind::Open, spaced: false });
            Action { text, open, at: body, parens: Vec::new() }.tokens(&mut tokens)?
        };
    }
    push_text(&mut tokens, at, &text[at..], trims, false);
    Ok(tokens)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn push_text(tokens: &mut Vec<Token>, at: usize, mut text: &str, start: bool, end: bool) {
    if start {
        text = text.trim_start_matches(is_blank);
    }
    if end {
        text = text.trim_end_matches(is_blank);
    }
    if !text.is_empty() {
        tokens.push(Token { at, kind: Kind::Text(text.to_owned()), spaced: false });
    }
}

/// A comment and the end of its action: where the text goes on, and whether it is trimmed.
fn comment(text: &str, open: usize, from: usize) -> Result<(usize, bool), Wrong> {
    let end =
        text[from..].find("*/").map(|n| from + n + 2).ok_or_else(|| Wrong::new(open, "the comment has no end"))?;
    let rest = &text[end..];
    let after = rest.trim_start_matches(is_blank);
    if rest.starts_with("}}") {
        Ok((end + 2, false))
    } else if after.len() < rest.len() && after.starts_with("-}}") {
        Ok((text.len() - after.len() + 3, true))
    } else {
        Err(Wrong::new(end, "a comment ends in */}} with nothing between"))
    }
}

struct Action<'a> {
    text: &'a str,
    open: usize,
    at: usize,
    parens: Vec<usize>,
}

impl Action<'_> {
    /// The tokens up to `}}`.
    fn tokens(&mut self, tokens: &mut Vec<Token>) -> Result<(usize, bool), Wrong> {
        loop {
            let rest = &self.text[self.at..];
            let start = rest.trim_start_matches(is_blank);
            let spaced = start.len() < rest.len();
            self.at += rest.len() - start.len();
            let is_trimming = spaced && start.starts_with("-}}");
            if is_trimming || start.starts_with("}}") {
                if let Some(paren) = self.parens.pop() {
                    return Err(Wrong::new(paren, "this parenthesis is not closed"));
                }
                tokens.push(Token { at: self.at, kind: Kind::Close, spaced });
                return Ok((self.at + if is_trimming { 3 } else { 2 }, is_trimming));
            }
            let at = self.at;
            let kind = self.token(start)?;
            tokens.push(Token { at, kind, spaced });
        }
    }

    fn token(&mut self, start: &str) -> Result<Kind, Wrong> {
        let Some(first) = start.chars().next() else {
            return Err(Wrong::new(self.open, "this {{ has no }}"));
        };
        let next = start[first.len_utf8()..].chars().next();
        match first {
            '"' => self.quoted(start),
            '`' => {
                let end = start[1..].find('`').ok_or_else(|| Wrong::new(self.at, "the text in ` has no end"))?;
                self.at += end + 2;
                Ok(Kind::String(start[1..=end].to_owned()))
            }
            '\'' => self.character(start),
            '|' | ',' | '=' => Ok(self.sign(first)),
            '(' => {
                self.parens.push(self.at);
                Ok(self.sign(first))
            }
            ')' => match self.parens.pop() {
                Some(_) => Ok(self.sign(first)),
                None => Err(Wrong::new(self.at, "this parenthesis was not opened")),
            },
            ':' if next == Some('=') => {
                self.at += 2;
                Ok(Kind::Declare)
            }
            '.' if next.is_some_and(|c| c.is_ascii_digit()) => self.number(start),
            '0'..='9' => self.number(start),
            '+' | '-' if next.is_some_and(|c| c.is_ascii_digit() || c == '.') => self.number(start),
            '.' => match word(&start[1..]) {
                "" => {
                    self.at += 1;
                    Ok(Kind::Dot)
                }
                name => {
                    self.at += 1 + name.len();
                    Ok(Kind::Field(name.to_owned()))
                }
            },
            '$' => {
                let name = &start[..=word(&start[1..]).len()];
                self.at += name.len();
                Ok(Kind::Variable(name.to_owned()))
            }
            c if c.is_alphabetic() || c == '_' => {
                let name = word(start);
                self.at += name.len();
                Ok(Kind::Word(name.to_owned()))
            }
            c => Err(Wrong::new(self.at, format!("{c:?} has no meaning here"))),
        }
    }

    fn sign(&mut self, sign: char) -> Kind {
        self.at += 1;
        Kind::Sign(sign)
    }

    fn number(&mut self, start: &str) -> Result<Kind, Wrong> {
        let end = start
            .char_indices()
            .skip(1)
            .find(|&(n, c)| {
                let after_e = matches!(start.as_bytes()[n - 1], b'e' | b'E') && !start.starts_with("0x");
                !(c.is_alphanumeric() || c == '_' || c == '.' || "+-".contains(c) && after_e)
            })
            .map_or(start.len(), |(n, _)| n);
        let shown = &start[..end];
        let plain = shown.replace('_', "");
        let (sign, digits) = match plain.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, plain.trim_start_matches('+')),
        };
        let radix =
            |radix, digits: &str| i64::from_str_radix(digits, radix).ok().map(|n| Kind::Int(sign * i128::from(n)));
        let lower = digits.to_ascii_lowercase();
        let read = match lower.get(..2) {
            Some("0x") => radix(16, &lower[2..]),
            Some("0o") => radix(8, &lower[2..]),
            Some("0b") => radix(2, &lower[2..]),
            _ if lower.bytes().all(|b| b.is_ascii_digit()) => radix(10, &lower),
            _ if lower.bytes().all(|b| b.is_ascii_digit() || b".e+-".contains(&b)) => {
                lower.parse::<f64>().ok().filter(|f| f.is_finite()).map(|f| Kind::Float(f * sign as f64))
            }
            _ => None,
        };
        let at = self.at;
        self.at += end;
        read.ok_or_else(|| Wrong::new(at, format!("{shown:?} is no number")))
    }

    fn quoted(&mut self, start: &str) -> Result<Kind, Wrong> {
        let mut text = String::new();
        let mut rest = &start[1..];
        loop {
            match rest.chars().next() {
                None | Some('\n') => return Err(Wrong::new(self.at, "the text in \" has no end")),
                Some('"') => {
                    self.at += start.len() - rest.len() + 1;
                    return Ok(Kind::String(text));
                }
                Some('\\') => {
                    let place = self.at + start.len() - rest.len();
                    let (c, length) =
                        escape(rest, '"').ok_or_else(|| Wrong::new(place, "this is no escape of Go's"))?;
                    text.push(c);
                    rest = &rest[length..];
                }
                Some(c) => {
                    text.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
    }

    fn character(&mut self, start: &str) -> Result<Kind, Wrong> {
        let read = match start[1..].chars().next() {
            Some('\\') => escape(&start[1..], '\''),
            Some(c) if c != '\'' => Some((c, c.len_utf8())),
            _ => None,
        };
        let read = read.filter(|(_, length)| start[1 + length..].starts_with('\''));
        let (c, length) = read.ok_or_else(|| Wrong::new(self.at, "between ' and ' stands one character"))?;
        self.at += length + 2;
        Ok(Kind::Int(u32::from(c).into()))
    }
}

/// The letters, digits and underlines that a text begins with.
fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// What a backslash and what follows it stand for, and how many bytes that is.
fn escape(text: &str, quote: char) -> Option<(char, usize)> {
    let letter = text[1..].chars().next()?;
    let digits = |from: usize, count: usize, radix: u32| {
        let digits = text.get(from..from + count)?;
        let is_number = digits.chars().all(|c| c.is_digit(radix));
        let code = u32::from_str_radix(digits, radix).ok().filter(|_| is_number)?;
        Some((char::from_u32(code)?, from + count))
    };
    let plain = |c| Some((c, 2));
    match letter {
        'a' => plain('\u{7}'),
        'b' => plain('\u{8}'),
        'f' => plain('\u{c}'),
        'n' => plain('\n'),
        'r' => plain('\r'),
        't' => plain('\t'),
        'v' => plain('\u{b}'),
        '\\' => plain('\\'),
        c if c == quote => plain(c),
        'x' => digits(2, 2, 16),
        'u' => digits(2, 4, 16),
        'U' => digits(2, 8, 16),
        '0'..='7' => digits(1, 3, 8),
        _ => None,
    }
}
