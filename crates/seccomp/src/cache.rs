//! Compiled programs on disk, so that a section is compiled once.
//!
//! A program out of this cache becomes a container's filter, so whoever can write to it can take the filter away. It is
//! trusted only if nobody else can:
//! - the directory is one (no symbolic link), belongs to the effective user, and neither group nor others may write;
//! - its parent belongs to root or that user, and if everybody may write there, nobody may move others' files (sticky);
//! - a file is a regular one (no symbolic link), belongs to the effective user, and neither group nor others may write.
//!
//! All is looked at by descriptor, after opening. Anything amiss, an I/O error included, means to compile anew and is
//! never an error: the cache can always be deleted.
//!
//! On disk: one directory, mode 0700; one file a program, named by the SHA-256 of this compiler's name (its version and
//! sources), the native ABI and the section's bytes. In a file: 4 bytes of flags and 4 of zero, 32 of SHA-256 over the
//! file's name and all else in it, then the instructions, numbers little-endian. Written to `NAME.PID.TIME` and renamed,
//! without fsync: what a crash tears has the wrong sum. Before a write the oldest files beyond [`MAX_FILES`] are removed,
//! what a killed writer left among them.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::instruction::MAX_INSTRUCTIONS;
use crate::{Arch, Error, Instruction, Program};

/// How many files there may be: a host has few profiles, with a few sets of capabilities each.
pub const MAX_FILES: usize = 64;

/// This compiler: changes with the crate's version and with any of its sources, the table included.
const COMPILER: &str = env!("SECCOMP_COMPILER");

/// Flags and zero.
const HEAD: usize = 8;
const SUM: usize = 32;
const LONGEST: usize = HEAD + SUM + MAX_INSTRUCTIONS * Instruction::SIZE;

/// As whom the kernel shows users that a user namespace does not map: then owners cannot be told apart.
const NOBODY: u32 = 65534;

/// A directory of programs that only this user can write to.
#[derive(Debug)]
pub struct Cache {
    directory: OwnedFd,
    user: u32,
}

impl Cache {
    /// Opens the directory `path`, or makes it in its parent; `None` if it cannot be, or is not to be trusted.
    pub fn open(path: &Path) -> Option<Cache> {
        let user = rustix::process::geteuid().as_raw();
        if user == NOBODY {
            return None;
        }
        let name = path.file_name()?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::open(parent, flags | OFlags::PATH, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&parent).ok()?;
        let everybody = Mode::WOTH.bits() & stat.st_mode != 0 && Mode::SVTX.bits() & stat.st_mode == 0;
        if everybody || ![0, user].contains(&stat.st_uid) {
            return None;
        }
        let open = || rustix::fs::openat(&parent, name, flags | OFlags::NOFOLLOW, Mode::empty());
        let directory = match open() {
            Err(Errno::NOENT) => match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
                // Somebody else was faster, and is looked at below.
                Ok(()) | Err(Errno::EXIST) => open().ok()?,
                Err(_) => return None,
            },
            opened => opened.ok()?,
        };
        let stat = rustix::fs::fstat(&directory).ok()?;
        is_ours(&stat, FileType::Directory, user).then_some(Cache { directory, user })
    }

    /// The program for the section whose JSON is `section`, on a machine whose own ABI is `native`: from the cache, or
    /// by `compile`, whose program is kept and whose error is not.
    pub fn program(
        &self,
        section: &[u8],
        native: Arch,
        compile: impl FnOnce() -> Result<Program, Error>,
    ) -> Result<Program, Error> {
        let name = name(section, native);
        if let Some(program) = self.read(&name) {
            return Ok(program);
        }
        let program = compile()?;
        // Without the file the next start compiles too.
        let _ = self.write(&name, &program);
        Ok(program)
    }

    fn read(&self, name: &str) -> Option<Program> {
        // Not to wait for a writer, should it be a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        let length = usize::try_from(stat.st_size).ok().filter(|length| *length <= LONGEST)?;
        if !is_ours(&stat, FileType::RegularFile, self.user) {
            return None;
        }
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match rustix::io::read(&file, &mut bytes[filled..]).ok()? {
                0 => return None,
                read => filled += read,
            }
        }
        decode(name, &bytes)
    }

    fn write(&self, name: &str, program: &Program) -> Result<(), Errno> {
        self.make_room()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let temporary = format!("{name}.{}.{now}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
        let renamed = write_all(&file, &encode(name, program))
            .and_then(|()| rustix::fs::renameat(&self.directory, &temporary, &self.directory, name));
        if renamed.is_err() {
            let _ = rustix::fs::unlinkat(&self.directory, &temporary, AtFlags::empty());
        }
        renamed
    }

    /// Removes the oldest files until one more may come.
    fn make_room(&self) -> Result<(), Errno> {
        let mut files: Vec<(i128, i128, OsString)> = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.directory)? {
            let entry = entry?;
            let Ok(stat) = rustix::fs::statat(&self.directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                use std::os::unix::ffi::OsStringExt;
                let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
                files.push((stat.st_mtime.into(), stat.st_mtime_nsec.into(), name));
            }
        }
        files.sort();
        for (_, _, name) in files.iter().take((files.len() + 1).saturating_sub(MAX_FILES)) {
            let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
        }
        Ok(())
    }
}

/// Whether only `user` can have written it.
fn is_ours(stat: &Stat, kind: FileType, user: u32) -> bool {
    let by_others = (Mode::WGRP | Mode::WOTH).bits();
    FileType::from_raw_mode(stat.st_mode) == kind && stat.st_uid == user && stat.st_mode & by_others == 0
}

/// A file's name. What is hashed has its length before it, or is of fixed length: no two inputs look alike.
fn name(section: &[u8], native: Arch) -> String {
    let mut hash = Sha256::new();
    hash.update((COMPILER.len() as u64).to_le_bytes());
    hash.update(COMPILER);
    // x32 shares its token with x86-64.
    hash.update((native.to_oci() as u32).to_le_bytes());
    hash.update(section);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sum(name: &str, head: &[u8], instructions: &[u8]) -> [u8; SUM] {
    Sha256::new().chain_update(name).chain_update(head).chain_update(instructions).finalize().into()
}

fn encode(name: &str, program: &Program) -> Vec<u8> {
    let head = u64::from(program.flags).to_le_bytes();
    let instructions = program.to_bytes();
    [&head[..], &sum(name, &head, &instructions), &instructions].concat()
}

fn decode(name: &str, bytes: &[u8]) -> Option<Program> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let (stored, instructions) = rest.split_first_chunk::<SUM>()?;
    if *stored != sum(name, head, instructions) {
        return None;
    }
    let flags = u32::try_from(u64::from_le_bytes(*head)).ok()?;
    Program::from_bytes(instructions, flags).ok()
}

fn write_all(file: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = rustix::io::write(&file, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}
