//! Names in a layer that are not files but speak of lower layers. [image-spec, layer.md, "Whiteouts"]

use super::place::split;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const AUFS: &[u8] = b".wh..wh.";

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark<'a> {
    /// A file as any other.
    None,
    /// Lower layers' file of this name is gone.
    Whiteout(&'a [u8]),
    /// All that lower layers have in the directory is hidden.
    Opaque,
    /// Something of aufs's own.
    Ignored,
}

/// What a normal name says, or what is wrong with it.
pub(crate) fn mark(path: &[u8]) -> Result<Mark<'_>, &'static str> {
    let (parents, name) = split(path);
    for parent in parents.split(|byte| *byte == b'/') {
        if parent.starts_with(AUFS) {
            return Ok(Mark::Ignored);
        }
        if parent.starts_with(WHITEOUT) {
            return Err("it is below a whiteout");
        }
    }
    if name == OPAQUE {
        return Ok(Mark::Opaque);
    }
    if name.starts_with(AUFS) {
        return Ok(Mark::Ignored);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Mark::None),
        // Taken for a name, these are the directory itself and the one above it.
        Some(b"" | b"." | b"..") => Err("it is a whiteout of nothing"),
        Some(gone) => Ok(Mark::Whiteout(gone)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_from_files() {
        let table: [(&str, Result<Mark<'_>, &str>); 12] = [
            ("a/b", Ok(Mark::None)),
            ("a/.wh", Ok(Mark::None)),
            ("a/x.wh.b", Ok(Mark::None)),
            (".wh.b", Ok(Mark::Whiteout(b"b"))),
            ("a/.wh.b c", Ok(Mark::Whiteout(b"b c"))),
            ("a/.wh..b", Ok(Mark::Whiteout(b".b"))),
            ("a/.wh..wh..opq", Ok(Mark::Opaque)),
            (".wh..wh.plnk/12.34", Ok(Mark::Ignored)),
            ("a/.wh..wh.orph", Ok(Mark::Ignored)),
            ("a/.wh.b/c", Err("it is below a whiteout")),
            (".wh..", Err("it is a whiteout of nothing")),
            ("a/.wh...", Err("it is a whiteout of nothing")),
        ];
        for (path, expected) in table {
            assert_eq!(mark(path.as_bytes()), expected, "{path}");
        }
        assert!(mark(b".wh.").is_err());
    }
}
