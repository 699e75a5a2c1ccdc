//! Rotated files of a log, compressed: `log.json.1.gz` in place of `log.json.1`.
//!
//! A process of its own compresses, so that nothing that is printed waits for it, and only writes: `log.json.gz.new`, which
//! is on disk when it says that it is whole. All names are given by the monitor: it looks what number the file has by then,
//! gives the draft that one, and takes the file away. Until then the file is read as it was. The process ends with the
//! monitor; what is not compressed then is when the container is started next, and the draft goes.
//!
//! One who reads a file that was compressed meanwhile has to know which it is now: so the compressed one says whose text it
//! has, by inode and time of its last change. A number may be used again, but not while the file is open, nor at that time.

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use rustix::fs::{MemfdFlags, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the name of such a file ends with.
pub(super) const ENDING: &str = ".gz";
/// Output that somebody waits for is worth more.
const NICENESS: i32 = 10;

/// Which file of all that there ever were: written into the one that is made of it.
pub(super) fn identity(stat: &Stat) -> String {
    format!("mycontainer {} {}.{:09}", stat.st_ino, stat.st_mtime, stat.st_mtime_nsec)
}

/// The identity of the file that this one was made of. None when it does not say.
pub(super) fn origin(packed: &File) -> Option<String> {
    let origin = GzDecoder::new(packed).header()?.comment().map(<[u8]>::to_vec);
    String::from_utf8(origin?).ok()
}

/// Begins to compress a file. What comes can be read when it is done: a byte if all is in the draft.
pub(super) fn begin(file: OwnedFd, draft: OwnedFd) -> Result<OwnedFd, Errno> {
    // Of a monitor that lives for months there is one at most that has ended.
    sys::detach::reap();
    let (done, tell) = pipe_with(PipeFlags::CLOEXEC)?;
    let work = |kept: Vec<OwnedFd>| {
        // It has ended before this was asked for, or ends this.
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        let _ = rustix::process::nice(NICENESS);
        let mut kept = kept.into_iter();
        if let (Some(file), Some(draft), Some(tell)) = (kept.next(), kept.next(), kept.next())
            && pack(&File::from(file), File::from(draft)).is_ok()
        {
            let _ = rustix::io::write(tell, &[1]);
        }
    };
    let spawned = sys::detach::spawn_detached_with(c"mc-log", vec![file, draft, tell], &[], work);
    spawned.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(done)
}

/// Compresses a file into another, which is on disk then.
pub(super) fn pack(mut file: &File, draft: File) -> std::io::Result<()> {
    let stat = fstat(file)?;
    let time = u32::try_from(stat.st_mtime).unwrap_or_default();
    let mut packing = GzBuilder::new().comment(identity(&stat)).mtime(time).write(draft, Compression::default());
    file.seek(SeekFrom::Start(0))?;
    std::io::copy(&mut file, &mut packing)?;
    packing.finish()?.sync_all()
}

/// The text of a compressed file, in a file without a name, and its size.
pub(super) fn unpack(dir: BorrowedFd<'_>, packed: &File) -> Result<(OwnedFd, u64), Errno> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    // Not every file system has files without a name, and one that is full or read-only has room for none.
    let text = openat(dir, c".", flags, Mode::RUSR | Mode::WUSR)
        .or_else(|_| rustix::fs::memfd_create(c"log", MemfdFlags::CLOEXEC))?;
    let mut text = File::from(text);
    if write_text(packed, &mut text).is_err() {
        // Half a record, so that it is told; what could be read is shown.
        text.write_all(b"?").map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    let size = fstat(&text)?.st_size.cast_unsigned();
    Ok((text.into(), size))
}

fn write_text(mut packed: &File, text: &mut File) -> std::io::Result<()> {
    packed.seek(SeekFrom::Start(0))?;
    let mut block = vec![0; 64 * 1024];
    let mut unpacking = GzDecoder::new(packed);
    loop {
        match unpacking.read(&mut block)? {
            0 => return Ok(()),
            got => text.write_all(&block[..got])?,
        }
    }
}

/// Whether what [`begin`] has given says that all is done.
pub(super) fn is_whole(done: &OwnedFd) -> bool {
    matches!(rustix::io::read(done.as_fd(), &mut [0; 1]), Ok(1))
}
