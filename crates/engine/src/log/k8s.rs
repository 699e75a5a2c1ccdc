//! A record of the driver k8s-file: `TIME stdout F text`, as a kubelet and Podman read it. P in place of F says that more
//! of the line follows. [Kubernetes, CRI logging format] The text is there as it was, whatever it is.

use super::Piece;
use crate::when::FIXED;

/// Adds the record of a piece.
pub(super) fn frame(piece: &Piece<'_>, time: &[u8; FIXED], out: &mut Vec<u8>) {
    out.extend_from_slice(time);
    out.push(b' ');
    out.extend_from_slice(piece.stream.name().as_bytes());
    out.extend_from_slice(if piece.ends { b" F " } else { b" P " });
    out.extend_from_slice(piece.text);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Stream;

    #[test]
    fn records_as_a_kubelet_reads_them() {
        let time = b"2026-01-02T03:04:05.123456789Z";
        for (stream, text, ends, expected) in [
            (Stream::Stdout, &b"a b"[..], true, &b"2026-01-02T03:04:05.123456789Z stdout F a b\n"[..]),
            (Stream::Stderr, b"", true, b"2026-01-02T03:04:05.123456789Z stderr F \n"),
            (Stream::Stderr, b"\xff\"", false, b"2026-01-02T03:04:05.123456789Z stderr P \xff\"\n"),
        ] {
            let mut out = Vec::new();
            frame(&Piece { stream, text, ends }, time, &mut out);
            assert_eq!(out, expected);
        }
    }
}
