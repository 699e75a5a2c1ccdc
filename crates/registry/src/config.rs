//! Which registries there are, and where they are reached: `registries.conf`. [containers-registries.conf(5), version 2]
//!
//! Read in this order; what comes later overrides a setting, a `[[registry]]` of the same prefix, an alias:
//!
//! ```text
//! $CONTAINERS_REGISTRIES_CONF, or ~/.config/containers/registries.conf, or /etc/containers/registries.conf
//! /etc/containers/registries.conf.d/*.conf         ~/.config/containers/registries.conf.d/*.conf
//! /etc/mycontainer/registries.conf                 ~/.config/mycontainer/registries.conf
//! ```
//!
//! The last two are ours and have the same keys. A key that is not known is an error there, and passed over in the
//! others: theirs may be newer than we are. No file need be there: names without a registry are Docker Hub's.

use crate::environment::Environment;
use crate::error::Error;
use crate::reference::{DOCKER_HUB, Reference};
use crate::url::host_and_port;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// One file, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Config {
    unqualified_search_registries: Option<Vec<String>>,
    registry: Vec<Entry>,
    aliases: BTreeMap<String, String>,
    // Known, and of no consequence: we never ask which of several registries was meant, we try them in their order.
    short_name_mode: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Entry {
    prefix: Option<String>,
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: Pulls,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Pulls {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

// What of another tool's file is read; the strict types above refuse all else.
const KEYS: [&str; 4] = ["unqualified-search-registries", "registry", "aliases", "short-name-mode"];
const ENTRY_KEYS: [&str; 6] = ["prefix", "location", "insecure", "blocked", "mirror-by-digest-only", "mirror"];
const MIRROR_KEYS: [&str; 3] = ["location", "insecure", "pull-from-mirror"];

/// Where an image may be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Host and port as they are written; `docker.io` for Docker Hub.
    pub(crate) registry: String,
    pub(crate) repository: String,
    pub(crate) insecure: bool,
}

impl Config {
    /// Reads all files that are there.
    pub(crate) fn load(environment: &Environment) -> Result<Config, Error> {
        let mut config = Config::default();
        for path in theirs(environment)? {
            config.add(read(&path, false)?);
        }
        let user = environment.config("mycontainer/registries.conf");
        for path in [Some(environment.etc("mycontainer/registries.conf")), user].into_iter().flatten() {
            config.add(read(&path, true)?);
        }
        Ok(config)
    }

    fn add(&mut self, other: Config) {
        self.unqualified_search_registries =
            other.unqualified_search_registries.or(self.unqualified_search_registries.take());
        self.short_name_mode = other.short_name_mode.or(self.short_name_mode.take());
        self.registry.retain(|entry| !other.registry.iter().any(|newer| newer.prefix() == entry.prefix()));
        self.registry.extend(other.registry);
        self.aliases.extend(other.aliases);
    }

    /// What words may mean: an alias's image, or one in each registry that is searched, or the one that is named.
    pub(crate) fn candidates(&self, text: &str) -> Result<Vec<Reference>, Error> {
        let plain = Reference::parse(text)?;
        if !Reference::is_short(text) {
            return Ok(vec![plain]);
        }
        let end = text.find([':', '@']).unwrap_or(text.len());
        // An alias that is empty takes one away that an earlier file made.
        if let Some(name) = self.aliases.get(&text[..end]).filter(|name| !name.is_empty()) {
            return Ok(vec![Reference::parse(&format!("{name}{}", &text[end..]))?]);
        }
        match self.unqualified_search_registries.as_deref() {
            None | Some([]) => Ok(vec![plain]),
            Some(hosts) => hosts.iter().map(|host| Ok(Reference::parse(&format!("{host}/{text}"))?)).collect(),
        }
    }

    /// Where to look for an image, the mirrors first and the registry itself last.
    pub(crate) fn places(&self, reference: &Reference, with_mirrors: bool) -> Result<Vec<Place>, Error> {
        let name = reference.name();
        let longest = self.registry.iter().filter_map(|entry| Some((covers(entry.prefix(), &name)?, entry)));
        let Some((length, entry)) = longest.max_by_key(|(length, _)| *length) else {
            return Ok(vec![Place::of(&name, false)]);
        };
        if entry.blocked {
            return Err(Error::Blocked { name, prefix: entry.prefix().to_owned() });
        }
        let rest = &name[length..];
        let by_digest = reference.digest().is_some();
        let fits = |mirror: &&Mirror| match mirror.pull_from_mirror {
            Pulls::TagOnly => !by_digest,
            Pulls::DigestOnly => by_digest,
            Pulls::All => by_digest || !entry.mirror_by_digest_only,
        };
        let mirrors = entry.mirror.iter().filter(|_| with_mirrors).filter(fits);
        let mut places: Vec<Place> = mirrors.map(|m| Place::of(&format!("{}{rest}", m.location), m.insecure)).collect();
        let origin = entry.location.as_ref().map_or(name.clone(), |location| format!("{location}{rest}"));
        places.push(Place::of(&origin, entry.insecure));
        Ok(places)
    }

    /// True when a host that another one leads to may be spoken to without a certificate that is known.
    pub(crate) fn is_insecure(&self, authority: &str) -> bool {
        let entries = self.registry.iter().filter_map(|e| Some((covers(e.prefix(), authority)?, e.insecure)));
        entries.max_by_key(|(length, _)| *length).is_some_and(|(_, insecure)| insecure)
    }
}

impl Entry {
    fn prefix(&self) -> &str {
        self.prefix.as_deref().or(self.location.as_deref()).unwrap_or_default()
    }
}

impl Place {
    fn of(name: &str, insecure: bool) -> Place {
        let (registry, repository) = name.split_once('/').unwrap_or((name, ""));
        Place { registry: registry.to_owned(), repository: repository.to_owned(), insecure }
    }

    /// Where this registry is reached.
    pub(crate) fn authority(&self) -> &str {
        if self.registry == DOCKER_HUB { "registry-1.docker.io" } else { &self.registry }
    }
}

/// How much of `name` a prefix covers: whole components only, and `*.example.com` every host below example.com.
fn covers(prefix: &str, name: &str) -> Option<usize> {
    let end = match prefix.strip_prefix('*') {
        Some(suffix) => {
            let start = name.find(suffix).filter(|start| !suffix.is_empty() && !name[..*start].contains('/'))?;
            start + suffix.len()
        }
        None if !prefix.is_empty() && name.starts_with(prefix) => prefix.len(),
        None => return None,
    };
    matches!(name.as_bytes().get(end), None | Some(b'/' | b':' | b'@')).then_some(end)
}

/// The files of the other tools, in their order.
fn theirs(environment: &Environment) -> Result<Vec<PathBuf>, Error> {
    // Who names a file means this one, and no other of these.
    if let Some(named) = environment.get("CONTAINERS_REGISTRIES_CONF") {
        return Ok(vec![named.into()]);
    }
    let user = environment.config("containers/registries.conf").filter(|path| path.exists());
    let mut paths = vec![user.unwrap_or_else(|| environment.etc("containers/registries.conf"))];
    let user = environment.config("containers/registries.conf.d");
    for directory in [Some(environment.etc("containers/registries.conf.d")), user].into_iter().flatten() {
        let failed = |source| Error::ReadFile { path: directory.clone(), source };
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if absent(&error) => continue,
            Err(error) => return Err(failed(error)),
        };
        let mut found: Vec<PathBuf> =
            entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>().map_err(failed)?;
        found.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        found.sort();
        paths.extend(found);
    }
    Ok(paths)
}

pub(crate) fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// One file; none is as good as an empty one.
fn read(path: &Path, strict: bool) -> Result<Config, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if absent(&error) => return Ok(Config::default()),
        Err(source) => return Err(Error::ReadFile { path: path.to_owned(), source }),
    };
    parse(&text, strict).map_err(|why| Error::Config { path: path.to_owned(), why })
}

fn parse(text: &str, strict: bool) -> Result<Config, String> {
    // Its message has several lines: the place, a picture of it, and what is wrong.
    let told = |error: toml::de::Error| match error.span() {
        Some(span) => format!("line {}: {}", text[..span.start].matches('\n').count() + 1, error.message()),
        None => error.message().to_owned(),
    };
    let config: Config = if strict {
        toml::from_str(text).map_err(told)?
    } else {
        let mut table: toml::Table = toml::from_str(text).map_err(told)?;
        keep_known(&mut table);
        table.try_into().map_err(told)?
    };
    for entry in &config.registry {
        check(entry)?;
    }
    Ok(config)
}

fn keep_known(table: &mut toml::Table) {
    table.retain(|key, _| KEYS.contains(&key));
    for entry in tables(table.get_mut("registry")) {
        entry.retain(|key, _| ENTRY_KEYS.contains(&key));
        for mirror in tables(entry.get_mut("mirror")) {
            mirror.retain(|key, _| MIRROR_KEYS.contains(&key));
        }
    }
}

fn tables(value: Option<&mut toml::Value>) -> impl Iterator<Item = &mut toml::Table> {
    value.and_then(toml::Value::as_array_mut).into_iter().flatten().filter_map(toml::Value::as_table_mut)
}

fn check(entry: &Entry) -> Result<(), String> {
    let prefix = entry.prefix();
    if prefix.is_empty() {
        return Err("a [[registry]] has neither a prefix nor a location".to_owned());
    }
    if prefix.strip_prefix('*').is_some_and(|rest| !rest.starts_with('.')) {
        return Err(format!("the prefix {prefix:?} must begin with \"*.\" or with a host"));
    }
    for location in entry.location.iter().chain(entry.mirror.iter().map(|mirror| &mirror.location)) {
        let registry = location.split('/').next().unwrap_or_default();
        // A scheme is what people write here by mistake.
        if host_and_port(registry).0.is_empty() || crate::reference::check_registry(registry).is_err() {
            return Err(format!("the location {location:?} must be HOST[:PORT][/PATH], without http:// or https://"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        unqualified-search-registries = ["docker.io", "quay.io"]
        credential-helpers = ["newer"]
        [[registry]]
        prefix = "docker.io"
        location = "internal.example.com:5000/hub"
        newer = 1
        [[registry.mirror]]
        location = "mirror.example.com/m"
        insecure = true
        newer = 2
        [[registry.mirror]]
        location = "pinned.example.com"
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "docker.io/bad"
        blocked = true
        [[registry]]
        prefix = "*.corp.example"
        insecure = true
        [[registry]]
        location = "only.example"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "fast.example"
        [aliases]
        "fedora" = "registry.fedoraproject.org/fedora"
    "#;

    #[test]
    fn places_in_their_order() {
        let config = parse(FILE, false).unwrap();
        let digest = format!("@sha256:{}", "0".repeat(64));
        for (text, mirrors, expected) in [
            (
                "alpine",
                true,
                "mirror.example.com|m/library/alpine|insecure internal.example.com:5000|hub/library/alpine|",
            ),
            ("alpine", false, "internal.example.com:5000|hub/library/alpine|"),
            (
                &format!("a/b{digest}"),
                true,
                "mirror.example.com|m/a/b|insecure pinned.example.com|a/b| internal.example.com:5000|hub/a/b|",
            ),
            ("bad/x", true, "blocked"),
            ("badx/x", false, "internal.example.com:5000|hub/badx/x|"),
            ("a.b.corp.example/x", true, "a.b.corp.example|x|insecure"),
            ("corp.example/x", true, "corp.example|x|"),
            ("evil.example/a.corp.example/x", true, "evil.example|a.corp.example/x|"),
            ("only.example/x:1", true, "only.example|x|"),
            (&format!("only.example/x{digest}"), true, "fast.example|x| only.example|x|"),
            ("only.example.org/x", true, "only.example.org|x|"),
        ] {
            let told = match config.places(&Reference::parse(text).unwrap(), mirrors) {
                Ok(places) => {
                    let insecure = |p: &Place| if p.insecure { "insecure" } else { "" };
                    let one = |p: &Place| format!("{}|{}|{}", p.registry, p.repository, insecure(p));
                    places.iter().map(one).collect::<Vec<_>>().join(" ")
                }
                Err(error) => error.to_string().find("blocked").map_or(String::new(), |_| "blocked".to_owned()),
            };
            assert_eq!(told, expected, "{text}");
        }
        assert!(config.is_insecure("x.corp.example:5000") && !config.is_insecure("only.example"));
    }

    #[test]
    fn short_names() {
        let config = parse(FILE, false).unwrap();
        let told = |config: &Config, text: &str| {
            config.candidates(text).unwrap().iter().map(Reference::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told(&config, "fedora:40"), "registry.fedoraproject.org/fedora:40");
        assert_eq!(told(&config, "a/b"), "docker.io/a/b:latest quay.io/a/b:latest");
        assert_eq!(told(&config, "localhost/b"), "localhost/b:latest");
        assert_eq!(told(&Config::default(), "b:1"), "docker.io/library/b:1");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, strict, expected) in [
            ("\n\nnewer = 1", true, "line 3: unknown field `newer`"),
            ("[[registry]]\nlocation='a.b'\nmirorr=1", true, "line 3: unknown field `mirorr`"),
            ("[[registry]]\nlocation='a.b'\nmirorr=1", false, ""),
            ("[[registry]]\ninsecure=true", false, "neither a prefix nor a location"),
            ("[[registry]]\nlocation='http://a.b'", false, "without http://"),
            ("[[registry]]\nprefix='*a.b'", true, "must begin with"),
            ("[[registry]]\nprefix='a.b'\ninsecure='yes'", true, "line 3: invalid type"),
            ("a = [", false, "line 1"),
        ] {
            let told = parse(text, strict).err().unwrap_or_default();
            assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{text}: {told}");
        }
    }

    #[test]
    fn ours_over_theirs_and_the_users_over_the_systems() {
        let root = std::env::temp_dir().join(format!("registries-conf-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("etc/containers/registries.conf", "[aliases]\na='one.example/a'\nb='one.example/b'\nc='one.example/c'");
        write("etc/containers/registries.conf.d/10.conf", "[aliases]\nb='two.example/b'\nc='two.example/c'");
        write("etc/containers/registries.conf.d/README", "no toml");
        write("etc/mycontainer/registries.conf", "[aliases]\nc='three.example/c'\nd='three.example/d'");
        write("home/.config/mycontainer/registries.conf", "[aliases]\nd='four.example/d'");
        let environment = Environment::new(&root.join("etc"), [("HOME", root.join("home").to_str().unwrap())]);
        let config = Config::load(&environment).unwrap();
        let hosts: Vec<String> =
            ["a", "b", "c", "d"].iter().map(|n| config.candidates(n).unwrap()[0].registry().to_owned()).collect();
        assert_eq!(hosts, ["one.example", "two.example", "three.example", "four.example"]);
        write("etc/mycontainer/registries.conf", "alias = 1");
        let told = Config::load(&environment).unwrap_err().to_string();
        assert!(told.contains("mycontainer/registries.conf: line 1: unknown field `alias`"), "{told}");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
