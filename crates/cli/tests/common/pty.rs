//! A terminal for the tests: a pseudo terminal whose near side the test holds, as a terminal emulator does, with a
//! shell as the session's leader that runs the tool as a foreground job, as a person's shell does.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{InputModes, LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: these machines are busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the leader does: the words as a foreground job, then its status; then it keeps the terminal open.
const LEADER: &str = r#"set -m; "$@"; echo "[status=$?]"; read -r _"#;

/// A terminal and the session on it.
pub struct Session {
    master: Option<OwnedFd>,
    leader: Child,
    seen: Vec<u8>,
    // Up to here `expect` has looked.
    at: usize,
}

impl Session {
    /// Runs `tool run --rm WORDS...` on a new terminal of 24 rows and 80 columns.
    pub fn run(words: &[&str]) -> Session {
        Session::run_with(words, (24, 80), "")
    }

    /// As [`Session::run`], with a size, and with shell text such as `</dev/null` or `| cat` after the words.
    pub fn run_with(words: &[&str], size: (u16, u16), after: &str) -> Session {
        Session::of(&[&[super::tool(), "run", "--rm"], words].concat(), size, after)
    }

    /// As [`Session::run_with`], of another program.
    pub fn of(words: &[&str], (rows, columns): (u16, u16), after: &str) -> Session {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        set_size(&master, rows, columns);
        let name = PathBuf::from(ptsname(&master, Vec::new()).unwrap().into_string().unwrap());
        super::give(&name);
        // O_NOCTTY, or the terminal becomes the test's own.
        let far = || OpenOptions::new().read(true).write(true).custom_flags(0o400).open(&name).unwrap();
        let script = LEADER.replacen(r#""$@""#, &format!(r#""$@" {after}"#), 1);
        // A terminal's shell starts with SIGHUP as it is by default, also when the tests were started by nohup.
        let leader = Command::new("env")
            .args(["--default-signal=HUP", "setsid", "--ctty", "sh", "-c", &script, "leader"])
            .args(words)
            .stdin(Stdio::from(far()))
            .stdout(Stdio::from(far()))
            .stderr(Stdio::from(far()))
            .spawn()
            .expect("setsid of util-linux is installed");
        Session { master: Some(master), leader, seen: Vec::new(), at: 0 }
    }

    /// The process id of the tool: the leader's child.
    pub fn tool(&self) -> i32 {
        let leader = self.leader.id();
        let path = format!("/proc/{leader}/task/{leader}/children");
        wait_for("the tool to be started", || {
            std::fs::read_to_string(&path).ok()?.split_whitespace().next()?.parse().ok()
        })
    }

    /// The leader's process id.
    pub fn leader(&self) -> i32 {
        self.leader.id() as i32
    }

    /// Types. What is printed meanwhile is read, so that neither side waits for the other.
    pub fn send(&mut self, text: impl AsRef<[u8]>) {
        let mut rest = text.as_ref();
        let end = Instant::now() + PATIENCE;
        while !rest.is_empty() {
            assert!(Instant::now() < end, "nobody reads what is typed");
            let ready = self.wait(PollFlags::IN | PollFlags::OUT, Duration::from_secs(1));
            if ready.contains(PollFlags::IN) {
                self.read();
            }
            if ready.contains(PollFlags::OUT) {
                // Small, for the far side's line discipline holds 4 KiB and a larger write would block.
                let some = &rest[..rest.len().min(256)];
                rest = &rest[rustix::io::write(self.master.as_ref().unwrap(), some).unwrap()..];
            }
        }
    }

    /// Waits until `text` was printed after what was expected before; returns what came up to and with it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        // What was looked through is not looked through again: a flood is read in a thousand parts.
        let mut looked = self.at;
        loop {
            let found = self.seen[looked..].windows(text.len()).position(|part| part == text.as_bytes());
            if let Some(found) = found {
                let from = self.at;
                self.at = looked + found + text.len();
                return String::from_utf8_lossy(&self.seen[from..self.at]).into_owned();
            }
            looked = self.at.max((self.seen.len() + 1).saturating_sub(text.len()));
            let left = end.saturating_duration_since(Instant::now());
            let ready = self.wait(PollFlags::IN, left).intersects(PollFlags::IN | PollFlags::HUP);
            let closed = ready && !self.read();
            if closed || left.is_zero() {
                let instead = String::from_utf8_lossy(&self.seen[self.at..]);
                panic!("{text:?} was not printed (closed: {closed}), but {instead:?}");
            }
        }
    }

    /// The tool's exit status, as the leader's shell tells it.
    pub fn status(&mut self) -> i32 {
        self.expect("[status=");
        let text = self.expect("]");
        text.trim_end_matches(']').parse().unwrap()
    }

    /// Everything printed so far.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Changes the window's size; the kernel tells the foreground job with SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(self.master.as_ref().unwrap(), rows, columns);
    }

    /// Whether keys are passed on as they are: no echo, no lines, no signals.
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(self.master.as_ref().unwrap()).unwrap();
        let cooked = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        !modes.local_modes.intersects(cooked) && !modes.input_modes.contains(InputModes::ICRNL)
    }

    /// Whether it is as it was at the beginning: echo, lines, signals.
    pub fn is_cooked(&self) -> bool {
        let modes = tcgetattr(self.master.as_ref().unwrap()).unwrap();
        let cooked = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        modes.local_modes.contains(cooked) && modes.input_modes.contains(InputModes::ICRNL)
    }

    /// Closes the terminal's window.
    pub fn hang_up(&mut self) {
        self.master = None;
    }

    fn wait(&self, what: PollFlags, at_most: Duration) -> PollFlags {
        let mut fds = [PollFd::new(self.master.as_ref().unwrap(), what)];
        let time = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        let _ = poll(&mut fds, Some(&time));
        fds[0].revents()
    }

    /// False at the end.
    fn read(&mut self) -> bool {
        let mut space = [0u8; 65536];
        match rustix::io::read(self.master.as_ref().unwrap(), &mut space) {
            Ok(got) if got > 0 => {
                self.seen.extend_from_slice(&space[..got]);
                true
            }
            _ => false,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.master = None;
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}

fn set_size(terminal: &OwnedFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}

/// Asks until there is an answer, or gives up.
pub fn wait_for<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    wait_at_most(PATIENCE, ask).unwrap_or_else(|| panic!("waited in vain for {what}"))
}

/// Asks until there is an answer or the time is over.
pub fn wait_at_most<T>(time: Duration, ask: impl Fn() -> Option<T>) -> Option<T> {
    let end = Instant::now() + time;
    loop {
        match ask() {
            Some(answer) => return Some(answer),
            None if Instant::now() > end => return None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
