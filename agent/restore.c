/* See restore.h. */
#include "restore.h"

#include "shipper/relay.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ASKED_MAX '3' /* by read-ahead, before it streams, and when there was no stream */

static void
leave(int signal_number)
{
    (void)signal_number;
    _exit(1);
}

void
restore_begin(void)
{
    static const int deadly[] = {SIGTERM, SIGINT,  SIGHUP, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2,
                                 SIGABRT, SIGSEGV, SIGBUS, SIGFPE,  SIGILL,  SIGXCPU};
    struct sigaction end = {.sa_handler = leave};

    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        sigaction(deadly[i], &end, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

/* A file of that segment, whatever its timeline, which a PostgreSQL that is given none would read.
 */
static bool
has_its_own(const char *name)
{
    DIR *wal = opendir("pg_wal");
    const struct dirent *entry;
    bool found = wal == NULL;

    while (!found && (entry = readdir(wal)) != NULL)
        found = strlen(entry->d_name) >= 24 && strncmp(entry->d_name + 8, name + 8, 16) == 0;
    if (wal != NULL)
        closedir(wal);
    return found;
}

bool
restore_offered(const char *run, const char *spool, const char *name)
{
    char offer[LOCAL_PATH_SIZE], segment[1024];
    char last[SEGMENT_NAME_SIZE + 1] = ""; /* the name, and how often it was asked for */
    bool offered;
    int fd;

    if (strlen(name) != SEGMENT_NAME_SIZE - 1)
        return false;
    snprintf(offer, sizeof offer, "%s/" RELAY_OFFER, run);
    snprintf(segment, sizeof segment, "%s/%s", spool, name);
    if (access("standby.signal", F_OK) < 0 || access("promote", F_OK) == 0 ||
        access(segment, F_OK) < 0 || (fd = open(offer, O_RDWR | O_CLOEXEC)) < 0)
        return false;
    if (has_its_own(name)) {
        close(fd);
        return false;
    }
    offered = pread(fd, last, sizeof last - 1, 0) >= 0;
    if (strncmp(last, name, SEGMENT_NAME_SIZE - 1) != 0)
        snprintf(last, sizeof last, "%s0", name);
    offered = offered && last[SEGMENT_NAME_SIZE - 1]++ < ASKED_MAX &&
              pwrite(fd, last, sizeof last - 1, 0) == sizeof last - 1;
    close(fd);
    if (!offered)
        unlink(offer);
    return offered;
}
