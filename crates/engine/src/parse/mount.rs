//! `--mount KEY=VALUE,...`, as Docker and Podman write it. What is not known is an error, also what is known of another
//! type.

use super::{Mount, boolean, container_path, host_path, size, volume_name, volume_word};
use crate::ParseError;
use crate::options::{Relabel, Tmpfs, Volume};
use std::path::PathBuf;

/// Reads one.
pub(crate) fn mount(text: &str) -> Result<Mount, ParseError> {
    let wrong = |reason: String| ParseError::new(text, reason);
    let fields = fields(text).ok_or_else(|| wrong("a quote is not closed".into()))?;
    let mut kind = "volume";
    let (mut source, mut target) = (None, None);
    let mut rest = Vec::new();
    for field in &fields {
        let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        match (key, value) {
            ("type", Some(value)) => kind = value,
            ("source" | "src", Some(value)) => source = Some(value),
            ("target" | "destination" | "dst", Some(value)) => target = Some(value),
            _ => rest.push((key, value)),
        }
    }
    let target = target
        .and_then(container_path)
        .ok_or_else(|| wrong("it needs target=PATH, the absolute path in the container".into()))?;
    match kind {
        "bind" => {
            let source = source
                .and_then(host_path)
                .ok_or_else(|| wrong("a bind mount needs source=PATH, a path of the host".into()))?;
            let mut volume = Volume { source, target, ..Volume::default() };
            for (key, value) in rest {
                bind_key(&mut volume, key, value).map_err(&wrong)?;
            }
            Ok(Mount::Bind(volume))
        }
        "volume" => {
            let mut volume = Volume { target, ..Volume::default() };
            for (key, value) in rest {
                volume_key(&mut volume, key, value).map_err(&wrong)?;
            }
            if volume.subpath.is_some() && (volume.chown || volume.relabel.is_some()) {
                return Err(wrong("U and relabel are for a volume as a whole, not for a part of it".into()));
            }
            let Some(source) = source.filter(|source| !source.is_empty()) else {
                if volume != (Volume { target: volume.target.clone(), ..Volume::default() }) {
                    return Err(wrong("what is said of a volume needs its name, source=NAME".into()));
                }
                return Ok(Mount::Anonymous(volume.target));
            };
            Ok(Mount::Bind(Volume { name: Some(volume_name(text, source)?), ..volume }))
        }
        "tmpfs" => {
            if source.is_some() {
                return Err(wrong("a tmpfs has no source".into()));
            }
            let mut options = Vec::new();
            for (key, value) in rest {
                options.extend(tmpfs_key(key, value).map_err(&wrong)?);
            }
            Ok(Mount::Tmpfs(Tmpfs { target, options }))
        }
        other => Err(wrong(format!("the type {other:?} is not known (bind, tmpfs, volume)"))),
    }
}

/// The fields of a line of comma-separated values: in quotes a comma is one, and two quotes are one. [RFC 4180]
pub(super) fn fields(text: &str) -> Option<Vec<String>> {
    let (mut fields, mut is_quoted, mut is_start) = (vec![String::new()], false, true);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut()?;
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if is_quoted => is_quoted = false,
            '"' if is_start => is_quoted = true,
            ',' if !is_quoted => {
                fields.push(String::new());
                is_start = true;
                continue;
            }
            c => field.push(c),
        }
        is_start = false;
    }
    (!is_quoted).then_some(fields)
}

/// A key without a value is true.
fn flag(value: Option<&str>) -> Result<bool, String> {
    value.map_or(Ok(true), |value| boolean(value).map_err(|error| error.to_string()))
}

fn needed<'a>(key: &str, value: Option<&'a str>) -> Result<&'a str, String> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| format!("{key} needs a value"))
}

/// What both a path and a volume can have.
fn common_key(volume: &mut Volume, key: &str, value: Option<&str>, kind: &str) -> Result<(), String> {
    match key {
        "readonly" | "ro" => volume.read_only = flag(value)?,
        "rw" => volume.read_only = !flag(value)?,
        "U" | "chown" => volume.chown = flag(value)?,
        "idmap" => volume.idmap = flag(value)?,
        "relabel" => {
            volume.relabel = match needed(key, value)? {
                "shared" => Some(Relabel::Shared),
                "private" => Some(Relabel::Private),
                other => return Err(format!("relabel is shared or private, not {other:?}")),
            }
        }
        other => return Err(format!("the key {other:?} is not known for type={kind}")),
    }
    Ok(())
}

fn bind_key(volume: &mut Volume, key: &str, value: Option<&str>) -> Result<(), String> {
    match key {
        "bind-propagation" => match needed(key, value)? {
            word @ ("private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared") => volume_word(volume, word)?,
            other => return Err(format!("the propagation {other:?} is not known")),
        },
        "bind-nonrecursive" => volume.non_recursive = flag(value)?,
        // A read-only one is so all the way down, so `readonly` asks for what there is.
        "bind-recursive" => match needed(key, value)? {
            "enabled" | "readonly" => volume.non_recursive = false,
            "disabled" => volume.non_recursive = true,
            other => return Err(format!("bind-recursive is enabled, disabled or readonly, not {other:?}")),
        },
        key => common_key(volume, key, value, "bind")?,
    }
    Ok(())
}

fn volume_key(volume: &mut Volume, key: &str, value: Option<&str>) -> Result<(), String> {
    match key {
        "volume-nocopy" => volume.no_copy = flag(value)?,
        "volume-subpath" | "subpath" => volume.subpath = Some(PathBuf::from(needed(key, value)?)),
        "volume-label" => {
            let (name, value) = needed(key, value)?.split_once('=').unwrap_or((value.unwrap_or_default(), ""));
            volume.labels.push((name.to_owned(), value.to_owned()));
        }
        "volume-driver" if value == Some("local") => {}
        "volume-driver" => return Err("the only driver is local".into()),
        key => common_key(volume, key, value, "volume")?,
    }
    Ok(())
}

/// The options of the file system that a key asks for.
fn tmpfs_key(key: &str, value: Option<&str>) -> Result<Option<String>, String> {
    let word = |word: &str| Some(word.to_owned());
    Ok(match key {
        "tmpfs-size" => {
            let bytes = size(needed(key, value)?).map_err(|error| error.to_string())?;
            Some(format!("size={bytes}"))
        }
        "tmpfs-mode" => {
            let mode = needed(key, value)?;
            let number = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777);
            number.map(|_| format!("mode={mode}")).ok_or_else(|| format!("{mode:?} is no mode, as 1777"))?.into()
        }
        "readonly" | "ro" => word("ro").filter(|_| flag(value) == Ok(true)),
        "tmpcopyup" | "exec" | "noexec" | "suid" | "nosuid" | "dev" | "nodev" if value.is_none() => word(key),
        other => return Err(format!("the key {other:?} is not known for type=tmpfs")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(text: &str) -> Volume {
        match mount(text) {
            Ok(Mount::Bind(volume)) => volume,
            Ok(_) => panic!("{text}: another kind"),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn paths_and_volumes() {
        let plain = Volume { source: "/a".into(), target: "/b".into(), ..Volume::default() };
        for (text, expected) in [
            ("type=bind,src=/a,dst=/b", plain.clone()),
            ("type=bind,source=/a,target=/b,ro", Volume { read_only: true, ..plain.clone() }),
            ("type=bind,source=/a,destination=/b,readonly=false", plain.clone()),
            ("type=bind,src=/a,dst=/b,rw=false", Volume { read_only: true, ..plain.clone() }),
            ("type=bind,src=/a,dst=/b,U", Volume { chown: true, ..plain.clone() }),
            ("type=bind,src=/a,dst=/b,chown=true", Volume { chown: true, ..plain.clone() }),
            ("type=bind,src=/a,dst=/b,relabel=private", Volume { relabel: Some(Relabel::Private), ..plain.clone() }),
            (
                "type=bind,src=/a,dst=/b,bind-propagation=rslave",
                Volume { propagation: Some("rslave".into()), ..plain.clone() },
            ),
            ("type=bind,src=/a,dst=/b,bind-nonrecursive", Volume { non_recursive: true, ..plain.clone() }),
            ("type=bind,src=/a,dst=/b,bind-recursive=disabled", Volume { non_recursive: true, ..plain.clone() }),
            (r#"type=bind,"src=/a,""b",dst=/b"#, Volume { source: "/a,\"b".into(), ..plain.clone() }),
        ] {
            assert_eq!(bind(text), expected, "{text}");
        }
        let named = bind("src=name,dst=/b,ro,volume-subpath=x/y,volume-nocopy,volume-label=a=b,volume-label=c");
        assert_eq!((named.name.as_deref(), named.read_only, named.no_copy), (Some("name"), true, true));
        assert_eq!(named.subpath, Some("x/y".into()));
        assert_eq!(named.labels, [("a".into(), "b".into()), ("c".into(), String::new())]);
        assert!(matches!(mount("type=volume,dst=/b"), Ok(Mount::Anonymous(_))));
        assert!(matches!(mount("type=volume,src=,dst=/b"), Ok(Mount::Anonymous(_))));
    }

    #[test]
    fn file_systems_in_memory() {
        for (text, expected) in [
            ("type=tmpfs,dst=/b", &[][..]),
            ("type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-mode=700", &["size=1048576", "mode=700"]),
            ("type=tmpfs,dst=/b,ro,exec,tmpcopyup", &["ro", "exec", "tmpcopyup"]),
            ("type=tmpfs,dst=/b,ro=false", &[]),
        ] {
            assert!(matches!(mount(text), Ok(Mount::Tmpfs(t)) if t.options == expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong() {
        for bad in [
            "",
            "type=bind,src=/a",
            "type=bind,dst=/b",
            "src=x,dst=/b",
            "src=name,dst=/b,volume-driver=nfs",
            "src=name,dst=/b,volume-opt=o=nfs",
            "src=name,dst=/b,volume-subpath=",
            "src=name,dst=/b,volume-subpath=x,U",
            "src=name,dst=/b,bind-propagation=shared",
            "type=wat,dst=/b",
            "type=bind,src=/a,dst=/b,volume-nocopy",
            "type=volume,src=/a,dst=/b",
            "type=volume,src=name,dst=/b,tmpfs-size=1",
            "type=volume,dst=/b,ro",
            "type=tmpfs,dst=/b,src=/a",
            "type=tmpfs,dst=/b,tmpfs-mode=rwx",
            "type=tmpfs,dst=/b,tmpfs-mode",
            "type=bind,src=/a,dst=/b,wat=1",
            "type=bind,src=/a,dst=/b,bind-propagation=up",
            "type=bind,src=/a,dst=/b,bind-recursive=writable",
            "type=bind,src=/a,dst=/b,relabel=x",
            "type=bind,src=/a,dst=/b,ro=perhaps",
            "type=bind,\"src=/a,dst=/b",
        ] {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }
}
