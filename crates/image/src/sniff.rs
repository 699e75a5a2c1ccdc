//! What a file looks like by its first bytes: the compression to undo, or what to tell a person who gave a file that
//! is no tar archive.

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// By the first four bytes. [RFC 1952, 2.3.1; RFC 8878, 3.1]
pub(crate) fn compression(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // A frame, or one of the skippable frames that may come first.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// What these first bytes of (uncompressed) data look like, as the end of a sentence.
pub(crate) fn looks_like(start: &[u8]) -> String {
    const MAGIC: [(&[u8], &str); 15] = [
        (b"\xfd7zXZ\0", "it is compressed with xz; only gzip and zstd are read (`xz -dc FILE | zstd` makes one)"),
        (b"BZh", "it is compressed with bzip2; only gzip and zstd are read (`bzip2 -dc FILE | zstd` makes one)"),
        (b"\x04\x22\x4d\x18", "it is compressed with lz4; only gzip and zstd are read"),
        (b"\x1f\x9d", "it is compressed with compress; only gzip and zstd are read"),
        (b"PK\x03\x04", "it looks like a zip file"),
        (b"7z\xbc\xaf\x27\x1c", "it looks like a 7z file"),
        (b"Rar!", "it looks like a rar file"),
        (b"\x7fELF", "it looks like a program (ELF)"),
        (b"hsqs", "it looks like a squashfs image"),
        (b"QFI\xfb", "it looks like a virtual machine's disk (qcow2)"),
        (b"!<arch>\n", "it looks like a Debian package or a library (ar)"),
        (b"\xed\xab\xee\xdb", "it looks like an rpm package"),
        (b"0707", "it looks like a cpio archive"),
        (b"#!", "it looks like a script"),
        (b"{", "it looks like JSON text"),
    ];
    if compression(start) != Compression::None {
        return "it is compressed twice; undo one of the two".into();
    }
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| start.starts_with(magic)) {
        return (*what).into();
    }
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
    if start.iter().all(is_text) && start.iter().any(u8::is_ascii_graphic) {
        let line = start.split(|byte| *byte == b'\n').next().unwrap_or(start);
        let line = String::from_utf8_lossy(&line[..line.len().min(40)]);
        return format!("it looks like text that begins {line:?}");
    }
    format!("it begins with \"{}\"", start[..start.len().min(8)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_what_the_file_is() {
        let table: [(&[u8], &str); 6] = [
            (b"PK\x03\x04....", "zip"),
            (b"\xfd7zXZ\0..", "xz"),
            (b"\x1f\x8b\x08\0", "compressed twice"),
            (b"hello there\nmore", "text that begins \"hello there\""),
            (b"\x01\x02\x1b[2J", "\\x01\\x02\\x1b[2J"),
            (b"{\"a\": 1}", "JSON"),
        ];
        for (start, expected) in table {
            assert!(looks_like(start).contains(expected), "{}", looks_like(start));
        }
    }

    #[test]
    fn compression_is_told_by_content() {
        assert_eq!(compression(b"\x1f\x8b\x08\0"), Compression::Gzip);
        assert_eq!(compression(b"\x28\xb5\x2f\xfd"), Compression::Zstd);
        assert_eq!(compression(b"\x50\x2a\x4d\x18"), Compression::Zstd);
        assert_eq!(compression(b"\x1f"), Compression::None);
        assert_eq!(compression(b""), Compression::None);
    }
}
