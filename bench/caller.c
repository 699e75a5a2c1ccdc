/* Calls an OCI runtime as containerd and podman do: caller ID PIDFILE BUNDLE RUNTIME [WORD...]
 *
 * `create`, `start`, then it waits for the container's process, which is its own to reap once `create` has ended, and
 * `delete`. Its pid stands behind ID and PIDFILE, so that many can be at work at once. 125: a verb failed.
 */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 64 };

static void call(char **runtime, char *const *more)
{
    char *words[MOST];
    int count = 0, status;
    for (; *runtime; runtime++)
        words[count++] = *runtime;
    for (; *more; more++)
        words[count++] = *more;
    words[count] = NULL;
    pid_t pid;
    if (posix_spawn(&pid, words[0], NULL, NULL, words, environ) || waitpid(pid, &status, 0) < 0 || status != 0)
        exit(125); /* it has said why */
}

int main(int argc, char **argv)
{
    char id[256], pid_file[4096];
    int status;
    long pid = 0;
    if (argc < 5 || argc > MOST - 10 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return 125;
    snprintf(id, sizeof id, "%s-%d", argv[1], getpid());
    snprintf(pid_file, sizeof pid_file, "%s-%d", argv[2], getpid());
    char **runtime = argv + 4;
    call(runtime, (char *[]){"create", "--bundle", argv[3], "--pid-file", pid_file, id, NULL});
    FILE *file = fopen(pid_file, "r");
    if (!file || fscanf(file, "%ld", &pid) != 1)
        return 125;
    fclose(file);
    unlink(pid_file);
    call(runtime, (char *[]){"start", id, NULL});
    if (waitpid((pid_t)pid, &status, 0) < 0)
        return 125;
    call(runtime, (char *[]){"delete", id, NULL});
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
