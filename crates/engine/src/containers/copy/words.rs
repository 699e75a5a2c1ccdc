//! What SRC and DEST say, by their words alone.

use std::path::{Component, Path, PathBuf};

/// One side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Side<'a> {
    /// `-`: standard input or output.
    Stream,
    /// A path of the host.
    Host(&'a str),
    /// A container, and a path in it.
    Container(&'a str, &'a str),
}

impl<'a> Side<'a> {
    /// What begins with `/` or `.` is a path of the host, whatever follows. [Docker]
    pub(super) fn of(words: &'a str) -> Side<'a> {
        match words.split_once(':') {
            _ if words == "-" => Side::Stream,
            Some((container, path)) if !container.is_empty() && !words.starts_with(['/', '.']) => {
                Side::Container(container, path)
            }
            _ => Side::Host(words),
        }
    }
}

/// How a path ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// The last component; none when it is what is in the directory that is meant: `DIR/.`, or the root.
    pub(super) name: Option<String>,
    /// It must be a directory, and a symlink there is followed.
    pub(super) as_directory: bool,
}

/// How a path ends, `..` at its end being taken by the words; a path of the host is seen from `here`.
pub(super) fn ending(path: &str, here: &Path) -> Ending {
    let trimmed = path.trim_end_matches('/');
    let last = trimmed.rsplit('/').next().unwrap_or_default();
    match last {
        "" | "." => Ending { name: None, as_directory: true },
        ".." => {
            let whole = lexical(&here.join(trimmed));
            let name = whole.file_name().map(|name| name.to_string_lossy().into_owned());
            Ending { name, as_directory: true }
        }
        last => Ending { name: Some(last.to_owned()), as_directory: trimmed.len() < path.len() },
    }
}

/// A path without its last component, and that one, what follows it (`/`, `/.`) left out. Nothing of the root.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut path = path;
    while let Some(shorter) = path.strip_suffix(b"/").or_else(|| path.strip_suffix(b"/.")) {
        path = shorter;
    }
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => path.split_at(slash + 1),
        None => (&b"."[..], path),
    };
    (!matches!(name, b"" | b"." | b"..")).then_some((parent, name))
}

fn lexical(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            part => whole.push(part),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_tells_a_container_unless_it_is_plainly_a_path() {
        for (words, expected) in [
            ("-", Side::Stream),
            ("c:/a", Side::Container("c", "/a")),
            ("c:a:b", Side::Container("c", "a:b")),
            ("c:", Side::Container("c", "")),
            ("/a:b", Side::Host("/a:b")),
            ("./a:b", Side::Host("./a:b")),
            ("../a:b", Side::Host("../a:b")),
            (":a", Side::Host(":a")),
            ("a", Side::Host("a")),
        ] {
            assert_eq!(Side::of(words), expected, "{words}");
        }
    }

    #[test]
    fn endings() {
        for (path, name, as_directory) in [
            ("/a/b", Some("b"), false),
            ("b", Some("b"), false),
            ("/a/b/", Some("b"), true),
            ("/a/b//", Some("b"), true),
            ("/a/b/.", None, true),
            ("/a/b/./", None, true),
            (".", None, true),
            ("", None, true),
            ("/", None, true),
            ("/a/b/..", Some("a"), true),
            ("..", Some("home"), true),
            ("/a/..", None, true),
            ("/a/.b", Some(".b"), false),
        ] {
            let expected = Ending { name: name.map(str::to_owned), as_directory };
            assert_eq!(ending(path, Path::new("/home/ann")), expected, "{path:?}");
        }
    }

    #[test]
    fn parents() {
        for (path, expected) in [
            ("/a/b", Some(("/a/", "b"))),
            ("/a/b/", Some(("/a/", "b"))),
            ("/a/b/.", Some(("/a/", "b"))),
            ("/b/././/", Some(("/", "b"))),
            ("b", Some((".", "b"))),
            ("./b", Some(("./", "b"))),
            ("/", None),
            (".", None),
            ("", None),
            ("a/..", None),
        ] {
            let expected = expected.map(|(parent, name): (&str, &str)| (parent.as_bytes(), name.as_bytes()));
            assert_eq!(split(path.as_bytes()), expected, "{path:?}");
        }
    }
}
