/* SPDX-License-Identifier: PostgreSQL */
/*
 * adopt: runs a command and becomes the parent of whatever its descendants leave behind. So the CPU
 * time of processes that detach themselves and end (pgBackRest's asynchronous worker) is not lost
 * but stands in our /proc/PID/stat, and nothing outlives a benchmark that broke off: what is still
 * there when the command has ended is killed.
 *
 *   adopt COMMAND ...     exits as the command did
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile pid_t child;

static void
pass_on(int signal_number)
{
    if (child > 0)
        kill(child, signal_number);
}

static void
kill_orphans(void)
{
    char path[64];
    FILE *f;
    int pid;

    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    f = fopen(path, "r");
    while (f != NULL && fscanf(f, "%d", &pid) == 1)
        kill(pid, SIGKILL);
    if (f != NULL)
        fclose(f);
}

int
main(int argc, char **argv)
{
    int status = 0, result = 1;
    pid_t ended;

    if (argc < 2 || prctl(PR_SET_CHILD_SUBREAPER, 1L) < 0) {
        fprintf(stderr, "usage: adopt COMMAND ...\n");
        return 2;
    }
    signal(SIGINT, pass_on);
    signal(SIGTERM, pass_on);
    child = fork();
    if (child == 0) {
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    while ((ended = waitpid(-1, &status, 0)) != -1) {
        if (ended == child) {
            result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            child = 0;
        }
        if (child == 0)
            kill_orphans(); /* their own children come to us, and are next */
    }
    return result;
}
