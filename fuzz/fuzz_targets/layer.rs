//! Any bytes as a layer's tar, and the image that comes of it, damaged, as a layer to merge: no panic, no endless loop,
//! and an image that was not damaged is taken.
//!
//! `cargo +nightly fuzz run layer fuzz/corpus/layer fuzz/seeds/layer` (after `mkdir -p fuzz/corpus/layer`). The first
//! byte says whether checksums are made right first, and how many bytes of the image are changed; the next 24 where and
//! to what.

#![no_main]

use image::erofs::{Limits, merge, needs_merge, write_layer};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::os::unix::fs::FileExt;

const BLOCK: u64 = 4096;

fn memory() -> File {
    File::from(memfd_create("fuzz", MemfdFlags::CLOEXEC).unwrap())
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let Some((damage, archive)) = rest.split_at_checked(24) else { return };
    let mut archive = archive.to_vec();
    if mode & 1 == 0 {
        for block in archive.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
            block[148..156].copy_from_slice(b"        ");
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    let image = memory();
    let limits = Limits { bytes: 16 << 20, entries: 10_000, names: 4 << 20 };
    let Ok(layer) = write_layer(archive.as_slice(), &image, &limits) else { return };
    assert!(layer.bytes <= limits.bytes && layer.bytes.is_multiple_of(BLOCK));
    assert_eq!(needs_merge(&image).unwrap(), layer.needs_merge);
    merge(&[&image, &image], &memory()).unwrap();
    // Behind the content: there is nothing in it to be believed.
    let metadata = BLOCK + layer.content;
    for change in damage.chunks_exact(3).take(usize::from(mode >> 1) % 9) {
        let at = u64::from(u16::from_le_bytes([change[0], change[1]])) % (layer.bytes - metadata);
        image.write_all_at(&change[2..], metadata + at).unwrap();
    }
    let _ = merge(&[&image, &image], &memory());
});
