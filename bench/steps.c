/* Counts what a command does that hardly varies: steps FILE calls|instructions|places LIMIT LAST COMMAND [ARG...]
 *
 * Writes to FILE how many system calls, or how many instructions outside of the kernel, the command and all that it
 * starts have done, until the program of the name LAST runs (in a container: from there on it is not the tool's work),
 * or until all have ended. Instructions are counted by stepping from one to the next, which works without hardware
 * counters and gives the same on every machine of a kind; a million take seconds. After LIMIT they run on uncounted,
 * so that nothing is left half made, and what is written is `>LIMIT`.
 *
 * For `places` it writes, in hexadecimal, the address of each instruction that ran: what scripts/order-start reads.
 * An instruction that repeats itself (`rep movsb`) is one. It exits with the command's status; 125: it could not count.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <elf.h>

/* A process or thread that is followed. */
struct tracee {
    pid_t pid;
    int is_new;     /* the stop that it begins with is still to come */
    uint64_t place; /* of the instruction before which it stands */
};

enum { MOST = 1024 };
static struct tracee tracees[MOST];
static int followed;

static struct tracee *tracee(pid_t pid)
{
    for (int i = 0; i < followed; i++)
        if (tracees[i].pid == pid)
            return &tracees[i];
    if (followed == MOST)
        exit(125);
    tracees[followed] = (struct tracee){.pid = pid, .is_new = 1};
    return &tracees[followed++];
}

static void forget(pid_t pid)
{
    for (int i = 0; i < followed; i++)
        if (tracees[i].pid == pid)
            tracees[i] = tracees[--followed];
}

/* The places that somebody was at: a table with open addressing, a 0 is free. */
enum { PLACES = 1 << 20 };
static uint64_t places[PLACES];

static void been_at(uint64_t place)
{
    size_t at = place * 0x9e3779b97f4a7c15ULL >> 44;
    while (places[at] && places[at] != place)
        at = (at + 1) % PLACES;
    places[at] = place;
}

static uint64_t place(pid_t pid)
{
#ifdef __x86_64__
    return ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), 0);
#else
    struct user_regs_struct registers = {0};
    struct iovec to = {&registers, sizeof registers};
    ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &to);
    return registers.pc;
#endif
}

static int runs(pid_t pid, const char *name)
{
    char link[64], target[PATH_MAX];
    snprintf(link, sizeof link, "/proc/%d/exe", pid);
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length < 0)
        return 0;
    target[length] = 0;
    const char *slash = strrchr(target, '/');
    return !strcmp(slash ? slash + 1 : target, name);
}

static pid_t start(char **command)
{
    pid_t pid = fork();
    if (pid == 0) {
        /* Else where things lie, and with it what aligning a copy takes, would be another each time. */
        personality(ADDR_NO_RANDOMIZE);
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execv(command[0], command);
        _exit(127);
    }
    return pid;
}

int main(int argc, char **argv)
{
    int status, result = 125, by_step, all_places, ours = 0;
    if (argc < 6)
        return 125;
    all_places = !strcmp(argv[2], "places");
    by_step = all_places || !strcmp(argv[2], "instructions");
    unsigned long long count = 0, limit = strtoull(argv[3], NULL, 10);
    const char *last = argv[4];
    /* One processor for all: quicker, and who waits for whom is the same each time. */
    cpu_set_t one;
    if (by_step && sched_getaffinity(0, sizeof one, &one) == 0) {
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &one) && ours++)
                CPU_CLR(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
    }
    pid_t first = start(argv + 5);
    if (first < 0 || waitpid(first, &status, 0) < 0 || !WIFSTOPPED(status))
        return 125;
    long options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
                   PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SETOPTIONS, first, 0, options) < 0)
        return 125;
    tracee(first)->is_new = 0;
    /* Nothing is counted until the command itself runs. */
    int counts = 0, step = by_step ? PTRACE_SINGLESTEP : PTRACE_SYSCALL;
    if (ptrace(PTRACE_CONT, first, 0, 0) < 0)
        return 125;
    for (;;) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid < 0)
            break;
        if (!WIFSTOPPED(status)) {
            if (pid == first)
                result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            forget(pid);
            continue;
        }
        struct tracee *who = tracee(pid);
        int signal = WSTOPSIG(status), event = status >> 16;
        if (event == PTRACE_EVENT_EXEC && counts && runs(pid, last)) {
            ptrace(PTRACE_DETACH, pid, 0, 0);
            forget(pid);
            continue;
        }
        if (event == PTRACE_EVENT_EXEC)
            counts = 1;
        if (event || signal == (SIGTRAP | 0x80) || signal == SIGTRAP) {
            if (!event && signal == SIGTRAP) {
                uint64_t now = place(pid);
                count += now != who->place;
                if (all_places)
                    been_at(now);
                who->place = now;
            } else if (!event) {
                struct __ptrace_syscall_info info = {0};
                ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info);
                count += info.op == PTRACE_SYSCALL_INFO_ENTRY;
            }
            signal = 0;
        } else if (signal == SIGSTOP && who->is_new) {
            signal = 0;
        }
        who->is_new = 0;
        ptrace(counts && count <= limit ? step : PTRACE_CONT, pid, 0, signal);
    }
    FILE *file = fopen(argv[1], "w");
    if (!file || !counts)
        return 125;
    for (size_t i = 0; all_places && i < PLACES; i++)
        if (places[i])
            fprintf(file, "%llx\n", (unsigned long long)places[i]);
    if (!all_places)
        fprintf(file, count > limit ? ">%llu\n" : "%llu\n", count > limit ? limit : count);
    return fclose(file) ? 125 : result;
}
