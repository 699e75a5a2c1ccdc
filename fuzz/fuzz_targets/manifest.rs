//! Manifests, indexes, configurations and references of any bytes: no panic; what is read can be written and read again
//! as the same; what is chosen is in the index.
//!
//! `cargo +nightly fuzz run manifest fuzz/corpus/manifest fuzz/seeds/manifest`. The first byte says what media type the
//! registry claims.

#![no_main]

use image::ImageConfig;
use libfuzzer_sys::fuzz_target;
use registry::{Digest, Manifest, Platform, Reference, media};

fuzz_target!(|input: &[u8]| {
    let Some((mode, bytes)) = input.split_first() else { return };
    let claimed = media::MANIFESTS.get(usize::from(*mode)).copied().unwrap_or_default();
    match Manifest::parse(bytes, claimed) {
        Ok(Manifest::Image(image)) => {
            let again = serde_json::to_vec(&image).expect("it was read");
            let kind = image.media_type.clone().unwrap_or_default();
            assert_eq!(Manifest::parse(&again, &kind).expect("it was read"), Manifest::Image(image));
        }
        Ok(Manifest::Index(index)) => {
            for platform in [Platform::here(), Platform::parse("linux/arm/v7").expect("a platform")] {
                let chosen = index.choose(&platform);
                assert!(chosen.is_none_or(|chosen| index.manifests.contains(chosen)));
            }
        }
        Err(error) => drop(error.to_string()),
    }
    if let Ok(config) = ImageConfig::parse(bytes) {
        let again = serde_json::to_vec(&config).expect("it was read");
        assert_eq!(ImageConfig::parse(&again).expect("it was written by us"), config);
        let layers = config.rootfs.diff_ids.len();
        assert_eq!(config.chain_id(layers).is_some(), layers > 0);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(reference) = Reference::parse(text) {
            assert_eq!(Reference::parse(&reference.to_string()).as_ref(), Ok(&reference), "{text:?}");
            assert_eq!(Reference::parse(&reference.familiar()).as_ref(), Ok(&reference), "{text:?}");
        }
        if let Ok(platform) = Platform::parse(text) {
            assert_eq!(Platform::parse(&platform.to_string()), Ok(platform));
        }
        if let Ok(digest) = Digest::parse(text) {
            assert!(!digest.hex().contains(['/', '.']) && digest.short().len() == 12);
        }
    }
});
