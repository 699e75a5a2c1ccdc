//! From the words of a command to the running program.
//!
//! The program is looked up inside the new root with the new user's rights. A path that leads through a magic link is
//! refused: `/proc/self/exe`, as program or as a script's interpreter, is this very binary on the host, and a container
//! in which it stays running can change it. (CVE-2019-5736) That is a kindness, not the defence: interpreters of
//! interpreters, scripts that this user cannot read and races are not seen here. The defence is that the binary, run
//! inside a container from anything but the sealed clone, ends at once: see [`crate::reaper`].

use crate::error::Error;
use crate::root::Root;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use step::{last_step, step};
use sys::exec::{Strings, execve, execveat};

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The kernel looks no further for the end of a `#!` line.
const LONGEST_SHEBANG: usize = 256;

/// A program that was found and may be executed.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
}

/// Finds the program `name` as execvp would, with `cwd` for relative names.
pub(crate) fn find(name: &str, env: &[String], cwd: &Path) -> Result<Program, Error> {
    step(
        "find-program",
        "before the point of no return",
        || format!("look for {name}"),
        || {
            let root = Root::open_host(Path::new("/"))
                .map_err(|source| Error::Root { what: "open the container's root", source })?;
            if name.contains('/') {
                return check(&root, name, &cwd.join(name), cwd).map_err(|refused| refused.into_error(name, None));
            }
            let path = env.iter().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
            search(&root, name, path, cwd)
        },
    )
}

fn search(root: &Root, name: &str, path: &str, cwd: &Path) -> Result<Program, Error> {
    let mut best = Refused::Missing(Errno::NOENT);
    for dir in path.split(':').filter(|_| !name.is_empty()) {
        match check(root, name, &cwd.join(dir).join(name), cwd) {
            Ok(found) => return Ok(found),
            // A file without the x bit is a better reason than a file that is not there, as in a shell.
            Err(Refused::Missing(_)) => {}
            Err(refused) => best = refused,
        }
    }
    Err(best.into_error(name, Some(path)))
}

enum Refused {
    Missing(Errno),
    NotExecutable(String),
}

impl Refused {
    fn into_error(self, name: &str, path: Option<&str>) -> Error {
        let program = name.to_owned();
        match (self, path) {
            (Refused::Missing(_), Some(path)) => {
                Error::NotFound { program, reason: format!("not found in the container's PATH ({path})") }
            }
            (Refused::Missing(errno), None) => {
                Error::NotFound { program, reason: format!("not found in the container: {errno}") }
            }
            (Refused::NotExecutable(reason), _) => Error::NotExecutable { program, reason },
        }
    }
}

fn check(root: &Root, name: &str, path: &Path, cwd: &Path) -> Result<Program, Refused> {
    let file = open_program(root, path)?;
    let refuse = |errno: Errno| Refused::NotExecutable(errno.to_string());
    let stat = rustix::fs::fstat(&file).map_err(refuse)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Refused::NotExecutable("it is a directory".into())),
        _ => return Err(Refused::NotExecutable("it is not a regular file".into())),
    }
    // Another error (a filter that refuses the question) is no answer: the exec itself decides then.
    let may = sys::exec::may_execute(file.as_fd()).map_err(|e| Errno::from_io_error(&e));
    if may == Err(Some(Errno::ACCESS)) {
        return Err(Refused::NotExecutable("permission denied (it has no x bit for this user)".into()));
    }
    if let Some(interpreter) = interpreter(root, path) {
        // Relative to where the program starts, as the kernel takes it.
        open_program(root, &cwd.join(&interpreter)).map_err(|refused| match refused {
            Refused::Missing(errno) => {
                Refused::NotExecutable(format!("the interpreter {interpreter:?} of {name}: {errno}"))
            }
            other => other,
        })?;
    }
    Ok(Program { path: path.to_owned() })
}

fn open_program(root: &Root, path: &Path) -> Result<OwnedFd, Refused> {
    root.open(path, OFlags::PATH).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => Refused::Missing(errno),
        Errno::LOOP => Refused::NotExecutable("its path leads through too many or magic links".into()),
        other => Refused::NotExecutable(other.to_string()),
    })
}

/// The interpreter that a `#!` line names, if the file has one and can be read by this user.
fn interpreter(root: &Root, path: &Path) -> Option<PathBuf> {
    let file = root.open(path, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
    let mut head = [0u8; LONGEST_SHEBANG];
    let got = rustix::io::read(&file, &mut head).ok()?;
    let line = head[..got].strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let word = line.split(|b| b" \t".contains(b)).find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(word)))
}

/// Becomes the program.
pub(crate) fn exec(program: &Program, args: &[String], env: &[String]) -> Result<Infallible, Error> {
    let name = args.first().map_or("", String::as_str);
    let path = c_string(program.path.as_os_str().as_bytes())?;
    let argv = Strings::new(args.iter().map(|a| c_string(a.as_bytes())).collect::<Result<_, _>>()?);
    let envp = Strings::new(env.iter().map(|e| c_string(e.as_bytes())).collect::<Result<_, _>>()?);
    last_step("exec", "from here on it is the program", || format!("exec {}", program.path.display()));
    let done = execve(&path, &argv, &envp);
    done.map_err(|error| refused_by_kernel(name, &error))
}

/// Becomes our own init, which starts the program as its child. `init` is a read-only clone of this binary.
pub(crate) fn exec_init(
    init: &OwnedFd,
    program: &Program,
    args: &[String],
    env: &[String],
) -> Result<Infallible, Error> {
    let path = c_string(program.path.as_os_str().as_bytes())?;
    let head = [c_string(crate::reaper::NAME.as_bytes())?, path];
    let rest = args.iter().map(|a| c_string(a.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let argv = Strings::new(head.into_iter().chain(rest).collect());
    let envp = Strings::new(env.iter().map(|e| c_string(e.as_bytes())).collect::<Result<_, _>>()?);
    last_step("exec-init", "--init: PID 1 reaps orphans", || format!("exec {}", crate::reaper::NAME));
    let done = execveat(init.as_fd(), c"", &argv, &envp);
    done.map_err(|error| refused_by_kernel(crate::reaper::NAME, &error))
}

fn refused_by_kernel(name: &str, error: &std::io::Error) -> Error {
    let program = name.to_owned();
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => {
            Error::NotFound { program, reason: "its interpreter or dynamic loader is not in the container".into() }
        }
        Some(Errno::NOEXEC) => Error::NotExecutable {
            program,
            reason: "exec format error (not a program of this machine's kind, or a script without a #! line)".into(),
        },
        _ => Error::NotExecutable { program, reason: error.to_string() },
    }
}

fn c_string(bytes: &[u8]) -> Result<CString, Error> {
    CString::new(bytes).map_err(|_| Error::Invalid("a word of the command or environment contains a NUL byte".into()))
}
