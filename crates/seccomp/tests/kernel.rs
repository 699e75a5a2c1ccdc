//! What the kernel does with our programs: loaded with `sys::seccomp::load`, then asked by real system calls.
//!
//! A filter stays on its process, so every case is this test binary again with the case's name in [`CASE`]: it sets
//! no_new_privs, loads, makes its calls and exits. Nothing of it outlives that process; the calls are ones that would
//! fail or change nothing if a filter let them through by mistake. Needs no privileges.

use std::collections::HashSet;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::{Capability, LinuxSeccomp, LinuxSeccompOperator as Operator};
use rustix::fs::{Mode, OFlags, ResolveFlags, SeekFrom};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType};
use seccomp::{Arch, compile, default_profile, flag};
use serde_json::{Value, json};

const CASE: &str = "SECCOMP_KERNEL_CASE";
/// SIGSYS, as which a killed process ends.
const SIGSYS: i32 = 31;
/// An errno that none of the calls here gives by itself.
const OURS: Errno = Errno::BADFD;

/// The process that a case runs in: this binary, with no test but `children` in it. One that hangs is killed.
fn case(name: &str) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "children", "--nocapture"])
        .env(CASE, name)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let late = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > late {
            child.kill().unwrap();
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.wait_with_output().unwrap()
}

fn assert_succeeds(name: &str) {
    let output = case(name);
    assert!(output.status.success(), "{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("case done"), "{name} ran nothing");
}

/// In a child that [`case`] started: the case. In the tests' own process: nothing.
#[test]
fn children() {
    let Ok(name) = std::env::var(CASE) else { return };
    // A case ends its process itself: what a thread needs to end, its filter may refuse.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::exit(1);
    }));
    match name.split_once(' ').unwrap_or((&name, "")) {
        ("docker", _) => docker(),
        ("actions", _) => actions(),
        ("newer", _) => newer(),
        ("notify", _) => notify(),
        ("answered", "") => answered(&[]),
        ("answered", _) => answered(&["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]),
        ("longest", _) => longest(),
        ("flags", _) => flags(),
        ("compare", which) => compare(which.parse().unwrap()),
        ("thread", action) => kills_the_thread_only(action),
        ("dies", action) => {
            load(&for_unmount(action, None));
            let result = unmount();
            eprintln!("{action} let it through: {result:?}");
        }
        _ => panic!("no case {name}"),
    }
    println!("case done");
    std::process::exit(0);
}

/// Compiles and loads; what the kernel does not take is a panic, so a failed case.
fn load(section: &LinuxSeccomp) -> Option<std::os::fd::OwnedFd> {
    let program = compile(section, Arch::native().unwrap()).unwrap();
    rustix::thread::set_no_new_privs(true).unwrap();
    sys::seccomp::load(&program.to_bytes(), program.flags).expect("the kernel takes the program")
}

fn section(json: Value) -> LinuxSeccomp {
    serde_json::from_value(json).unwrap()
}

/// Allows everything but `umount2`.
fn for_unmount(action: &str, errno: Option<u32>) -> LinuxSeccomp {
    section(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["umount2"], "action": action, "errnoRet": errno}],
    }))
}

/// Fails with ENOENT, or EPERM without privileges, unless a filter has its say.
fn unmount() -> rustix::io::Result<()> {
    rustix::mount::unmount("/no/such/directory", UnmountFlags::NOFOLLOW)
}

fn socket(family: u16) -> rustix::io::Result<()> {
    rustix::net::socket(AddressFamily::from_raw(family), SocketType::SEQPACKET, None).map(drop)
}

fn openat2() -> rustix::io::Result<()> {
    let resolve = ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(rustix::fs::CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).map(drop)
}

fn docker() {
    let capabilities = HashSet::from([Capability::SysChroot]);
    load(&default_profile(&capabilities, (6, 18), Arch::native().unwrap()));
    for (family, name) in [(38, "ALG"), (40, "VSOCK"), (12, "DECnet"), (46, "the next one"), (u16::MAX, "the last one")]
    {
        assert_eq!(socket(family), Err(Errno::PERM), "a socket of {name}");
    }
    // Without the filter that is EAFNOSUPPORT and never EPERM: the compared range ends above it.
    assert_ne!(socket(11), Err(Errno::PERM), "a socket of the last family below the bound");
    socket(1).expect("a Unix socket is allowed");
    assert_eq!(unmount(), Err(Errno::PERM));
    // Not a namespace, so EINVAL without the filter.
    let null = std::fs::File::open("/dev/null").unwrap();
    let entered = rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&null), None);
    assert_eq!(entered, Err(Errno::PERM), "setns");
    let cloned = sys::fork::clone_into(sys::fork::Namespaces::default(), None).map(drop);
    assert_eq!(cloned.unwrap_err().raw_os_error(), Some(Errno::NOSYS.raw_os_error()), "clone3");
    openat2().expect("openat2 is allowed");
    // The C library tries clone3, hears ENOSYS and takes clone, whose flags name no namespace.
    assert_eq!(std::thread::spawn(|| 5).join().unwrap(), 5, "threads start");
    let status = |program: &str, args: &[&str]| Command::new(program).args(args).output().unwrap().status;
    assert!(status("true", &[]).success(), "programs start");
    // personality: UNAME26 is one of those allowed, ADDR_NO_RANDOMIZE is not.
    assert!(status("setarch", &["--uname-2.6", "true"]).success(), "setarch --uname-2.6");
    assert!(!status("setarch", &["--addr-no-randomize", "true"]).success(), "setarch --addr-no-randomize");
    assert!(!status("unshare", &["--user", "true"]).success(), "unshare");
}

fn actions() {
    // Each load adds a filter; of several the gravest verdict counts: so from mild to grave.
    let before = unmount();
    load(&for_unmount("SCMP_ACT_ALLOW", None));
    assert_eq!(unmount(), before);
    load(&for_unmount("SCMP_ACT_LOG", None));
    assert_eq!(unmount(), before, "logged, and let through");
    load(&for_unmount("SCMP_ACT_TRACE", Some(7)));
    assert_eq!(unmount(), Err(Errno::NOSYS), "there is no tracer");
    load(&for_unmount("SCMP_ACT_ERRNO", Some(OURS.raw_os_error() as u32)));
    assert_eq!(unmount(), Err(OURS));
    assert!(openat2().is_ok(), "other calls are not concerned");
}

fn newer() {
    let names = ["read", "write", "close", "mmap", "munmap", "brk", "futex", "exit_group"];
    load(&section(json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": OURS.raw_os_error(),
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    })));
    let results = (unmount(), openat2());
    assert_eq!(
        results,
        (Err(OURS), Err(Errno::NOSYS)),
        "umount2, which is older than exit_group; openat2, which is not"
    );
}

fn notify() {
    let listener = load(&for_unmount("SCMP_ACT_NOTIFY", None)).expect("a listener");
    assert!(rustix::io::fcntl_getfd(&listener).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    drop(listener);
    assert_eq!(unmount(), Err(Errno::NOSYS), "nobody listens any more");
}

/// Another process hears of a call, answers it, and lets the next one through. It gets the listener as the runtime hands
/// it over: by `sendmsg` of the thread that has just loaded the filter.
fn answered(flags: &[&str]) {
    let without = unmount();
    let number = seccomp::number("umount2", Arch::native().unwrap()).unwrap();
    let (ours, agents) = UnixStream::pair().unwrap();
    let mut agent = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent.py"))
        .args([number.to_string(), OURS.raw_os_error().to_string()])
        .stdin(OwnedFd::from(agents))
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut section = for_unmount("SCMP_ACT_NOTIFY", None);
    section.set_flags(serde_json::from_value(json!(flags)).unwrap());
    let program = compile(&section, Arch::native().unwrap()).unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    rustix::thread::set_no_new_privs(true).unwrap();
    let instructions = program.to_bytes();
    let listener = match sys::seccomp::load(&instructions, program.flags) {
        Ok(listener) => listener.expect("a listener"),
        // Linux before 5.19.
        Err(error) if !flags.is_empty() && error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            agent.kill().unwrap();
            agent.wait().unwrap();
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let rights = [listener.as_fd()];
    assert!(message.push(SendAncillaryMessage::ScmRights(&rights)));
    rustix::net::sendmsg(&ours, &[IoSlice::new(b"l")], &mut message, SendFlags::empty()).unwrap();
    drop(listener);
    assert_eq!(unmount(), Err(OURS), "the agent's errno");
    assert_eq!(unmount(), without, "let through by the agent");
    let said = agent.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "answered\n");
    assert_eq!(unmount(), Err(Errno::NOSYS), "the agent is gone");
}

/// Close to the longest program that the kernel takes, with jumps over nearly all of it.
fn longest() {
    let rule = |value: u64| {
        let args = [json!({"index": 2, "value": value, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"})];
        json!({"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": OURS.raw_os_error(), "args": args})
    };
    let rules: Vec<Value> = (0..1000).map(|value| rule((value << 4) | 8)).collect();
    let long = section(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    let length = compile(&long, Arch::native().unwrap()).unwrap().instructions.len();
    assert!((3000..=4096).contains(&length), "{length} instructions");
    load(&long);
    let null = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(rustix::fs::seek(&null, SeekFrom::Start(1)), Ok(0));
}

fn flags() {
    let all = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"];
    for subset in 0..1 << all.len() {
        let flags: Vec<_> = (0..all.len()).filter(|bit| subset >> bit & 1 != 0).map(|bit| all[bit]).collect();
        for (action, errno, expected) in [("SCMP_ACT_NOTIFY", None, Errno::NOSYS), ("SCMP_ACT_ERRNO", Some(OURS), OURS)]
        {
            let mut section = for_unmount(action, errno.map(|errno| errno.raw_os_error() as u32));
            section.set_flags(serde_json::from_value(json!(flags)).unwrap());
            assert_eq!(load(&section).is_some(), errno.is_none(), "{action} {flags:?}");
            // ENOSYS of a listener that is gone: milder than ours of the last round, if both filters answer.
            assert!([Err(expected), Err(OURS)].contains(&unmount()), "{action} {flags:?}");
        }
    }
    // What the kernel does not take is an error, not a filter that is not there.
    assert!(sys::seccomp::load(&[0; 8], 0).is_err(), "no program");
    assert!(sys::seccomp::load(&[6, 0, 0, 0, 0, 0, 0xff], 0).is_err(), "not whole instructions");
    assert!(sys::seccomp::load(&[], 0).is_err(), "no instruction");
    assert!(sys::seccomp::load(&[6, 0, 0, 0, 0, 0, 0xff, 0x7f], 1 << 31).is_err(), "an unknown flag");
    assert!(sys::seccomp::load(&[6, 0, 0, 0, 0, 0, 0xff, 0x7f].repeat(4097), flag::LOG).is_err(), "too long");
}

/// Another thread loads and dies; this one sees it go, and lives.
fn kills_the_thread_only(action: &str) {
    let section = for_unmount(action, None);
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        send.send(rustix::thread::gettid()).unwrap();
        load(&section);
        let result = unmount();
        panic!("let through: {result:?}");
    });
    let thread = format!("/proc/self/task/{}", receive.recv().unwrap().as_raw_nonzero());
    let late = Instant::now() + Duration::from_secs(10);
    while std::fs::exists(&thread).unwrap() {
        assert!(Instant::now() < late, "the thread lives on");
        std::thread::sleep(Duration::from_millis(1));
    }
}

type Holds = fn(u64, u64) -> bool;

/// Every operator with what it means.
const OPERATORS: [(Operator, Holds); 7] = [
    (Operator::ScmpCmpNe, |argument, value| argument != value),
    (Operator::ScmpCmpLt, |argument, value| argument < value),
    (Operator::ScmpCmpLe, |argument, value| argument <= value),
    (Operator::ScmpCmpEq, |argument, value| argument == value),
    (Operator::ScmpCmpGe, |argument, value| argument >= value),
    (Operator::ScmpCmpGt, |argument, value| argument > value),
    // Compared with itself: are all bits of the value set?
    (Operator::ScmpCmpMaskedEq, |argument, value| argument & value == value),
];

/// Around these the halves of an argument have to be told apart.
const VALUES: [u64; 6] = [0, 5, 0xffff_ffff, 1 << 32, (1 << 32) | 5, (3 << 32) | 7];

/// One operator and value against offsets of `lseek` on /dev/null, which takes them all.
fn compare(which: usize) {
    let (operator, holds) = OPERATORS[which / VALUES.len()];
    let value = VALUES[which % VALUES.len()];
    let args = [json!({"index": 1, "value": value, "valueTwo": value, "op": operator})];
    let null = std::fs::File::open("/dev/null").unwrap();
    load(&section(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": OURS.raw_os_error(), "args": args}],
    })));
    let around = |value: u64| [value.wrapping_sub(1), value, value + 1, value ^ (1 << 32), value ^ (2 << 32)];
    for offset in VALUES.into_iter().flat_map(around).filter(|offset| i64::try_from(*offset).is_ok()) {
        let expected = if holds(offset, value) { Err(OURS) } else { Ok(0) };
        let result = rustix::fs::seek(&null, SeekFrom::Start(offset));
        assert_eq!(result, expected, "offset {offset:#x} {operator:?} {value:#x}");
    }
}

#[test]
fn dockers_profile_refuses_and_allows() {
    assert_succeeds("docker");
}

#[test]
fn each_action_does_what_it_says() {
    assert_succeeds("actions");
}

#[test]
fn calls_that_the_profile_is_too_old_for_do_not_exist() {
    assert_succeeds("newer");
}

#[test]
fn loading_for_notify_gives_a_listener() {
    assert_succeeds("notify");
}

#[test]
fn an_agent_answers_notifications() {
    assert_succeeds("answered");
    assert_succeeds("answered waiting");
}

#[test]
fn the_longest_program_loads() {
    assert_succeeds("longest");
}

#[test]
fn flags_are_taken_and_bad_programs_refused() {
    assert_succeeds("flags");
}

#[test]
fn deadly_actions_end_the_thread_or_the_process() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD"] {
        assert_succeeds(&format!("thread {action}"));
    }
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let output = case(&format!("dies {action}"));
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(SIGSYS), "{action}: {} {told}", output.status);
    }
}

#[test]
fn arguments_of_64_bits_are_compared_as_the_operators_say() {
    for which in 0..OPERATORS.len() * VALUES.len() {
        assert_succeeds(&format!("compare {which}"));
    }
}
