//! A record of the driver json-file: byte for byte what Docker writes, but that the time always has nine digits after the
//! point.
//!
//! `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}`. What is no UTF-8 becomes U+FFFD in `log`,
//! byte by byte, as with Docker; then the true bytes stand in `raw`, in base64. What `--log-opt` labels and env name stands
//! in `attrs` before the time, the same in every record.

use super::{Attributes, Piece, scan};
use crate::when::FIXED;
use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use std::io::Write;

/// What stands in every record before its time.
pub(super) fn attributes(attributes: &Attributes) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in attributes {
        out.extend_from_slice(if out.is_empty() { br#","attrs":{""# } else { br#",""# });
        escape(name.as_bytes(), &mut out);
        out.extend_from_slice(br#"":""#);
        escape(value.as_bytes(), &mut out);
        out.push(b'"');
    }
    if !out.is_empty() {
        out.push(b'}');
    }
    out
}

/// Adds the record of a piece, with `attributes` as they are written.
pub(super) fn frame(piece: &Piece<'_>, attributes: &[u8], time: &[u8; FIXED], out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"log":""#);
    let is_text = escape(piece.text, out);
    if piece.ends {
        out.extend_from_slice(br"\n");
    }
    out.extend_from_slice(br#"","stream":""#);
    out.extend_from_slice(piece.stream.name().as_bytes());
    if !is_text {
        out.extend_from_slice(br#"","raw":""#);
        let mut raw = EncoderWriter::new(&mut *out, &STANDARD);
        // A vector takes everything.
        let _ = raw.write_all(piece.text).and_then(|()| raw.write_all(if piece.ends { b"\n" } else { b"" }));
        let _ = raw.finish();
    }
    out.push(b'"');
    out.extend_from_slice(attributes);
    out.extend_from_slice(br#","time":""#);
    out.extend_from_slice(time);
    out.extend_from_slice(b"\"}\n");
}

/// Adds the inside of a text of JSON, escaped as Docker does. False when it was no UTF-8.
fn escape(text: &[u8], out: &mut Vec<u8>) -> bool {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let (mut from, mut at) = (0, 0);
    // Up to where it is known to be UTF-8.
    let mut checked = 0;
    let mut is_text = true;
    loop {
        at += scan::plain(&text[at..]);
        let Some(&byte) = text.get(at) else { break };
        if byte >= 0x80 && at >= checked {
            checked = at + valid(&text[at..]);
        }
        // U+2028 and U+2029, which end a line of JavaScript.
        let is_separator = byte == 0xe2 && at < checked && matches!(text[at..], [_, 0x80, 0xa8 | 0xa9, ..]);
        if byte >= 0x80 && at < checked && !is_separator {
            at += 1;
            continue;
        }
        out.extend_from_slice(&text[from..at]);
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\r' => out.extend_from_slice(br"\r"),
            _ if is_separator => {
                out.extend_from_slice(if text[at + 2] == 0xa8 { br"\u2028" } else { br"\u2029" });
                at += 2;
            }
            0x80.. => {
                out.extend_from_slice(br"\ufffd");
                is_text = false;
            }
            _ => {
                out.extend_from_slice(br"\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        at += 1;
        from = at;
    }
    out.extend_from_slice(&text[from..]);
    is_text
}

/// How many bytes at the beginning are UTF-8.
fn valid(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.len(),
        Err(error) => error.valid_up_to(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Stream;

    const TIME: &[u8; FIXED] = b"2026-01-02T03:04:05.123456789Z";

    fn record(text: &[u8], ends: bool, stream: Stream) -> String {
        let mut out = Vec::new();
        frame(&Piece { stream, text, ends }, b"", TIME, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn records_as_docker_writes_them() {
        let time = r#""time":"2026-01-02T03:04:05.123456789Z"}"#;
        for (text, log) in [
            (&b"hello"[..], "hello"),
            (b"", ""),
            (b"a\tb\r", r"a\u0009b\r"),
            (b"\"\\<>&/'", r#"\"\\\u003c\u003e\u0026/'"#),
            (b"\x00\x1b[1m\x7f", "\\u0000\\u001b[1m\x7f"),
            ("äö€𝄞 und mehr als acht".as_bytes(), "äö€𝄞 und mehr als acht"),
            ("a\u{2028}b\u{2029}c\u{2027}".as_bytes(), "a\\u2028b\\u2029c\u{2027}"),
        ] {
            let expected = format!("{{\"log\":\"{log}\\n\",\"stream\":\"stdout\",{time}\n");
            assert_eq!(record(text, true, Stream::Stdout), expected);
            let read: serde_json::Value = serde_json::from_str(&expected).unwrap();
            assert_eq!(read["log"].as_str().unwrap().as_bytes(), [text, b"\n"].concat());
        }
        let expected = format!("{{\"log\":\"half\",\"stream\":\"stderr\",{time}\n");
        assert_eq!(record(b"half", false, Stream::Stderr), expected);
    }

    #[test]
    fn attributes_are_dockers() {
        assert_eq!(attributes(&Attributes::new()), b"");
        let two = Attributes::from([("b".into(), "x\"}\n".into()), ("a".into(), "ä".into())]);
        assert_eq!(attributes(&two), r#","attrs":{"a":"ä","b":"x\"}\u000a"}"#.as_bytes());
        let mut out = Vec::new();
        frame(&Piece { stream: Stream::Stdout, text: b"\xff", ends: false }, &attributes(&two), TIME, &mut out);
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["attrs"], serde_json::json!({"a": "ä", "b": "x\"}\n"}));
        assert_eq!(read["raw"], "/w==");
    }

    #[test]
    fn what_is_no_utf8_is_kept_beside() {
        for (text, log, raw) in [
            (&b"\xff"[..], r"\ufffd\n", "/wo="),
            (b"a\xe2\x82", r"a\ufffd\ufffd\n", "YeKCCg=="),
            (b"\xe4\xe4 \xc3\xa4", "\\ufffd\\ufffd ä\\n", "5OQgw6QK"),
            (b"\xe2\x80", r"\ufffd\ufffd\n", "4oAK"),
            (b"\xed\xa0\x80", r"\ufffd\ufffd\ufffd\n", "7aCACg=="),
        ] {
            let head = format!("{{\"log\":\"{log}\",\"stream\":\"stdout\",\"raw\":\"{raw}\",\"time\":");
            let record = record(text, true, Stream::Stdout);
            assert!(record.starts_with(&head), "{record}");
        }
        assert!(record(b"\xff", false, Stream::Stdout).contains(r#""raw":"/w==""#));
    }
}
