//! Docker's default profile, as data, and the section that it gives for a container.
//!
//! The same system calls as in moby/profiles `seccomp/default.json` of 2026: denied with EPERM but for a list; more of
//! them with more capabilities; no `clone` of namespaces, no `clone3` (its flags are behind a pointer) and only the
//! address families that containers have a use for, unless CAP_SYS_ADMIN says otherwise. This is the only place where the profile stands.

use std::collections::HashSet;

use oci_spec::runtime::{
    Capability, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArgBuilder, LinuxSeccompOperator as Operator,
    LinuxSyscall,
};

use crate::Arch;

const EPERM: u32 = 1;

/// `CLONE_NEW*` but for time namespaces, which clone cannot make: mount, cgroup, uts, ipc, user, pid, network.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// Allowed for everybody.
const ALWAYS: &str = "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime \
    clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep \
    clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 \
    epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit \
    exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 \
    fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat \
    fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait \
    futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid \
    getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom \
    getresgid getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage getsid getsockname getsockopt \
    get_thread_area gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init \
    inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents io_pgetevents_time64 \
    ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule landlock_create_ruleset \
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr \
    _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret \
    mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open \
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget \
    msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat \
    openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 \
    prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read \
    readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr \
    removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending \
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 \
    rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min \
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr \
    sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 \
    send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 \
    setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid \
    setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address \
    setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 \
    sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat \
    sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime \
    timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime \
    timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime \
    utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev";

/// Address families for `socket`: all below the first number, and these. What is missing has left the kernel, or is
/// ALG (38: the kernel's cryptography, of no use to containers and more than once a way out) or VSOCK (40: reaches virtual
/// machines past the network namespace).
const FAMILIES: (u64, &[u64]) =
    (12, &[13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44, 45]);

/// PER_LINUX, PER_LINUX32, both with UNAME26, and the question which one it is.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Allowed if the container is so.
const CONDITIONAL: &[(When, &str)] = &[
    (When::KernelFrom(4, 8), "process_vm_readv process_vm_writev ptrace"),
    (
        When::On(&[Arch::Arm, Arch::Aarch64]),
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
    (When::On(&[Arch::Ppc64le]), "sync_file_range2 swapcontext"),
    (When::On(&[Arch::S390, Arch::S390x]), "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
    (When::On(&[Arch::Riscv64]), "riscv_flush_icache"),
    (When::On(&[Arch::X86_64, Arch::X32]), "arch_prctl"),
    (When::On(&[Arch::X86_64, Arch::X32, Arch::X86]), "modify_ldt"),
    (When::Has(Capability::DacReadSearch), "open_by_handle_at"),
    (
        When::Has(Capability::SysAdmin),
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    (When::Has(Capability::SysBoot), "reboot"),
    (When::Has(Capability::SysChroot), "chroot"),
    (When::Has(Capability::SysModule), "delete_module init_module finit_module"),
    (When::Has(Capability::SysPacct), "acct"),
    (When::Has(Capability::SysPtrace), "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    (When::Has(Capability::SysRawio), "iopl ioperm"),
    (When::Has(Capability::SysTime), "settimeofday stime clock_settime clock_settime64"),
    (When::Has(Capability::SysTtyConfig), "vhangup"),
    (When::Has(Capability::SysNice), "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (When::Has(Capability::Syslog), "syslog"),
    (When::Has(Capability::Bpf), "bpf"),
    (When::Has(Capability::Perfmon), "perf_event_open"),
];

/// A condition on the container and its host.
enum When {
    /// The capability is in the bounding set.
    Has(Capability),
    /// The native architecture is one of these.
    On(&'static [Arch]),
    /// The kernel's version is at least this.
    KernelFrom(u32, u32),
}

/// The architectures beside the native one whose programs it runs.
fn companions(native: Arch) -> &'static [Arch] {
    match native {
        Arch::X86_64 => &[Arch::X86_64, Arch::X86, Arch::X32],
        Arch::Aarch64 => &[Arch::Aarch64, Arch::Arm],
        Arch::Mips64 | Arch::Mips64n32 => &[Arch::Mips, Arch::Mips64, Arch::Mips64n32],
        Arch::Mipsel64 | Arch::Mipsel64n32 => &[Arch::Mipsel, Arch::Mipsel64, Arch::Mipsel64n32],
        Arch::S390x => &[Arch::S390x, Arch::S390],
        _ => &[],
    }
}

/// Docker's default section for a container with these capabilities in its bounding set, on a kernel of that version
/// (its first two numbers) and a machine of that native architecture.
pub fn default_profile(capabilities: &HashSet<Capability>, kernel: (u32, u32), arch: Arch) -> LinuxSeccomp {
    let mut rules = vec![allow(ALWAYS)];
    for (when, names) in CONDITIONAL {
        let holds = match when {
            When::Has(capability) => capabilities.contains(capability),
            When::On(archs) => archs.contains(&arch),
            When::KernelFrom(version, major) => kernel >= (*version, *major),
        };
        if holds {
            rules.push(allow(names));
        }
    }
    let (below, families) = FAMILIES;
    rules.push(allow_if("socket", 0, Operator::ScmpCmpLt, below));
    rules.extend(families.iter().map(|family| allow_if("socket", 0, Operator::ScmpCmpEq, *family)));
    rules.extend(PERSONALITIES.iter().map(|persona| allow_if("personality", 0, Operator::ScmpCmpEq, *persona)));
    if !capabilities.contains(&Capability::SysAdmin) {
        // There clone's first two arguments have changed places.
        let flags = usize::from(matches!(arch, Arch::S390 | Arch::S390x));
        rules.push(allow_if("clone", flags, Operator::ScmpCmpMaskedEq, NEW_NAMESPACES));
        let mut refused = allow("clone3");
        refused.set_action(Action::ScmpActErrno).set_errno_ret(Some(arch.enosys()));
        rules.push(refused);
    }
    let architectures: Vec<_> = companions(arch).iter().map(|arch| arch.to_oci()).collect();
    let mut section = LinuxSeccomp::default();
    section
        .set_default_action(Action::ScmpActErrno)
        .set_default_errno_ret(Some(EPERM))
        .set_architectures((!architectures.is_empty()).then_some(architectures))
        .set_syscalls(Some(rules));
    section
}

fn allow(names: &str) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.split_ascii_whitespace().map(str::to_owned).collect()).set_action(Action::ScmpActAllow);
    rule
}

/// Allows `name` when its argument `index` compares so with `value`; under a mask, when no bit of it is set.
fn allow_if(name: &str, index: usize, operator: Operator, value: u64) -> LinuxSyscall {
    let condition = LinuxSeccompArgBuilder::default().index(index).value(value).op(operator).build();
    let mut rule = allow(name);
    rule.set_args(Some(vec![condition.expect("every field of a condition has a default")]));
    rule
}
