//! The tar reader on any bytes: no panic, no endless loop, data in order and within what it promised.
//!
//! `cargo +nightly fuzz run tar fuzz/corpus/tar fuzz/seeds/tar` (after `mkdir -p fuzz/corpus/tar`). The first byte says
//! whether checksums are made right first, without which hardly any change to a header gets past them.

#![no_main]

use image::tar::{Kind, NAME_MAX, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((mode, archive)) = input.split_first() else { return };
    let mut archive = archive.to_vec();
    if mode & 1 == 0 {
        for block in archive.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
            block[148..156].copy_from_slice(b"        ");
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    let mut reader = Reader::new(archive.as_slice());
    while let Ok(Some(entry)) = reader.next() {
        assert!(!entry.name.is_empty() && entry.name.len() <= NAME_MAX && !entry.name.contains(&0));
        assert!(entry.mtime.nanoseconds < 1_000_000_000 && entry.mode <= 0o7777);
        let stored = reader.stored();
        let (mut end, mut sum) = (0, 0);
        let read = reader.data(|offset, piece| {
            assert!(offset >= end && !piece.is_empty());
            end = offset + piece.len() as u64;
            sum += piece.len() as u64;
            Ok::<(), image::Fault>(())
        });
        match entry.kind {
            Kind::File { size } => assert!(end <= size && (read.is_err() || sum == stored)),
            _ => assert_eq!((sum, stored), (0, 0)),
        }
    }
});
