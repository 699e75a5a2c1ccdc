//! References: the names of images, read as Docker reads them. [distribution/reference: regexp.go, normalize.go]
//!
//! ```text
//! reference  [registry "/"] repository [":" tag] ["@" digest]
//! registry   host [":" port]       repository  component ["/" component]...       at most 255 characters
//! component  [a-z0-9]+ ((. | _ | __ | -...) [a-z0-9]+)...                          tag  [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}
//! ```
//!
//! What stands before the first `/` is a registry when it could be nothing else: it has a `.` or a `:`, or is
//! `localhost`, or has capitals. All else is Docker Hub's, and a name of one component is in its `library/`. A
//! [`Reference`] is checked when it is made: no part of it can be `..` or hold a control character or a space.

use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Docker Hub, as it stands in references.
pub const DOCKER_HUB: &str = "docker.io";
const LIBRARY: &str = "library/";
const LATEST: &str = "latest";
const REPOSITORY_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// The name of an image: whole, whatever was left out when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why some words are no reference. Docker's words, where it has some: scripts look for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BadReference {
    #[error("invalid reference format: {0:?} is not [REGISTRY/]NAME[:TAG][@DIGEST]")]
    Format(String),
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Upper(String),
    #[error("invalid reference format: {0:?} is not a registry: it must be HOST or HOST:PORT")]
    Registry(String),
    #[error(
        "invalid reference format: {0:?} is not a tag: it must have 1 to {TAG_MAX} letters, digits, _, . and -, and begin with none of the last two"
    )]
    Tag(String),
    #[error("invalid reference format: {0}")]
    Digest(#[from] crate::digest::BadDigest),
    #[error("repository name must not be more than {REPOSITORY_MAX} characters")]
    TooLong,
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
}

impl Reference {
    /// Reads a reference as a person writes it: `alpine` is `docker.io/library/alpine:latest`.
    pub fn parse(text: &str) -> Result<Reference, BadReference> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(BadReference::Identifier(text.to_owned()));
        }
        let (registry, rest) = split_registry(text).unwrap_or((DOCKER_HUB, text));
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest)?)),
            None => (rest, None),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
        let official = registry == DOCKER_HUB && !repository.contains('/') && !repository.is_empty();
        let repository = if official { format!("{LIBRARY}{repository}") } else { repository.to_owned() };
        check_registry(registry)?;
        check_repository(&repository, text)?;
        tag.map_or(Ok(()), check_tag)?;
        // What is named by its digest needs no tag, and `latest` could be another image.
        let tag = tag.or(if digest.is_none() { Some(LATEST) } else { None }).map(str::to_owned);
        Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
    }

    /// True when the words name no registry, so that a configuration may say where to look.
    pub fn is_short(text: &str) -> bool {
        split_registry(text).is_none()
    }

    /// The registry as it is written: `docker.io`, `localhost:5000`. Where it is reached is for
    /// [`Registries`](crate::Registries) to say.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in the registry: `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` when neither it nor a digest was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository: `docker.io/library/alpine`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Registry and repository as Docker prints them: `alpine`, `user/app`, `localhost:5000/app`.
    pub fn familiar_name(&self) -> String {
        let short = match self.repository.strip_prefix(LIBRARY) {
            Some(name) if !name.contains('/') => name,
            _ => &self.repository,
        };
        // Of `docker.io/docker.io/x` Docker prints what it would read as another image.
        if self.registry != DOCKER_HUB || !Reference::is_short(short) { self.name() } else { short.to_owned() }
    }

    /// The whole as Docker prints it: `alpine:latest`.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    /// The same repository, this tag, and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, BadReference> {
        check_tag(tag)?;
        Ok(Reference { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository, this digest, and no tag.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// What a registry is asked for: the digest, or else the tag.
    pub fn object(&self) -> &str {
        self.digest.as_ref().map(Digest::as_str).or(self.tag.as_deref()).unwrap_or(LATEST)
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        tag + &digest
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, self.suffix())
    }
}

impl std::str::FromStr for Reference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Reference, BadReference> {
        Reference::parse(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = BadReference;

    fn try_from(text: String) -> Result<Reference, BadReference> {
        Reference::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

/// Registry and the rest, when the first component is a registry.
fn split_registry(text: &str) -> Option<(&str, &str)> {
    let (first, rest) = text.split_once('/')?;
    let registry = first == "localhost" || first.contains(['.', ':']) || first.chars().any(char::is_uppercase);
    registry.then_some((first, rest))
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(crate) fn check_registry(registry: &str) -> Result<(), BadReference> {
    let bad = || BadReference::Registry(cut(registry));
    let (host_is_good, port) = match registry.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(None) => return Err(bad()),
        Some(Some((v6, port))) => {
            let good = !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            (good, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(bad)?) })
        }
        None => {
            let (host, port) = registry.split_once(':').map_or((registry, None), |(host, port)| (host, Some(port)));
            (host.split('.').all(is_label), port)
        }
    };
    let port_is_good = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    if host_is_good && port_is_good { Ok(()) } else { Err(bad()) }
}

fn is_label(label: &str) -> bool {
    let inside = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    inside && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
}

fn check_repository(repository: &str, text: &str) -> Result<(), BadReference> {
    if repository.chars().any(char::is_uppercase) {
        return Err(BadReference::Upper(cut(repository)));
    }
    if !repository.split('/').all(is_component) {
        return Err(BadReference::Format(cut(text)));
    }
    if repository.len() > REPOSITORY_MAX { Err(BadReference::TooLong) } else { Ok(()) }
}

/// Runs of letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_component(component: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |s: &str| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-');
    component.starts_with(plain) && component.ends_with(plain) && component.split(plain).all(separator)
}

fn check_tag(tag: &str) -> Result<(), BadReference> {
    let inside = tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    let good = inside && !tag.is_empty() && tag.len() <= TAG_MAX && !tag.starts_with(['.', '-']);
    if good { Ok(()) } else { Err(BadReference::Tag(cut(tag))) }
}

/// What is quoted in a message is cut short: it is somebody else's.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:86e0e091d0da6bde2456dbb48306f3956bbeb2eae1b5b9a43045843f69fe4aaa";

    /// The cases of distribution/reference's own tests (normalize_test.go, reference_test.go) and of the brief.
    #[test]
    fn references_as_docker_reads_them() {
        let at = |text: &str| text.replace("@D", &format!("@{D}"));
        for (text, whole, familiar) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("user/app:tag", "docker.io/user/app:tag", "user/app:tag"),
            ("host:5000/a/b@D", "host:5000/a/b@D", "host:5000/a/b@D"),
            ("name:tag@D", "docker.io/library/name:tag@D", "name:tag@D"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            ("[2001:db8::1]/repo:tag", "[2001:db8::1]/repo:tag", "[2001:db8::1]/repo:tag"),
            ("index.docker.io/public/moonbase", "docker.io/public/moonbase:latest", "public/moonbase:latest"),
            ("index.docker.io/moonbase", "docker.io/library/moonbase:latest", "moonbase:latest"),
            ("docker.io/library/fooo/bar", "docker.io/library/fooo/bar:latest", "library/fooo/bar:latest"),
            ("library/foo", "docker.io/library/foo:latest", "foo:latest"),
            ("docker/docker", "docker.io/docker/docker:latest", "docker/docker:latest"),
            ("127.0.0.1:8000/privatebase", "127.0.0.1:8000/privatebase:latest", "127.0.0.1:8000/privatebase:latest"),
            ("example.com/foo--bar", "example.com/foo--bar:latest", "example.com/foo--bar:latest"),
            ("test.com:8080/foo:8080", "test.com:8080/foo:8080", "test.com:8080/foo:8080"),
            ("test_com/foo", "docker.io/test_com/foo:latest", "test_com/foo:latest"),
            ("lowercase:Uppercase", "docker.io/library/lowercase:Uppercase", "lowercase:Uppercase"),
            ("Uppercase/lowercase", "Uppercase/lowercase:latest", "Uppercase/lowercase:latest"),
            ("xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com/myimage:xn--n3h.com"),
            ("foo_bar.com:8080/a__b/c-d", "", ""),
            ("foo/foo_bar.com:8080", "docker.io/foo/foo_bar.com:8080", "foo/foo_bar.com:8080"),
            ("aa/asdf$$^/aa", "", ""),
            (
                "b.gcr.io/test.example.com/my-app",
                "b.gcr.io/test.example.com/my-app:latest",
                "b.gcr.io/test.example.com/my-app:latest",
            ),
            ("192.168.1.1", "docker.io/library/192.168.1.1:latest", "192.168.1.1:latest"),
            ("192.168.1.1:tag", "docker.io/library/192.168.1.1:tag", "192.168.1.1:tag"),
            ("192.168.1.1:5000/repo@D", "192.168.1.1:5000/repo@D", "192.168.1.1:5000/repo@D"),
        ] {
            let read = Reference::parse(&at(text)).ok();
            let got = read.as_ref().map(|r| (r.to_string(), r.familiar())).unwrap_or_default();
            assert_eq!(got, (at(whole), at(familiar)), "{text}");
            // What is printed means the same when it is read again.
            if let Some(read) = read {
                assert_eq!(Reference::parse(&read.to_string()), Ok(read.clone()), "{text}");
                assert_eq!(Reference::parse(&read.familiar()), Ok(read), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_reference() {
        let long = "a/".repeat(128) + "a";
        let tag = format!("a:{}", "t".repeat(129));
        for (text, expected) in [
            ("", "invalid reference format"),
            (":justtag", "invalid reference format"),
            ("@sha256:ffff", "not a digest"),
            ("repo@sha256:ffff", "not a digest"),
            ("repo@", "not a digest"),
            ("repo:", "not a tag"),
            ("repo:-x", "not a tag"),
            (&tag, "not a tag"),
            ("Alpine", "repository name (library/Alpine) must be lowercase"),
            ("Uppercase:tag", "must be lowercase"),
            ("test:5000/Uppercase/lowercase:tag", "must be lowercase"),
            (&long, "must not be more than 255"),
            ("aa/", "invalid reference format"),
            ("a//b", "invalid reference format"),
            ("docker.io/", "invalid reference format"),
            ("-foo/bar", "invalid reference format"),
            ("foo/bar-", "invalid reference format"),
            ("foo/a___b", "invalid reference format"),
            ("foo/a..b", "invalid reference format"),
            ("../x", "not a registry"),
            ("localhost/../x", "invalid reference format"),
            ("-host.com/a", "not a registry"),
            ("host:/a", "not a registry"),
            ("host:1x/a", "not a registry"),
            ("[::1/a", "not a registry"),
            ("[fe80::1%eth0]:5000/repo", "not a registry"),
            ("a b", "invalid reference format"),
            ("https://github.com/docker/docker", "not a registry"),
            ("docker///docker", "invalid reference format"),
            ("Docker/docker/Upper", "must be lowercase"),
            ("1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a", "64-byte hexadecimal"),
        ] {
            let told = Reference::parse(text).expect_err(text).to_string();
            assert!(told.contains(expected), "{text}: {told}");
        }
    }

    #[test]
    fn tags_and_digests_are_exchanged() {
        let read = Reference::parse("alpine:3").unwrap();
        assert_eq!(read.with_tag("4").unwrap().familiar(), "alpine:4");
        assert!(read.with_tag("a/b").is_err());
        let pinned = read.with_digest(Digest::parse(D).unwrap());
        assert_eq!((pinned.object(), pinned.familiar()), (D, format!("alpine@{D}")));
        assert_eq!((read.object(), read.name().as_str()), ("3", "docker.io/library/alpine"));
        assert!(Reference::is_short("user/app") && !Reference::is_short("localhost/app"));
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), read);
        assert!(serde_json::from_str::<Reference>("\"../x\"").is_err());
    }

    /// Whatever the bytes: no panic, and what is accepted prints as what is accepted again.
    #[test]
    fn any_words_at_all() {
        const PARTS: [&str; 20] = [
            "a",
            "Z",
            "9",
            "/",
            ":",
            "@",
            ".",
            "_",
            "-",
            "[",
            "]",
            "sha256:",
            "localhost",
            "docker.io",
            "é",
            "\0",
            " ",
            "%",
            "library",
            D,
        ];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        let mut accepted = 0;
        for _ in 0..200_000 {
            let text: String = (0..next() % 9).map(|_| PARTS[next() % PARTS.len()]).collect();
            if let Ok(read) = Reference::parse(&text) {
                accepted += 1;
                assert_eq!(Reference::parse(&read.to_string()), Ok(read.clone()), "{text:?}");
                assert_eq!(Reference::parse(&read.familiar()), Ok(read.clone()), "{text:?}");
                assert!(read.to_string().split(['/', ':', '@']).all(|part| part != ".."), "{text:?}");
            }
        }
        assert!(accepted > 1000, "only {accepted} were references");
    }
}
