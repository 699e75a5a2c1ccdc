//! One record, read: ours, Docker's, a kubelet's or Podman's, or any bytes.
//!
//! Ours have always the same shape, which is read without a reader of JSON; what has another one is read by such a reader.

use super::{Stream, scan};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// How the records of a log are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    K8s,
}

/// What a record says beside its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) stream: Stream,
    /// The text is the end of a line, and has its newline.
    pub(super) ends: bool,
    /// As it is written: it may be no time.
    pub(super) time: Cow<'a, str>,
}

/// Reads a record, which is there without its newline; its text is put in place of `text`. None when it is no record.
pub(super) fn read<'a>(format: Format, line: &'a [u8], text: &mut Vec<u8>) -> Option<Record<'a>> {
    text.clear();
    match format {
        Format::Json => json(line, text).or_else(|| any_json(line, text)),
        Format::K8s => k8s(line, text),
    }
}

fn k8s<'a>(line: &'a [u8], text: &mut Vec<u8>) -> Option<Record<'a>> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(fields.next()?).ok()?;
    let stream = stream(fields.next()?)?;
    // More tags may follow a colon.
    let ends = match fields.next()?.split(|byte| *byte == b':').next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    text.extend_from_slice(fields.next().unwrap_or_default());
    text.extend_from_slice(if ends { b"\n" } else { b"" });
    Some(Record { stream, ends, time: time.into() })
}

fn stream(name: &[u8]) -> Option<Stream> {
    [Stream::Stdout, Stream::Stderr].into_iter().find(|stream| stream.name().as_bytes() == name)
}

/// A record of exactly our shape.
fn json<'a>(line: &'a [u8], text: &mut Vec<u8>) -> Option<Record<'a>> {
    let rest = unescape(line.strip_prefix(br#"{"log":""#)?, text)?;
    let (name, rest) = plain(rest.strip_prefix(br#","stream":""#)?)?;
    let stream = stream(name)?;
    let rest = match rest.strip_prefix(br#","raw":""#) {
        Some(rest) => {
            let (raw, rest) = plain(rest)?;
            true_bytes(raw, text)?;
            rest
        }
        None => rest,
    };
    let rest = match rest.strip_prefix(br#","attrs":{"#) {
        Some(rest) => after_object(rest)?,
        None => rest,
    };
    let (time, rest) = plain(rest.strip_prefix(br#","time":""#)?)?;
    let time = std::str::from_utf8(time).ok()?;
    (rest == b"}").then(|| Record { stream, ends: text.ends_with(b"\n"), time: time.into() })
}

/// Up to the quote, where nothing is escaped; and what follows the quote.
fn plain(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = scan::quote_or_escape(text)?;
    (text[at] == b'"').then(|| (&text[..at], &text[at + 1..]))
}

/// What follows an object of texts, which stands there without its first brace.
fn after_object(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        match rest.split_first()? {
            (b'}', rest) => return Some(rest),
            (b'"', inside) => {
                rest = inside;
                loop {
                    let at = scan::quote_or_escape(rest)?;
                    if rest[at] == b'"' {
                        rest = &rest[at + 1..];
                        break;
                    }
                    rest = rest.get(at + 2..)?;
                }
            }
            (b':' | b',', after) => rest = after,
            _ => return None,
        }
    }
}

/// What a record has beside its text, as Docker shows it: `a=b,c=d`, escaped as in an address of the web.
pub(super) fn details(format: Format, line: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(default, borrow)]
        attrs: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    }
    if format == Format::K8s {
        return String::new();
    }
    let attributes = serde_json::from_slice(line).map(|fields: Fields<'_>| fields.attrs).unwrap_or_default();
    let pairs: Vec<String> =
        attributes.iter().map(|(name, value)| format!("{}={}", in_query(name), in_query(value))).collect();
    pairs.join(",")
}

/// [Go, url.QueryEscape]
pub(super) fn in_query(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn true_bytes(raw: &[u8], text: &mut Vec<u8>) -> Option<()> {
    text.clear();
    STANDARD.decode_vec(raw, text).ok()
}

/// Adds a text of JSON, which stands there without its first quote; returns what follows the last.
fn unescape<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let at = scan::quote_or_escape(rest)?;
        text.extend_from_slice(&rest[..at]);
        if rest[at] == b'"' {
            return Some(&rest[at + 1..]);
        }
        let escape = *rest.get(at + 1)?;
        rest = &rest[at + 2..];
        let byte = match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'f' => 12,
            b'"' | b'\\' | b'/' => escape,
            b'u' => {
                let (character, after) = unicode(rest)?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
                continue;
            }
            _ => return None,
        };
        text.push(byte);
    }
}

/// The character that four digits stand for, or four and the four of the next escape. Half a pair is U+FFFD, as in Go.
fn unicode(rest: &[u8]) -> Option<(char, &[u8])> {
    let (first, rest) = four_digits(rest)?;
    if (0xd800..0xdc00).contains(&first) {
        let second = rest.strip_prefix(br"\u").and_then(four_digits);
        if let Some((second @ 0xdc00..0xe000, after)) = second {
            let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            return Some((char::from_u32(code)?, after));
        }
    }
    Some((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), rest))
}

fn four_digits(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = rest.split_first_chunk::<4>()?;
    let digits = digits.iter().map(|digit| char::from(*digit).to_digit(16));
    let number = digits.reduce(|number, digit| Some(number? * 16 + digit?))??;
    Some((number, rest))
}

/// A record of any shape that JSON has.
fn any_json<'a>(line: &'a [u8], text: &mut Vec<u8>) -> Option<Record<'a>> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(default, borrow)]
        log: Cow<'a, str>,
        #[serde(borrow)]
        stream: Cow<'a, str>,
        #[serde(default, borrow)]
        raw: Option<Cow<'a, str>>,
        #[serde(borrow)]
        time: Cow<'a, str>,
    }
    let fields: Fields<'a> = serde_json::from_slice(line).ok()?;
    text.clear();
    match fields.raw {
        Some(raw) => true_bytes(raw.as_bytes(), text)?,
        None => text.extend_from_slice(fields.log.as_bytes()),
    }
    Some(Record { stream: stream(fields.stream.as_bytes())?, ends: text.ends_with(b"\n"), time: fields.time })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Attributes, Piece, json as framed_json, k8s as framed_k8s};

    fn text_of(format: Format, line: &[u8]) -> Option<(Stream, Vec<u8>, bool)> {
        let mut text = b"of the one before".to_vec();
        let record = read(format, line, &mut text)?;
        assert_eq!(record.time, "2026-01-02T03:04:05.123456789Z", "{}", String::from_utf8_lossy(line));
        Some((record.stream, text, record.ends))
    }

    #[test]
    fn what_is_written_is_read() {
        let time = b"2026-01-02T03:04:05.123456789Z";
        let every: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
        let attributes = framed_json::attributes(&Attributes::from([
            ("n".to_owned(), "ä\n".to_owned()),
            ("a b".to_owned(), "\"}\\".to_owned()),
        ]));
        let texts: [&[u8]; 8] =
            [b"", b"plain", b"\"\\<>&\t\r", "ä€𝄞\u{2028}".as_bytes(), b"\xff\xfe", &every, b"\\u0041", b"tail\\"];
        for text in texts {
            for stream in [Stream::Stdout, Stream::Stderr] {
                for ends in [true, false] {
                    let expected = [text, if ends { b"\n" } else { b"" }].concat();
                    let expected = Some((stream, expected, ends));
                    let piece = Piece { stream, text, ends };
                    let mut line = Vec::new();
                    framed_json::frame(&piece, b"", time, &mut line);
                    let line = line.strip_suffix(b"\n").unwrap();
                    assert_eq!(text_of(Format::Json, line), expected);
                    // And it is of the shape that is read fast, and JSON.
                    assert!(json(line, &mut Vec::new()).is_some() && any_json(line, &mut Vec::new()).is_some());
                    assert_eq!(details(Format::Json, line), "");
                    let mut line = Vec::new();
                    framed_json::frame(&piece, &attributes, time, &mut line);
                    let line = line.strip_suffix(b"\n").unwrap();
                    assert_eq!(text_of(Format::Json, line), expected);
                    assert!(json(line, &mut Vec::new()).is_some() && any_json(line, &mut Vec::new()).is_some());
                    assert_eq!(details(Format::Json, line), "a+b=%22%7D%5C,n=%C3%A4%0A");
                    let mut line = Vec::new();
                    framed_k8s::frame(&piece, time, &mut line);
                    assert_eq!(text_of(Format::K8s, line.strip_suffix(b"\n").unwrap()), expected);
                }
            }
        }
    }

    #[test]
    fn what_others_write() {
        use Stream::{Stderr, Stdout};
        let time = r#""time":"2026-01-02T03:04:05.123456789Z""#;
        for (line, stream, text) in [
            (r#"{"log":"a\n","stream":"stdout","attrs":{"tag":"x","y":"}"},TIME}"#, Stdout, "a\n"),
            (r#"{"stream":"stderr",TIME}"#, Stderr, ""),
            (r#"{ "log" : "a\t\u00e4" , "stream" : "stdout" , TIME }"#, Stdout, "a\tä"),
            (r#"{"log":"\u20ac\ud834\udd1e\/","stream":"stdout",TIME}"#, Stdout, "€𝄞/"),
            (
                r#"{"log":"\ud834x\udd1e\ud834\ud834\n","stream":"stdout",TIME}"#,
                Stdout,
                "\u{fffd}x\u{fffd}\u{fffd}\u{fffd}\n",
            ),
            (r#"{TIME,"stream":"stdout","log":"turned"}"#, Stdout, "turned"),
        ] {
            let line = line.replace("TIME", time);
            let expected = Some((stream, text.as_bytes().to_vec(), text.ends_with('\n')));
            assert_eq!(text_of(Format::Json, line.as_bytes()), expected, "{line}");
        }
        for (line, stream, text) in [
            ("TIME stdout F a  b", Stdout, "a  b\n"),
            ("TIME stderr P:x:y half", Stderr, "half"),
            ("TIME stderr F", Stderr, "\n"),
            ("TIME stderr P ", Stderr, ""),
        ] {
            let line = line.replace("TIME", "2026-01-02T03:04:05.123456789Z");
            let expected = Some((stream, text.as_bytes().to_vec(), text.ends_with('\n')));
            assert_eq!(text_of(Format::K8s, line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn what_is_no_record() {
        let whole = r#"{"log":"a\u00e4\n","stream":"stdout","raw":"/wo=","time":"2026-01-02T03:04:05.123456789Z"}"#;
        for length in 0..whole.len() {
            assert_eq!(read(Format::Json, &whole.as_bytes()[..length], &mut Vec::new()), None, "{length}");
        }
        for line in [
            r#"{"log":"a","stream":"stdin","time":""}"#,
            r#"{"log":"a\q","stream":"stdout","time":""}"#,
            r#"{"log":"a\u12g4","stream":"stdout","time":""}"#,
            r#"{"log":"a","stream":"stdout","raw":"?","time":""}"#,
            r#"{"log":"a","stream":"stdout","attrs":{"a":"b","time":""}"#,
            r#"{"log":"a","stream":"stdout","time":""}}"#,
            r#"{"log":1,"stream":"stdout","time":""}"#,
            r#"["log"]"#,
            "\0\0\0\0",
            "null",
        ] {
            assert_eq!(read(Format::Json, line.as_bytes(), &mut Vec::new()), None, "{line}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(read(Format::Json, deep.as_bytes(), &mut Vec::new()), None);
        for line in ["", "t", "t stdout", "t stdin F a", "t stdout Q a", "t  stdout F a", " stdout", "\u{fffd}"] {
            assert_eq!(read(Format::K8s, line.as_bytes(), &mut Vec::new()), None, "{line}");
        }
        assert_eq!(read(Format::K8s, b"\xff stdout F a", &mut Vec::new()), None);
    }
}
