//! Digests: the names of content. [OCI image-spec, descriptor.md]
//!
//! A [`Digest`] is checked when it is made, so it can become part of a path: lower-case hexadecimal digits of the right
//! number after `sha256:` or `sha512:`, the two algorithms that the specification registers.

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::fmt;
use std::io::{self, Write};

/// The name of some bytes, made from them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Words that are no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest: it must be sha256: and 64 lower-case hexadecimal digits, or sha512: and 128")]
pub struct BadDigest(pub String);

impl Digest {
    /// Checks and takes over a digest as it is written.
    pub fn parse(text: &str) -> Result<Digest, BadDigest> {
        let length = match text.split_once(':') {
            Some(("sha256", hex)) if is_hex(hex) => hex.len() == 64,
            Some(("sha512", hex)) if is_hex(hex) => hex.len() == 128,
            _ => false,
        };
        // What is quoted in a message is cut short: it is somebody else's.
        if length { Ok(Digest(text.to_owned())) } else { Err(BadDigest(text.chars().take(80).collect())) }
    }

    /// A digest of sha256 from its 64 digits.
    pub fn sha256(hex: &str) -> Result<Digest, BadDigest> {
        Digest::parse(&format!("sha256:{hex}"))
    }

    /// The sha256 digest of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::sha256();
        hasher.update(bytes);
        hasher.finish()
    }

    /// `sha256:` and the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// The digits.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The first 12 digits, as people see an id.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// A hasher of this digest's algorithm, to hold content against it.
    pub fn hasher(&self) -> Hasher {
        if self.algorithm() == "sha512" { Hasher(Kind::Sha512(sha2::Sha512::new())) } else { Hasher::sha256() }
    }

    /// True when these bytes have this digest.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish() == *self
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;

    fn try_from(text: String) -> Result<Digest, BadDigest> {
        Digest::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

/// Makes the digest of a stream.
#[derive(Clone, Debug)]
pub struct Hasher(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// Of sha256, in which everything new is named.
    pub fn sha256() -> Hasher {
        Hasher(Kind::Sha256(sha2::Sha256::new()))
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Kind::Sha256(hasher) => hasher.update(bytes),
            Kind::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> Digest {
        let (algorithm, bytes) = match self.0 {
            Kind::Sha256(hasher) => ("sha256:", hasher.finalize().to_vec()),
            Kind::Sha512(hasher) => ("sha512:", hasher.finalize().to_vec()),
        };
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let hex = bytes.iter().flat_map(|b| [HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]).map(char::from);
        Digest(algorithm.chars().chain(hex).collect())
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        let long = Digest::parse(&format!("sha512:{}", "0".repeat(128))).unwrap();
        assert_eq!((long.algorithm(), long.hasher().finish().hex().len()), ("sha512", 128));
        assert!(Digest::parse(empty).unwrap().is_of(b"") && !Digest::parse(empty).unwrap().is_of(b"x"));
        assert_eq!(Digest::parse(empty).unwrap().short(), "e3b0c44298fc");
    }

    #[test]
    fn what_could_be_a_path_is_no_digest() {
        let hex = "0123456789abcdef".repeat(4);
        for bad in [
            hex.clone(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            format!("sha512:{hex}"),
            format!("md5:{hex}"),
            format!("sha256:../{}", &hex[3..]),
            format!("sha256:{hex}\n"),
            String::new(),
        ] {
            assert!(Digest::parse(&bad).is_err(), "{bad:?}");
        }
    }
}
