//! An archive's bytes on their way to the tar reader: read once, hashed as they are read, decompressed.

use crate::scratch::temporary;
use crate::sniff::{Compression, compression};
use registry::Hasher;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use sys::large_window::Decoder;

/// One read or write of a stream; large, for each costs a system call, and fits the level 2 cache with what is made of
/// it.
pub(crate) const CHUNK: usize = 256 << 10;

/// What `read` is for whoever has a buffer.
pub(crate) fn read_buffered(from: &mut impl BufRead, to: &mut [u8]) -> io::Result<usize> {
    let piece = from.fill_buf()?;
    let length = piece.len().min(to.len());
    to[..length].copy_from_slice(&piece[..length]);
    from.consume(length);
    Ok(length)
}

/// A file that is hashed while it is read, in order, once.
pub(crate) struct Hashed<'a> {
    file: &'a File,
    hasher: Hasher,
    buffer: Box<[u8]>,
    position: usize,
    filled: usize,
}

impl<'a> Hashed<'a> {
    pub(crate) fn new(file: &'a File) -> Hashed<'a> {
        let buffer = vec![0; CHUNK].into_boxed_slice();
        Hashed { file, hasher: Hasher::sha256(), buffer, position: 0, filled: 0 }
    }

    /// Reads what is left, and gives the digest of the whole file: 64 hexadecimal digits.
    pub(crate) fn finish(mut self) -> io::Result<String> {
        loop {
            match self.fill_buf()?.len() {
                0 => break,
                length => self.consume(length),
            }
        }
        Ok(self.hasher.finish().hex().to_owned())
    }

    /// The archive in the file, decompressed as its first bytes say.
    pub(crate) fn archive(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        decoded(self)
    }
}

/// A stream decompressed as its first bytes say, in large pieces.
pub(crate) fn decoded<'a, R: BufRead + 'a>(input: R) -> io::Result<Box<dyn BufRead + 'a>> {
    Ok(match decompressed(input, None)? {
        Decompressed::AsItWas(input) => Box::new(input),
        // A decoder that yields little at a time would cost a write for each piece.
        Decompressed::By(decoder) => Box::new(BufReader::with_capacity(CHUNK, decoder)),
    })
}

/// A stream without its compression.
pub(crate) enum Decompressed<'a, R> {
    /// It had none.
    AsItWas(R),
    /// What a decoder makes of it.
    By(Box<dyn Read + 'a>),
}

/// Takes the compression off that the first bytes of the stream show. (zstd:chunked is plain zstd with a table of its
/// own at the end, in frames that a decoder skips.) With `scratch`, a directory, memory is bounded: what needs much of it
/// at hand has it in a file there.
pub(crate) fn decompressed<'a, R: BufRead + 'a>(
    mut input: R,
    scratch: Option<&Path>,
) -> io::Result<Decompressed<'a, R>> {
    Ok(match compression(input.fill_buf()?) {
        Compression::None => Decompressed::AsItWas(input),
        Compression::Gzip => Decompressed::By(Box::new(Gzip::new(input))),
        Compression::Zstd => Decompressed::By(zstd(input, scratch)?),
    })
}

/// The binary logarithm of what a frame of zstd may want to have at hand of what came before, unless it takes turns:
/// 8 MiB, as much as all decoders must have and nearly all frames want. [RFC 8878, 3.1.1.1.2]
const WINDOW_LOG: u32 = 23;
/// The same, in turns: 32 MiB.
const WINDOW_LOG_IN_TURNS: u32 = 25;
/// The same, in turns and in a file: 128 MiB, which `zstd --ultra -22` and `--long` want. More is refused, as zstd(1)
/// does by itself.
const WINDOW_LOG_MAX: u32 = 27;
/// Whose turn it is to decode what wants a large window: several layers come in at once, and each would have its own.
static TURN: Mutex<()> = Mutex::new(());

fn zstd<'a, R: BufRead + 'a>(mut input: R, scratch: Option<&Path>) -> io::Result<Box<dyn Read + 'a>> {
    let wanted = window(input.fill_buf()?).unwrap_or(1 << WINDOW_LOG_MAX);
    if wanted > 1 << WINDOW_LOG_MAX {
        let (wanted, most) = (wanted >> 20, (1 << WINDOW_LOG_MAX) >> 20);
        let why = format!("a window of {wanted} MiB, and {most} are the most: pack it with `zstd --long=27` or less");
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let turn = (wanted > 1 << WINDOW_LOG).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(scratch) = scratch.filter(|_| wanted > 1 << WINDOW_LOG_IN_TURNS) {
        let decoder = Decoder::new(temporary(scratch)?, WINDOW_LOG_MAX)?;
        return Ok(Box::new(InFile { input, decoder, written: 0, is_in_frame: false, _turn: turn }));
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
    // Frames that follow the first one want no more than that one did.
    let most = match scratch {
        _ if wanted <= 1 << WINDOW_LOG => WINDOW_LOG,
        Some(_) => WINDOW_LOG_IN_TURNS,
        None => WINDOW_LOG_MAX,
    };
    decoder.window_log_max(most)?;
    Ok(Box::new(Zstd { decoder, _turn: turn }))
}

/// A decoder, and the turn that it has if it needs one.
struct Zstd<'a, R: BufRead> {
    decoder: zstd::stream::read::Decoder<'a, R>,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl<R: BufRead> Read for Zstd<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(to)
    }
}

/// A decoder with its window in a file.
struct InFile<R> {
    input: R,
    decoder: Decoder,
    /// Bytes since memory was given back.
    written: usize,
    is_in_frame: bool,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl<R: BufRead> Read for InFile<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        /// So much is decoded between two times that memory is given back.
        const PART: usize = 4 << 20;
        loop {
            let piece = self.input.fill_buf()?;
            let is_end = piece.is_empty();
            if to.is_empty() || is_end && !self.is_in_frame {
                return Ok(0);
            }
            let step = self.decoder.step(piece, to)?;
            self.input.consume(step.read);
            self.is_in_frame = !step.ended;
            self.written += step.written;
            if self.written >= PART {
                self.written = 0;
                self.decoder.release();
            }
            match step.written {
                0 if is_end && self.is_in_frame => return Err(io::ErrorKind::UnexpectedEof.into()),
                0 => {}
                written => return Ok(written),
            }
        }
    }
}

/// How much a frame that begins so wants to have at hand. [RFC 8878, 3.1.1.1]
fn window(start: &[u8]) -> Option<u64> {
    let rest = start.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?;
    let (descriptor, rest) = rest.split_first()?;
    if descriptor & 0x20 == 0 {
        let exponent = u64::from(rest.first()? >> 3);
        let base = 1u64 << (10 + exponent);
        return Some(base + base / 8 * u64::from(rest.first()? & 7));
    }
    // The whole content, whose length follows the dictionary's id.
    let rest = rest.get([0, 1, 2, 4][usize::from(descriptor & 3)]..)?;
    let length = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let bytes = rest.get(..length)?;
    let content = bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Some(if length == 2 { content + 256 } else { content })
}

impl Read for Hashed<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, to)
    }
}

impl BufRead for Hashed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.position == self.filled {
            match self.file.read(&mut self.buffer) {
                Ok(length) => {
                    self.hasher.update(&self.buffer[..length]);
                    (self.position, self.filled) = (0, length);
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.buffer[self.position..self.filled])
    }

    fn consume(&mut self, amount: usize) {
        self.position = self.filled.min(self.position.saturating_add(amount));
    }
}

/// Gzip members one after the other, and zeros after the last, as tapes and block devices leave them.
struct Gzip<R: BufRead> {
    /// `None` once only padding may follow.
    member: Option<flate2::bufread::GzDecoder<R>>,
    padding: Option<R>,
}

impl<R: BufRead> Gzip<R> {
    fn new(input: R) -> Gzip<R> {
        Gzip { member: Some(flate2::bufread::GzDecoder::new(input)), padding: None }
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while let Some(mut member) = self.member.take() {
            let length = match member.read(to) {
                Ok(length) => length,
                Err(error) => {
                    self.member = Some(member);
                    return Err(error);
                }
            };
            if length > 0 || to.is_empty() {
                self.member = Some(member);
                return Ok(length);
            }
            let mut input = member.into_inner();
            match input.fill_buf()? {
                [] => return Ok(0),
                [0, ..] => self.padding = Some(input),
                _ => self.member = Some(flate2::bufread::GzDecoder::new(input)),
            }
        }
        let Some(padding) = &mut self.padding else { return Ok(0) };
        loop {
            let piece = padding.fill_buf()?;
            if piece.is_empty() {
                return Ok(0);
            }
            if piece.iter().any(|byte| *byte != 0) {
                return Err(io::Error::other("something that is not gzip follows its compressed data"));
            }
            let length = piece.len();
            padding.consume(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(bytes: &[u8], log: u32, size: bool) -> Vec<u8> {
        let mut out = zstd::Encoder::new(Vec::new(), 1).unwrap();
        out.window_log(log).unwrap();
        out.include_contentsize(size).unwrap();
        out.set_pledged_src_size(size.then_some(bytes.len() as u64)).unwrap();
        io::Write::write_all(&mut out, bytes).unwrap();
        out.finish().unwrap()
    }

    /// Bytes that do not repeat.
    fn noise(length: usize) -> Vec<u8> {
        (0..length as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 53) as u8).collect()
    }

    #[test]
    fn a_window_in_a_file_decodes_as_one_in_memory() {
        // The second half repeats the first, 40 MiB before it.
        let half = noise(40 << 20);
        let bytes = [&half[..], &half[..]].concat();
        let first = packed(&bytes, 27, false);
        let two = [&first[..], &packed(b"second frame", 10, false)[..]].concat();
        let read = |stream: &[u8]| {
            let mut out = Vec::new();
            let input = BufReader::with_capacity(100_000, stream);
            let Decompressed::By(mut decoder) = decompressed(input, Some(&std::env::temp_dir())).unwrap() else {
                panic!("it is zstd")
            };
            decoder.read_to_end(&mut out).map(|_| out)
        };
        assert!(read(&first).unwrap() == bytes);
        let all = read(&two).unwrap();
        assert!(all.len() == bytes.len() + 12 && all.ends_with(b"second frame"));
        let cut = read(&first[..first.len() - 3]).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        let mut wrong = first.clone();
        wrong.extend(b"no frame");
        assert!(read(&wrong).is_err());
        // Larger than any that is accepted.
        for scratch in [None, Some(std::env::temp_dir())] {
            let huge = packed(&half, 28, false);
            let told = decompressed(&huge[..], scratch.as_deref()).map(drop).unwrap_err().to_string();
            assert_eq!(told, "a window of 256 MiB, and 128 are the most: pack it with `zstd --long=27` or less");
        }
    }

    #[test]
    fn windows_are_told_before_they_are_made() {
        for (bytes, log, size, expected) in [
            (1 << 20, 27, false, Some(1 << 27)),
            (1 << 20, 19, false, Some(1 << 19)),
            (100, 27, true, Some(100)),
            (300, 27, true, Some(300)),
            (100_000, 27, true, Some(100_000)),
        ] {
            assert_eq!(window(&packed(&vec![7; bytes], log, size)), expected, "{bytes} {log} {size}");
        }
        for start in [&b""[..], b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd\xe0", b"\x50\x2a\x4d\x18\0\0\0\0"] {
            assert_eq!(window(start), None);
        }
    }
}
