//! zstd whose window lies in a file: memory that the kernel can take back. [zstd.h, ZSTD_initStaticDStream; madvise(2)]
//!
//! A decoder must have at hand as much of what it decoded as the one who packed it wished, up to 128 MiB. In a shared
//! mapping of a file that is the page cache's, and no longer this process's as soon as it says so.

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use std::ffi::{CStr, c_void};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

/// A decoder of a stream of frames.
#[derive(Debug)]
pub struct Decoder {
    map: *mut c_void,
    length: usize,
    stream: NonNull<zstd_sys::ZSTD_DStream>,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are done with.
    pub read: usize,
    /// Bytes of the output that were written.
    pub written: usize,
    /// A frame is at its end, and all of it was written.
    pub ended: bool,
}

// SAFETY: the mapping belongs to the value alone, and nothing in it knows of threads.
unsafe impl Send for Decoder {}

impl Decoder {
    /// A decoder for windows of up to `1 << window_log` bytes. `file` is empty and has no name, so that nobody else can
    /// write to it or cut it short.
    pub fn new(file: File, window_log: u32) -> io::Result<Decoder> {
        // SAFETY: this computes with numbers.
        let length = unsafe { zstd_sys::ZSTD_estimateDStreamSize(1 << window_log) };
        reserve(&file, length as u64)?;
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address where nothing is. The file has this length, has its blocks on the disk
        // already, and nobody shortens it: no access to the mapping fails.
        let map = unsafe { mmap(std::ptr::null_mut(), length, rights, MapFlags::SHARED, &file, 0)? };
        // SAFETY: the mapping is ours alone, writable, `length` bytes long, aligned to a page, and stays where it is
        // until drop: the stream in it is used no longer than that.
        let stream = NonNull::new(unsafe { zstd_sys::ZSTD_initStaticDStream(map, length) });
        let made = stream.ok_or_else(|| io::Error::other("it has no room for its window")).and_then(|stream| {
            let parameter = zstd_sys::ZSTD_dParameter::ZSTD_d_windowLogMax;
            // SAFETY: the stream was made just now, and the call changes nothing but it.
            checked(unsafe { zstd_sys::ZSTD_DCtx_setParameter(stream.as_ptr(), parameter, window_log as i32) })?;
            Ok(stream)
        });
        match made {
            Ok(stream) => Ok(Decoder { map, length, stream }),
            Err(error) => {
                // SAFETY: nobody uses the mapping any more.
                let _ = unsafe { munmap(map, length) };
                Err(error)
            }
        }
    }

    /// Decodes some of `input` into `output`.
    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        let mut from = zstd_sys::ZSTD_inBuffer { src: input.as_ptr().cast(), size: input.len(), pos: 0 };
        let mut to = zstd_sys::ZSTD_outBuffer { dst: output.as_mut_ptr().cast(), size: output.len(), pos: 0 };
        // SAFETY: both buffers live until the call returns, with their sizes beside them; of the output the call writes
        // only. The stream is whole, for nobody writes to the mapping but these calls, one after the other.
        let code = unsafe { zstd_sys::ZSTD_decompressStream(self.stream.as_ptr(), &raw mut to, &raw mut from) };
        let left = checked(code)?;
        Ok(Step { read: from.pos, written: to.pos, ended: left == 0 })
    }

    /// Gives the memory back to the page cache. What was in it is found there again.
    pub fn release(&mut self) {
        // SAFETY: the mapping is shared: to forget its pages here takes nothing away from the file, of which the next
        // access has them again. That the kernel may refuse changes nothing.
        let _ = unsafe { madvise(self.map, self.length, Advice::LinuxDontNeed) };
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: it was mapped in `new`, with this length, and the stream in it is not used any more.
        let _ = unsafe { munmap(self.map, self.length) };
    }
}

/// Makes the file this long, with its place on the disk: a mapped page without one ends the process on a full disk.
fn reserve(file: &File, length: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = vec![0; 1 << 20];
            let mut done = 0;
            while done < length {
                let piece = zeros.len().min((length - done) as usize);
                file.write_all_at(&zeros[..piece], done)?;
                done += piece as u64;
            }
            Ok(())
        }
        done => Ok(done?),
    }
}

fn checked(code: usize) -> io::Result<usize> {
    // SAFETY: these take a number, and the name is a constant of the library.
    let name = unsafe {
        if zstd_sys::ZSTD_isError(code) == 0 {
            return Ok(code);
        }
        CStr::from_ptr(zstd_sys::ZSTD_getErrorName(code))
    };
    Err(io::Error::other(name.to_string_lossy()))
}
