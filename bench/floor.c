/* The floor: one whole container run with the OCI default isolation and nothing but system calls.
 *
 *     floor [-o] [-s FILTER] ROOTFS COMMAND [ARG...]
 *
 * Timed from outside as a process, this is what the kernel itself charges for `docker run --network none`: no tool that
 * does the same work can be faster by more than luck. It knows no images, no names, no state, no logs and no terminal.
 *
 *     -o         the root is a throw-away overlay over ROOTFS, its upper directory in memory
 *     -s FILTER  load this seccomp program: raw `struct sock_filter`s, as `mycontainer-bench filter` writes them
 *
 * Where /sys/fs/cgroup is a cgroup2 mount the container is born in its own cgroup; else it gets one in each v1
 * hierarchy below that it finds. What it makes on the host, the cgroups, it removes before it ends; the mounts go
 * with the container's namespaces. It exits with COMMAND's status, 128+n for a signal, or 125 when a step of its own
 * failed.
 *
 * Left out, because it depends on the engine and not on isolation: /etc/hosts and /etc/resolv.conf, a veth pair.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/seccomp.h>

/* From <linux/sched.h>, which cannot stand beside musl's <sched.h>. [clone(2)] */
#define INTO_CGROUP 0x200000000ULL
struct clone3_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

#define LENGTH(array) (sizeof(array) / sizeof *(array))
#define CGROUPS "/sys/fs/cgroup"
enum { GUARDED = MS_NOSUID | MS_NOEXEC | MS_NODEV };

static int must(long result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
        _exit(125);
    }
    return (int)result;
}

static void write_file(const char *directory, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = must(open(path, O_WRONLY | O_CLOEXEC), path);
    must(write(fd, text, strlen(text)), path);
    close(fd);
}

/* ---- cgroups ------------------------------------------------------------------------------------------------- */

/* The v1 hierarchies an engine uses. Where two controllers share one, the directory has both names, which are also
 * the options that mount it, and the single names are symbolic links to it. */
static const char *const hierarchies[] = {"cpu", "cpuacct", "cpu,cpuacct", "cpuset", "memory", "devices", "freezer",
                                          "blkio", "pids"};
static char cgroups[LENGTH(hierarchies)][128]; /* v1: ours in each hierarchy, or ""; v2: ours is the first */
static int is_v2;

static void copy_from_parent(const char *cgroup, const char *name)
{
    char path[256], text[256];
    snprintf(path, sizeof path, "%s/../%s", cgroup, name);
    int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);
    int length = must(read(fd, text, sizeof text - 1), path);
    close(fd);
    text[length] = 0;
    write_file(cgroup, name, text);
}

/* The devices every container may use, as major:minor; -1 is any. Making a node is always allowed, using it is not.
 * [runtime-spec, config-linux.md: default devices; Docker's defaults] */
static const struct { int major, minor; } devices[] = {
    {1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 2}, {136, -1}};

static void limit_devices_v1(const char *cgroup)
{
    write_file(cgroup, "devices.deny", "a");
    write_file(cgroup, "devices.allow", "c *:* m");
    write_file(cgroup, "devices.allow", "b *:* m");
    for (size_t i = 0; i < LENGTH(devices); i++) {
        char rule[32];
        if (devices[i].minor < 0)
            snprintf(rule, sizeof rule, "c %d:* rwm", devices[i].major);
        else
            snprintf(rule, sizeof rule, "c %d:%d rwm", devices[i].major, devices[i].minor);
        write_file(cgroup, "devices.allow", rule);
    }
}

#define LOAD(to, field) \
    {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = to, .src_reg = 1, .off = offsetof(struct bpf_cgroup_dev_ctx, field)}
#define UNLESS_EQUAL(reg, value, skip) {.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = reg, .imm = value, .off = skip}
#define RESULT(value) {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = value}, {.code = BPF_JMP | BPF_EXIT}

/* The same rules as a program: r2 is the type of device, r3 the access, r4:r5 the number; 1 allows. */
static void limit_devices_v2(int cgroup)
{
    struct bpf_insn program[16 + 4 * LENGTH(devices)] = {
        LOAD(2, access_type), LOAD(3, access_type), LOAD(4, major), LOAD(5, minor),
        {.code = BPF_ALU64 | BPF_AND | BPF_K, .dst_reg = 2, .imm = 0xffff},
        {.code = BPF_ALU64 | BPF_RSH | BPF_K, .dst_reg = 3, .imm = 16},
        UNLESS_EQUAL(3, BPF_DEVCG_ACC_MKNOD, 2), RESULT(1),
        {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 2, .imm = BPF_DEVCG_DEV_CHAR, .off = 2}, RESULT(0),
    };
    size_t end = 12;
    for (size_t i = 0; i < LENGTH(devices); i++) {
        int any_minor = devices[i].minor < 0;
        const struct bpf_insn rule[] = {UNLESS_EQUAL(4, devices[i].major, 3),
                                        UNLESS_EQUAL(any_minor ? 4 : 5, any_minor ? 136 : devices[i].minor, 2),
                                        RESULT(1)};
        memcpy(program + end, rule, sizeof rule);
        end += LENGTH(rule);
    }
    const struct bpf_insn deny[] = {RESULT(0)};
    memcpy(program + end, deny, sizeof deny);
    end += LENGTH(deny);

    union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insns = (uintptr_t)program, .insn_cnt = end,
                           .license = (uintptr_t)"Apache-2.0"};
    int fd = must(syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load), "load the device program");
    union bpf_attr attach = {.target_fd = cgroup, .attach_bpf_fd = fd, .attach_type = BPF_CGROUP_DEVICE,
                             .attach_flags = BPF_F_ALLOW_MULTI};
    must(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach), "attach the device program");
    close(fd);
}

/* Returns a descriptor of the v2 cgroup that the container is to be born in, or -1 on a v1 host. */
static int make_cgroups(void)
{
    struct statfs where;
    is_v2 = statfs(CGROUPS, &where) == 0 && where.f_type == CGROUP2_SUPER_MAGIC;
    if (is_v2) {
        snprintf(cgroups[0], sizeof *cgroups, CGROUPS "/floor-%d", getpid());
        must(mkdir(cgroups[0], 0755), cgroups[0]);
        int fd = must(open(cgroups[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC), cgroups[0]);
        limit_devices_v2(fd);
        return fd;
    }
    for (size_t i = 0; i < LENGTH(hierarchies); i++) {
        struct stat hierarchy;
        snprintf(cgroups[i], sizeof *cgroups, CGROUPS "/%s", hierarchies[i]);
        if (lstat(cgroups[i], &hierarchy) < 0 || !S_ISDIR(hierarchy.st_mode)) {
            cgroups[i][0] = 0;
            continue;
        }
        snprintf(cgroups[i], sizeof *cgroups, CGROUPS "/%s/floor-%d", hierarchies[i], getpid());
        must(mkdir(cgroups[i], 0755), cgroups[i]);
        if (!strcmp(hierarchies[i], "cpuset")) { /* starts empty, and no task may enter an empty one */
            copy_from_parent(cgroups[i], "cpuset.cpus");
            copy_from_parent(cgroups[i], "cpuset.mems");
        }
        if (!strcmp(hierarchies[i], "devices"))
            limit_devices_v1(cgroups[i]);
    }
    return -1;
}

/* v1: the child moves itself. Its parent writing the child's pid to `cgroup.procs` would wait for an RCU grace period,
 * some 10 ms on an idle machine; a lone thread that writes 0 to `tasks` does not. */
static void join_cgroups(void)
{
    if (is_v2)
        return;
    for (size_t i = 0; i < LENGTH(cgroups); i++)
        if (cgroups[i][0])
            write_file(cgroups[i], "tasks", "0");
    /* The namespace's root is the cgroup we are in now, so it cannot come with clone3; on v2 clone3 sees to both. */
    must(unshare(CLONE_NEWCGROUP), "unshare the cgroup namespace");
}

static void remove_cgroups(void)
{
    for (size_t i = 0; i < LENGTH(cgroups); i++)
        if (cgroups[i][0])
            must(rmdir(cgroups[i]), cgroups[i]);
}

/* ---- the container's side ------------------------------------------------------------------------------------ */

static void new_mount(const char *type, const char *target, unsigned long flags, const char *options)
{
    must(mount(type, target, type, flags, options), target);
}

/* The overlay's upper directory is in a tmpfs that only this mount namespace has, so nobody need remove it. */
static void mount_root(const char *rootfs, int with_overlay)
{
    must(mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL), "make mounts private");
    if (!with_overlay)
        must(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL), rootfs);
    must(chdir(rootfs), rootfs);
    if (with_overlay) {
        new_mount("tmpfs", "/run", 0, "mode=700");
        must(mkdir("/run/upper", 0755), "make the upper directory");
        must(mkdir("/run/work", 0700), "make the work directory");
        must(mkdir("/run/root", 0755), "make the overlay's mount point");
        new_mount("overlay", "/run/root", 0, "lowerdir=.,upperdir=/run/upper,workdir=/run/work");
        must(chdir("/run/root"), "enter the overlay");
    }
}

static void fill_dev(void)
{
    static const struct { const char *path; int major, minor; } nodes[] = {
        {"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7},
        {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
    static const char *const links[][2] = {
        {"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"}, {"/proc/self/fd/1", "dev/stdout"},
        {"/proc/self/fd/2", "dev/stderr"}, {"/proc/kcore", "dev/core"}, {"pts/ptmx", "dev/ptmx"}};
    new_mount("tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
    umask(0);
    for (size_t i = 0; i < LENGTH(nodes); i++)
        must(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), nodes[i].path);
    umask(022);
    for (size_t i = 0; i < LENGTH(links); i++)
        must(symlink(links[i][0], links[i][1]), links[i][1]);
    must(mkdir("dev/pts", 0755), "dev/pts");
    new_mount("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    must(mkdir("dev/shm", 01777), "dev/shm");
    new_mount("tmpfs", "dev/shm", GUARDED, "mode=1777,size=65536k");
    must(mkdir("dev/mqueue", 0755), "dev/mqueue");
    new_mount("mqueue", "dev/mqueue", GUARDED, NULL);
}

/* What a container sees of its cgroup: on v2 the one tree, on v1 a tmpfs with each hierarchy in it. */
static void mount_cgroups(void)
{
    if (is_v2) {
        new_mount("cgroup2", "sys/fs/cgroup", GUARDED | MS_RDONLY, NULL);
        return;
    }
    new_mount("tmpfs", "sys/fs/cgroup", GUARDED, "mode=755");
    for (size_t i = 0; i < LENGTH(hierarchies); i++) {
        char target[64];
        if (!cgroups[i][0])
            continue;
        snprintf(target, sizeof target, "sys/fs/cgroup/%s", hierarchies[i]);
        must(mkdir(target, 0755), target);
        new_mount("cgroup", target, GUARDED | MS_RDONLY, hierarchies[i]);
    }
    must(mount(NULL, "sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND | GUARDED | MS_RDONLY, NULL), "sys/fs/cgroup");
}

static void enter_root(void)
{
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root"); /* the old root is now stacked on the new one */
    must(umount2(".", MNT_DETACH), "let go of the old root");
    must(chdir("/"), "enter the new root");
}

/* Docker's lists; a path that this kernel does not have needs no mask. */
static void mask_paths(void)
{
    static const char *const masked[] = {
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
        "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
        "/sys/devices/virtual/powercap"};
    static const char *const readonly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
    for (size_t i = 0; i < LENGTH(masked); i++)
        if (mount("/dev/null", masked[i], NULL, MS_BIND, NULL) < 0 && errno == ENOTDIR)
            new_mount("tmpfs", masked[i], MS_RDONLY, "size=0k");
    for (size_t i = 0; i < LENGTH(readonly); i++)
        if (mount(readonly[i], readonly[i], NULL, MS_BIND | MS_REC, NULL) == 0)
            must(mount(NULL, readonly[i], NULL, MS_REMOUNT | MS_BIND | GUARDED | MS_RDONLY, NULL), readonly[i]);
}

static void raise_loopback(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
    must(ioctl(fd, SIOCSIFFLAGS, &lo), "set lo up");
    close(fd);
}

#define CAP(name) (1ULL << CAP_##name)

static void drop_capabilities(void)
{
    const uint64_t kept = CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FSETID) | CAP(FOWNER) | CAP(MKNOD) | CAP(NET_RAW) |
                          CAP(SETGID) | CAP(SETUID) | CAP(SETFCAP) | CAP(SETPCAP) | CAP(NET_BIND_SERVICE) |
                          CAP(SYS_CHROOT) | CAP(KILL) | CAP(AUDIT_WRITE);
    for (int capability = 0; capability < 64; capability++)
        if (!(kept >> capability & 1) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
            break; /* past the last one this kernel knows */
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {{.effective = kept, .permitted = kept}};
    must(syscall(SYS_capset, &header, sets), "capset");
}

/* What the container's first process does before it becomes the command. */
static void become_container(const char *rootfs, int with_overlay, const struct sock_fprog *filter, char **command)
{
    join_cgroups();
    mount_root(rootfs, with_overlay);
    new_mount("proc", "proc", GUARDED, NULL);
    fill_dev();
    new_mount("sysfs", "sys", GUARDED | MS_RDONLY, NULL);
    mount_cgroups();
    enter_root();
    mask_paths();
    must(sethostname("floor", 5), "sethostname");
    raise_loopback();
    must(setsid(), "setsid");
    must(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL), "join a session keyring");
    /* Docker leaves no_new_privs off, and without it a filter needs CAP_SYS_ADMIN: so it comes before the drop. */
    if (filter)
        must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter), "load the seccomp filter");
    drop_capabilities();
    must(syscall(SYS_close_range, 3, ~0U, 0), "close_range");
    char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", NULL};
    execve(command[0], command, environment);
    must(-1, command[0]);
}

/* ---- the parent's side --------------------------------------------------------------------------------------- */

static struct sock_fprog read_filter(const char *path)
{
    static struct sock_filter code[BPF_MAXINSNS];
    int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);
    int length = must(read(fd, code, sizeof code), path);
    close(fd);
    return (struct sock_fprog){.len = length / sizeof *code, .filter = code};
}

/* Returns a pidfd of the container's first process. */
static int clone_container(int cgroup, const char *rootfs, int with_overlay, const struct sock_fprog *filter,
                           char **command)
{
    int pidfd = -1;
    struct clone3_args arguments = {
        .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_PIDFD |
                 (cgroup >= 0 ? INTO_CGROUP | CLONE_NEWCGROUP : 0),
        .pidfd = (uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
        .cgroup = cgroup >= 0 ? cgroup : 0,
    };
    if (must(syscall(SYS_clone3, &arguments, sizeof arguments), "clone3") == 0)
        become_container(rootfs, with_overlay, filter, command);
    return pidfd;
}

int main(int argc, char **argv)
{
    const char *filter_path = NULL;
    struct sock_fprog filter = {0};
    int with_overlay = 0, option;
    while ((option = getopt(argc, argv, "+os:")) != -1) {
        if (option == 'o')
            with_overlay = 1;
        else if (option == 's')
            filter_path = optarg;
        else
            return 125;
    }
    if (argc - optind < 2) {
        fprintf(stderr, "usage: floor [-o] [-s FILTER] ROOTFS COMMAND [ARG...]\n");
        return 125;
    }
    if (filter_path)
        filter = read_filter(filter_path);

    int cgroup = make_cgroups();
    int pidfd = clone_container(cgroup, argv[optind], with_overlay, filter_path ? &filter : NULL, argv + optind + 1);
    siginfo_t end;
    must(waitid(P_PIDFD, pidfd, &end, WEXITED), "waitid");
    remove_cgroups();
    return end.si_code == CLD_EXITED ? end.si_status : 128 + end.si_status;
}
