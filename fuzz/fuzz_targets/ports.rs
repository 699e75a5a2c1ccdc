//! `--publish` and `--expose` of any text: no panic, and what is understood is understood again as it is written down.
//!
//! `cargo +nightly fuzz run ports fuzz/corpus/ports fuzz/seeds/ports` (after `mkdir -p fuzz/corpus/ports`).

#![no_main]

use engine::{Publish, RunOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(publish) = Publish::parse(text) {
        assert!(*publish.container.start() > 0 && !publish.container.is_empty());
        assert!(publish.host.as_ref().is_none_or(|host| *host.start() > 0 && !host.is_empty()));
        assert_eq!(Publish::parse(&publish.to_string()).as_ref(), Ok(&publish));
    }
    let mut options = RunOptions::default();
    if options.add_exposed(text).is_ok() {
        assert!(!options.expose.is_empty());
    }
});
