//! A configuration of any bytes: read, planned, its filter compiled, its limits and device rules worked out, all that
//! comes before anything is made. No panic, no endless loop, and an error that is told in words.
//!
//! `cargo +nightly fuzz run config fuzz/corpus/config fuzz/seeds/config` (after `mkdir -p fuzz/corpus/config`). The
//! first byte says whether systemd is to make the control group. Texts are JSON, and hardly any change of bytes leaves
//! them so: `-dict=fuzz/config.dict` helps.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((mode, config)) = input.split_first() else { return };
    if let Err(error) = runtime::consider(config, mode & 1 == 1) {
        assert!(!error.to_string().is_empty());
    }
});
