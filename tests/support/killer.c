/*
 * killer: kill -9 at the n-th step that a command takes. Loaded before libc (LD_PRELOAD); counts
 * what changes the state of the world: rename, renameat, symlink, fork, and each hundredth unlink.
 * WALFERRY_KILL_AT=N: the N-th is not done. Only in walferry itself, not in the tools it runs.
 */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UNLINKS 100

static long left, unlinks;

__attribute__((constructor)) static void
begin(void)
{
    const char *n = getenv("WALFERRY_KILL_AT");

    left = n != NULL && strcmp(program_invocation_short_name, "walferry") == 0 ? atol(n) : 0;
}

static void
step(void)
{
    if (left > 0 && --left == 0)
        kill(getpid(), SIGKILL);
}

int
rename(const char *from, const char *to)
{
    step();
    return (int)syscall(SYS_renameat2, -100, from, -100, to, 0);
}

int
renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    step();
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

int
symlink(const char *target, const char *path)
{
    step();
    return (int)syscall(SYS_symlinkat, target, -100, path);
}

int
unlink(const char *path)
{
    if (++unlinks % UNLINKS == 0)
        step();
    return (int)syscall(SYS_unlinkat, -100, path, 0);
}

pid_t
fork(void)
{
    pid_t (*real)(void);

    *(void **)&real = dlsym(RTLD_NEXT, "fork");
    step();
    return real();
}
