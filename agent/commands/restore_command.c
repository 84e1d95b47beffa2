/* SPDX-License-Identifier: PostgreSQL */
/* See restore_command.h. */
#include "commands/restore_command.h"

#include "shipper/replication/relay.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define START_S   5   /* time in which a starting PostgreSQL renames its backup_label */
#define ASKED_MAX '3' /* once by read-ahead, before the stream, and when no stream came */

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

/* Has pg_wal a file of that segment, on any timeline? PostgreSQL would read it instead. */
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

/*
 * Does the data directory show a standby that nobody promotes? pg_promote and pg_ctl make a file in
 * it, which is removed before the rest of the WAL is read; after the start nothing else is made or
 * removed in it often, so its time of change tells. A promote_trigger_file elsewhere (13 to 15)
 * does not show.
 */
static bool
is_undisturbed_standby(void)
{
    FILE *pid_file = fopen("postmaster.pid", "r");
    long started = 0; /* the third line of the file (miscadmin.h) */
    struct stat here;
    bool known;

    if (pid_file == NULL)
        return false;
    known = fscanf(pid_file, "%*d\n%*[^\n]\n%ld", &started) == 1;
    fclose(pid_file);
    return known && access("standby.signal", F_OK) == 0 && access("promote", F_OK) < 0 &&
           stat(".", &here) == 0 && here.st_mtime >= started - 1 &&
           here.st_mtime <= started + START_S;
}

/* Streaming may put all of the spool from `name` on into pg_wal at once: it has to fit twice. */
static bool
has_room(const char *spool, const char *name)
{
    DIR *dir = opendir(spool);
    const struct dirent *entry;
    struct stat segment = {0};
    struct statvfs wal;
    uint64_t count = 0;

    if (dir == NULL)
        return false;
    while ((entry = readdir(dir)) != NULL)
        count += strlen(entry->d_name) == strlen(name) && strcmp(entry->d_name, name) >= 0;
    if (fstatat(dirfd(dir), name, &segment, 0) < 0)
        count = 0;
    closedir(dir);
    return count > 0 && statvfs("pg_wal", &wal) == 0 &&
           (uint64_t)wal.f_bavail * wal.f_frsize / 2 > count * (uint64_t)segment.st_size;
}

bool
restore_offered(const char *run, const char *spool, const char *name)
{
    char offer[UNIX_SOCKET_PATH_SIZE];
    char last[SEGMENT_NAME_SIZE + 1] = ""; /* the name, and how often it was asked for */
    bool offered;
    int fd;

    if (strlen(name) != SEGMENT_NAME_SIZE - 1)
        return false;
    snprintf(offer, sizeof offer, "%s/" RELAY_OFFER, run);
    fd = open(offer, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (!is_undisturbed_standby() || has_its_own(name) || !has_room(spool, name)) {
        close(fd);
        return false;
    }
    offered = pread(fd, last, sizeof last - 1, 0) >= 0;
    if (strncmp(last + 8, name + 8, SEGMENT_NAME_SIZE - 9) != 0) /* on any timeline */
        snprintf(last, sizeof last, "%s0", name);
    offered = offered && last[SEGMENT_NAME_SIZE - 1]++ < ASKED_MAX &&
              pwrite(fd, last, sizeof last - 1, 0) == sizeof last - 1;
    close(fd);
    if (!offered)
        unlink(offer);
    return offered;
}
