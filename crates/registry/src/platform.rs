//! Platforms: for which machines an image is. [OCI image-spec, image-index.md]

use serde::{Deserialize, Serialize};
use std::fmt;

/// Operating system, processor and variant, in Go's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `amd64`, `arm64` ...
    #[serde(default)]
    pub architecture: String,
    /// `v7`, `v8` ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Version of the operating system; of Windows only.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

/// Words that are no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform: write OS/ARCH or OS/ARCH/VARIANT, as linux/amd64 or linux/arm/v7")]
pub struct BadPlatform(pub String);

impl Platform {
    /// This machine's.
    pub fn here() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            "powerpc64" => ("ppc64", None),
            other => (other, None),
        };
        Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.map(str::to_owned),
            os_version: None,
        }
    }

    /// `OS/ARCH[/VARIANT]`, or `ARCH` alone as Docker takes it; other names of a processor (x86_64, aarch64) become Go's.
    pub fn parse(text: &str) -> Result<Platform, BadPlatform> {
        let bad = || BadPlatform(text.chars().take(80).collect());
        let parts: Vec<String> = text.split('/').map(str::to_ascii_lowercase).collect();
        let plain = |p: &String| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if !parts.iter().all(plain) {
            return Err(bad());
        }
        let (os, architecture, variant) = match parts.as_slice() {
            [architecture] if architecture != "linux" => ("linux", architecture.as_str(), None),
            [os, architecture] => (os.as_str(), architecture.as_str(), None),
            [os, architecture, variant] => (os.as_str(), architecture.as_str(), Some(variant.clone())),
            _ => return Err(bad()),
        };
        let (architecture, implied) = match architecture {
            "x86_64" | "x86-64" => ("amd64", None),
            "i386" | "i686" => ("386", None),
            "aarch64" => ("arm64", None),
            "armhf" => ("arm", Some("v7")),
            "armel" => ("arm", Some("v6")),
            known => (known, None),
        };
        let variant = variant.or(implied.map(str::to_owned));
        Ok(Platform { os: os.into(), architecture: architecture.into(), variant, os_version: None })
    }

    /// How well an image for `offered` serves who wants this platform: `None` not at all, and less is better.
    /// A machine runs the variants below its own, and what names no variant.
    pub fn fit(&self, offered: &Platform) -> Option<u32> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        // What needs no saying: every arm64 is v8, and an arm without a variant means v7. [containerd/platforms]
        let default = match self.architecture.as_str() {
            "arm64" => 8,
            "arm" => 7,
            _ => 0,
        };
        let number = |variant: &Option<String>| match variant.as_deref() {
            None | Some("") => Some(default),
            Some(variant) => variant.strip_prefix('v').and_then(|digits| digits.parse::<u32>().ok()),
        };
        match (number(&self.variant), number(&offered.variant)) {
            (Some(wanted), Some(offered)) => wanted.checked_sub(offered),
            _ => (self.variant == offered.variant).then_some(0),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_variant_fits_best() {
        let fit =
            |wanted: &str, offered: &str| Platform::parse(wanted).unwrap().fit(&Platform::parse(offered).unwrap());
        for (wanted, offered, expected) in [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("x86_64", "linux/amd64", Some(0)),
            ("linux/amd64", "linux/amd64/v2", None),
            ("linux/amd64/v3", "linux/amd64/v2", Some(1)),
            ("linux/amd64", "linux/arm64", None),
            ("linux/amd64", "windows/amd64", None),
            ("linux/arm64", "linux/arm64/v8", Some(0)),
            ("linux/arm/v7", "linux/arm/v6", Some(1)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/arm", "linux/arm/v7", Some(0)),
        ] {
            assert_eq!(fit(wanted, offered), expected, "{wanted} of {offered}");
        }
    }

    #[test]
    fn what_is_no_platform() {
        for bad in ["", "/", "linux", "linux/", "a/b/c/d", "linux/amd 64"] {
            assert!(Platform::parse(bad).is_err(), "{bad:?}");
        }
    }
}
