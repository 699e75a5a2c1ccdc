//! Packets of any bytes, as a client's and as an answer from upstream: no panic, what is answered or sent on is a whole
//! message of the client's id that fits, and what is sent on is understood as the same again.
//!
//! `cargo +nightly fuzz run names fuzz/corpus/names fuzz/seeds/names` (after `mkdir -p fuzz/corpus/names`). The first byte
//! says which of several containers is told first, and how long the client's packet is, if an answer follows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use names::fuzzing::Sample;

thread_local! {
    static SAMPLE: Sample = Sample::default();
}

fuzz_target!(|input: &[u8]| {
    if let Some((mode, bytes)) = input.split_first() {
        SAMPLE.with(|sample| sample.check(*mode, bytes));
    }
});
