//! A container's log of any bytes: no panic, no endless loop, and read backward, as `logs --tail` does, it says what it
//! says forward. And any bytes as a container's output: what comes out of the log is what went in, in both formats.
//!
//! `cargo +nightly fuzz run log fuzz/corpus/log fuzz/seeds/log` (after `mkdir -p fuzz/corpus/log`). The lowest bit of the
//! first byte says which format it has, the others how the output is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((mode, bytes)) = input.split_first() else { return };
    let is_k8s = mode & 1 == 1;
    let [forward, backward] = engine::texts_of_log(bytes, is_k8s).expect("there is memory for a file");
    assert_eq!(forward, backward);
    assert_eq!(engine::through_log(bytes, usize::from(mode >> 1), is_k8s).as_deref(), Some(bytes));
});
