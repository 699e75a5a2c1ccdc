//! What the fuzz target for logs looks at.

use super::blocks::{Backward, Forward};
use super::lines::Held;
use super::record::{self, Format};
use super::{Piece, Stream, json, k8s, scan};
use crate::when::Time;
use rustix::fs::{MemfdFlags, memfd_create};
use std::io;
use std::os::fd::AsFd;

fn format(is_k8s: bool) -> Format {
    if is_k8s { Format::K8s } else { Format::Json }
}

/// The texts of a log of any bytes, read forward; and read backward, in the same order.
#[doc(hidden)]
pub fn texts_of_log(log: &[u8], is_k8s: bool) -> io::Result<[Vec<Vec<u8>>; 2]> {
    let file = std::fs::File::from(memfd_create("log", MemfdFlags::CLOEXEC)?);
    io::Write::write_all(&mut &file, log)?;
    let mut text = Vec::new();
    let mut read = |line: &[u8], texts: &mut Vec<Vec<u8>>| {
        if let Some(record) = record::read(format(is_k8s), line, &mut text) {
            let _ = Time::parse(&record.time).map(Time::fixed);
            texts.push(text.clone());
        }
    };
    let (mut forward, mut there, mut back) = (Forward::from(0), Vec::new(), Vec::new());
    while forward.fill(file.as_fd())? {
        while let Some(line) = forward.next() {
            line.into_iter().for_each(|line| read(line, &mut there));
        }
    }
    // Backward the last one is taken also without its newline: as a writer ends it, it has one.
    let end = scan::last_newline(log).map_or(0, |at| at as u64 + 1);
    let mut backward = Backward::new(file.as_fd(), end);
    while let Some((line, _)) = backward.next()? {
        read(line, &mut back);
    }
    back.reverse();
    Ok([there, back])
}

/// What comes out of a log into which these bytes went, so many at a time.
#[doc(hidden)]
pub fn through_log(bytes: &[u8], step: usize, is_k8s: bool) -> Option<Vec<u8>> {
    let (mut held, mut log) = (Held::default(), Vec::new());
    let time = Time::now().fixed();
    let mut give = |text: &[u8], ends| {
        let piece = Piece { stream: Stream::Stderr, text, ends };
        if is_k8s { k8s::frame(&piece, &time, &mut log) } else { json::frame(&piece, b"", &time, &mut log) }
    };
    bytes.chunks(step.max(1)).for_each(|bytes| held.take(bytes, &mut give));
    held.finish(&mut give);
    let (mut text, mut all) = (Vec::new(), Vec::new());
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        record::read(format(is_k8s), line.strip_suffix(b"\n")?, &mut text)?;
        all.append(&mut text);
    }
    Some(all)
}
