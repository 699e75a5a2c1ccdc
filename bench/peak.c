/* Tells the peak resident memory of a command: peak FILE COMMAND [ARG...]
 *
 * Writes to FILE, in KiB, what wait4 reports of the command: the peak of the largest process among it and the
 * descendants that it waited for. The kernel counts the process that becomes the command as well, so whoever starts it
 * sets the least that can be told: hence this small static program. It exits with the command's status.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int status;
    struct rusage usage;
    if (argc < 3)
        return 125;
    pid_t child = vfork();
    if (child == 0) {
        execv(argv[2], argv + 2);
        _exit(127);
    }
    FILE *file = fopen(argv[1], "w");
    if (child < 0 || !file || wait4(child, &status, 0, &usage) < 0)
        return 125;
    fprintf(file, "%ld\n", usage.ru_maxrss);
    fclose(file);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
