/* SPDX-License-Identifier: PostgreSQL */
/*
 * killer: kill -9 at the n-th step that a command takes. Loaded before libc (LD_PRELOAD); counts
 * what changes the state of the world: rename, renameat, symlink, fork, and each hundredth unlink.
 * WALFERRY_KILL_AT=N: the N-th is not done. WALFERRY_KILL_FILE=NAME: only what makes or removes the
 * file of this name counts. WALFERRY_KILL_TOOL=NAME: killed a moment after it has started that
 * tool. Only in walferry itself, not in the tools it runs.
 */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UNLINKS 100

#define MOMENT_US 150000

static long left, unlinks;
static const char *file, *tool;

__attribute__((constructor)) static void
begin(void)
{
    const char *n = getenv("WALFERRY_KILL_AT");

    if (strcmp(program_invocation_short_name, "walferry") != 0)
        return;
    left = n != NULL ? atol(n) : 0;
    file = getenv("WALFERRY_KILL_FILE");
    tool = getenv("WALFERRY_KILL_TOOL");
}

static void
step(const char *path)
{
    const char *name = path != NULL ? strrchr(path, '/') : NULL;

    if (file != NULL && (path == NULL || strcmp(name != NULL ? name + 1 : path, file) != 0))
        return;
    if (left > 0 && --left == 0)
        kill(getpid(), SIGKILL);
}

int
rename(const char *from, const char *to)
{
    step(to);
    return (int)syscall(SYS_renameat2, -100, from, -100, to, 0);
}

int
renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    step(to);
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

int
symlink(const char *target, const char *path)
{
    step(path);
    return (int)syscall(SYS_symlinkat, target, -100, path);
}

int
unlink(const char *path)
{
    if (file != NULL || ++unlinks % UNLINKS == 0)
        step(path);
    return (int)syscall(SYS_unlinkat, -100, path, 0);
}

int
unlinkat(int dir, const char *path, int flags)
{
    if (file != NULL)
        step(path);
    return (int)syscall(SYS_unlinkat, dir, path, flags);
}

pid_t
fork(void)
{
    pid_t (*real)(void);

    *(void **)&real = dlsym(RTLD_NEXT, "fork");
    step(NULL);
    return real();
}

/* In the child: a child of its own waits for the moment. */
int
execv(const char *path, char *const argv[])
{
    int (*real)(const char *, char *const *);
    const char *name = strrchr(path, '/');
    pid_t command = getppid();

    *(void **)&real = dlsym(RTLD_NEXT, "execv");
    if (tool != NULL && name != NULL && strcmp(name + 1, tool) == 0 && syscall(SYS_fork) == 0) {
        usleep(MOMENT_US);
        kill(command, SIGKILL);
        _exit(0);
    }
    return real(path, argv);
}
