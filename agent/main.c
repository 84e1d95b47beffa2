/* SPDX-License-Identifier: PostgreSQL */
/*
 * main: the command line. In come the arguments, out goes an exit code: 0 done, 1 failed or
 * refused, 2 usage or config; of `fetch` 0 or 1 and nothing else; of `check` and `validate` their
 * verdict, 3 for none.
 *
 * A command takes the options of its row, anywhere behind its name; an option that it does not take
 * is refused with its help. The config is loaded and this member found here, for every command.
 */
#include "commands/command.h"
#include "commands/restore_command.h"

#include "base/fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ARGS_MAX 3

enum option_flag {
    OPTION_PLACE = 1, /* --config and --member */
    OPTION_FROM = 2,
    OPTION_JSON = 4,
    OPTION_WATCH = 8,
    OPTION_YES = 16,
    OPTION_DRY_RUN = 32,
    OPTION_FORCE = 64,
    OPTION_APPLIED = 128,
    OPTION_TIMEOUT = 256,
    OPTION_SEED = 512, /* --replace, --rate and --map */
    OPTION_POOL = 1024,
    OPTION_LOCAL = 2048,
    OPTION_REASON = 4096,
    OPTION_DISCARD = 8192,
    OPTION_NO_TUNNEL = 16384,
    OPTION_PRIMARY = 32768,
    OPTION_EPOCH = 65536,
    OPTION_FAILOVER = 131072, /* --dead, --cancel, --break-promise and --reclaim */
    OPTION_OFFLINE = 262144,
    OPTION_ALL = 524288,
};

enum option_value {
    VALUE_NONE,
    VALUE_TEXT /* needed */,
    VALUE_SECONDS /* --option or --option=SECONDS */
};

static const struct option {
    const char *name;
    unsigned flag;
    enum option_value value;
    size_t offset, seconds_offset; /* in struct options */
} known_options[] = {
    {"--config", OPTION_PLACE, VALUE_TEXT, offsetof(struct options, config_file), 0},
    {"--member", OPTION_PLACE, VALUE_TEXT, offsetof(struct options, member), 0},
    {"--from", OPTION_FROM, VALUE_TEXT, offsetof(struct options, from), 0},
    {"--no-tunnel", OPTION_NO_TUNNEL, VALUE_NONE, offsetof(struct options, no_tunnel), 0},
    {"--json", OPTION_JSON, VALUE_NONE, offsetof(struct options, json), 0},
    {"--all", OPTION_ALL, VALUE_NONE, offsetof(struct options, all), 0},
    {"--watch", OPTION_WATCH, VALUE_SECONDS, offsetof(struct options, watch),
     offsetof(struct options, watch_s)},
    {"--yes", OPTION_YES, VALUE_NONE, offsetof(struct options, yes), 0},
    {"--dry-run", OPTION_DRY_RUN, VALUE_NONE, offsetof(struct options, dry_run), 0},
    {"--force", OPTION_FORCE, VALUE_NONE, offsetof(struct options, force), 0},
    {"--primary", OPTION_PRIMARY, VALUE_TEXT, offsetof(struct options, primary), 0},
    {"--epoch", OPTION_EPOCH, VALUE_TEXT, offsetof(struct options, epoch), 0},
    {"--dead", OPTION_FAILOVER, VALUE_NONE, offsetof(struct options, dead), 0},
    {"--cancel", OPTION_FAILOVER, VALUE_NONE, offsetof(struct options, cancel), 0},
    {"--break-promise", OPTION_FAILOVER, VALUE_TEXT, offsetof(struct options, break_promise), 0},
    {"--reclaim", OPTION_FAILOVER, VALUE_NONE, offsetof(struct options, reclaim), 0},
    {"--offline", OPTION_OFFLINE, VALUE_NONE, offsetof(struct options, offline), 0},
    {"--reason", OPTION_REASON, VALUE_TEXT, offsetof(struct options, reason), 0},
    {"--applied", OPTION_APPLIED, VALUE_NONE, offsetof(struct options, applied), 0},
    {"--timeout", OPTION_TIMEOUT, VALUE_TEXT, offsetof(struct options, timeout), 0},
    {"--pool", OPTION_POOL, VALUE_NONE, offsetof(struct options, pool), 0},
    {"--local", OPTION_LOCAL, VALUE_NONE, offsetof(struct options, local), 0},
    {"--replace", OPTION_SEED, VALUE_NONE, offsetof(struct options, replace), 0},
    {"--discard", OPTION_DISCARD, VALUE_NONE, offsetof(struct options, discard), 0},
    {"--rate", OPTION_SEED, VALUE_TEXT, offsetof(struct options, rate), 0},
    {"--map", OPTION_SEED, VALUE_TEXT, offsetof(struct options, map), 0},
};

struct command {
    const char *name;
    int (*run)(const struct config *, const struct member *, const struct options *);
    unsigned options;            /* that it takes */
    unsigned needs;              /* options that it cannot do without */
    int args;                    /* how many it needs; negative: at most so many */
    const char *synopsis, *help; /* the list of all commands has only the first line of help */
};

static int command_help(const struct config *config, const struct member *self,
                        const struct options *options);
static int command_version(const struct config *config, const struct member *self,
                           const struct options *options);

static const struct command commands[] = {
    {"agent", command_agent, OPTION_PLACE, 0, 0, "",
     "run the agent of this member, in the foreground"},
    {"status", command_status, OPTION_PLACE | OPTION_JSON | OPTION_WATCH | OPTION_ALL, 0, 0,
     "[--json] [--watch[=SECONDS]]",
     "show members, roles, positions and lag, as this host's agent knows them\n"
     "\n"
     "  --json          for programs\n"
     "  --watch         again every second, or so many\n"
     "  --all           every pool of this host: each *.ini in /etc/walferry, or where --config is"},
    {"check", command_check, OPTION_PLACE, 0, 0, "",
     "monitoring plugin: one line, exit 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN"},
    {"events", command_events, OPTION_PLACE | OPTION_JSON, 0, 0, "[--json]",
     "show what was raised and cleared here, the oldest first"},
    {"gaps", command_gaps, OPTION_PLACE | OPTION_JSON | OPTION_YES | OPTION_REASON, 0, -2,
     "[fill|give-up [MEMBER]] [--json] [--yes] [--reason=TEXT]",
     "show WAL that other members lack; get it with consent, or give it up"},
    {"route", command_route, OPTION_PLACE | OPTION_JSON, 0, -2,
     "[pin MEMBER | unpin [MEMBER]] [--json]",
     "show who feeds whom, and why; say who shall be the head of its site"},
    {"validate", command_validate, OPTION_PLACE | OPTION_JSON | OPTION_POOL | OPTION_LOCAL, 0, -1,
     "[NAME | --pool | --local] [--json]",
     "is a member (this one) ready for a role change? exit 0 yes, 1 with warnings, 2 no, 3 unknown"},
    {"failover", command_failover,
     OPTION_PLACE | OPTION_YES | OPTION_DRY_RUN | OPTION_FORCE | OPTION_FAILOVER | OPTION_EPOCH, 0,
     0, "[--dry-run] [--yes] ...",
     "make this host's standby the primary\n"
     "\n"
     "  --dry-run       say what would be lost and done, change nothing\n"
     "  --yes           do not ask\n"
     "  --dead          the primary's host is dead: do not wait for its agent to dial again\n"
     "  --force         also while the primary answers, or without what its dead server left\n"
     "  --cancel        end the failover that asks and prepares; nothing is changed\n"
     "  --break-promise MEMBER  give up what this member has promised to a failover on that one,\n"
     "                  which is gone for good\n"
     "  --epoch N       the new epoch's number, where nobody can be asked for the present one\n"
     "  --reclaim       a server that was deposed, promoted by hand, or parted from the pool: make it\n"
     "                  the primary from where it stands, when the present one is gone for good"},
    {"resolve", command_resolve, OPTION_PLACE | OPTION_YES | OPTION_PRIMARY, OPTION_PRIMARY, 0,
     "--primary MEMBER [--yes]",
     "two members call themselves the primary: say which one is right\n"
     "\n"
     "  --primary NAME  the one that is\n"
     "  --yes           do not ask"},
    {"rejoin", command_rejoin,
     OPTION_PLACE | OPTION_YES | OPTION_DRY_RUN | OPTION_SEED | OPTION_OFFLINE | OPTION_FROM, 0, 0,
     "[--dry-run] [--yes] [--replace] [--offline]",
     "make a former primary a standby again; what it alone has is kept and listed\n"
     "\n"
     "  --dry-run       say where it parted and what would be done, change nothing\n"
     "  --yes           do not ask\n"
     "  --replace       make a new copy (see seed) instead of rewinding; --rate and --map as there\n"
     "  --from MEMBER   who gives the pages; else the nearest that can\n"
     "  --offline       the primary is gone: by what the spool here has of it, if nothing parted"},
    {"lost", command_lost, OPTION_PLACE | OPTION_JSON | OPTION_DISCARD | OPTION_YES, 0, 0,
     "[--json] [--discard [--yes]]",
     "show what failovers have cost: at most, and after the rejoin exactly\n"
     "\n"
     "  --discard       give up the acknowledged WAL that is missing in this primary: WF020 ends\n"
     "  --yes           do not ask"},
    {"config", command_config, OPTION_PLACE | OPTION_FORCE | OPTION_YES, 0, -2,
     "[show MEMBER | diff MEMBER | push [FILE] [--yes] [--force]]",
     "compare the pool's file between members, or send a new one to all"},
    {"files", command_files, OPTION_PLACE | OPTION_YES | OPTION_DRY_RUN, 0, -3,
     "[show | diff | apply [--dry-run] [--yes] MEMBER PATH]",
     "list the files outside the WAL that other members sent, or put one in place here"},
    {"sync", command_sync, OPTION_PLACE | OPTION_APPLIED | OPTION_TIMEOUT, 0, -1,
     "[MEMBER] [--applied] [--timeout 60s]",
     "wait until all that is committed now is durable on the other site"},
    {"seed", command_seed,
     OPTION_PLACE | OPTION_YES | OPTION_DRY_RUN | OPTION_FORCE | OPTION_SEED | OPTION_DISCARD |
         OPTION_FROM,
     0, 0, "[--dry-run] [--replace] ...",
     "copy the database to this host, and start it as a standby\n"
     "\n"
     "  --dry-run       size, room, and the time, by a few seconds of a real copy\n"
     "  --replace       instead of the copy that is here, which stays until the new one follows\n"
     "  --yes           do not ask\n"
     "  --discard       also the commits that only the data here has; they are shown first\n"
     "  --force         also where pg_wal is a link, or instead of a copy that does not get on\n"
     "  --from MEMBER   who gives the copy; else the nearest that can\n"
     "  --rate BYTES    per second, as in 20MB\n"
     "  --map OLD=NEW   where a tablespace goes; several with ',' between"},
    {"set", command_set, OPTION_PLACE, 0, 1, "KEY=VALUE",
     "change lanes, compression or rate_limit until the agent's next start"},
    {"fetch", command_fetch, OPTION_PLACE | OPTION_FROM, 0, 2, "FILE TARGET",
     "restore_command: copy a whole segment out of the spool"},
    {"receive", command_receive, OPTION_PLACE | OPTION_FROM | OPTION_NO_TUNNEL,
     OPTION_PLACE | OPTION_FROM, 0, "--from MEMBER [--no-tunnel]",
     "run by sshd for a bound key: hand the session to the agent\n"
     "\n"
     "  --no-tunnel     the key ships WAL and asks questions: no way to PostgreSQL or the relay"},
    {"help", command_help, 0, 0, -1, "[COMMAND]", "show this, or one command"},
    {"version", command_version, 0, 0, 0, "", "show the version"},
};

#define COMMANDS (sizeof commands / sizeof *commands)
#define OPTIONS  (sizeof known_options / sizeof *known_options)

static const struct command *
find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* The help of one command, or for NULL of all. */
static void
print_help(FILE *out, const struct command *only)
{
    if (only != NULL)
        fprintf(out, "walferry %s%s%s%s\n    %s\n", only->name,
                only->options & OPTION_PLACE ? " [--config FILE] " : " ",
                only->needs & OPTION_PLACE     ? "--member NAME "
                : only->options & OPTION_PLACE ? "[--member NAME] "
                                               : "",
                only->synopsis, only->help);
    else
        fprintf(out, "walferry keeps a PostgreSQL database alive when a datacenter is lost.\n\n");
    for (size_t i = 0; i < COMMANDS && only == NULL; i++)
        fprintf(out, "  %-8s %-29s %.*s\n", commands[i].name, commands[i].synopsis,
                (int)strcspn(commands[i].help, "\n"), commands[i].help);
    if (only == NULL || (only->options & OPTION_PLACE) != 0)
        fprintf(out, "\n"
                     "  --config FILE   the pool's file; else WALFERRY_CONFIG, else the only *.ini "
                     "in /etc/walferry\n"
                     "  --member NAME   who this is; else WALFERRY_MEMBER, else whose ssh host is "
                     "this machine\n");
    if (only == NULL)
        fprintf(out,
                "\nExit: 0 done, 1 failed or refused, 2 usage or config, 130 cancelled; check and "
                "validate have their own.\n");
}

static int
usage(const struct command *command, const char *what, const char *which)
{
    fprintf(stderr, "walferry: %s%s\n", what, which);
    if (command != NULL && command->run == command_receive)
        return 2; /* one line: the far side shows it as its reason */
    fputc('\n', stderr);
    print_help(stderr, command);
    return 2;
}

static int
command_help(const struct config *config, const struct member *self, const struct options *options)
{
    const struct command *only = options->arg_count > 0 ? find_command(options->args[0]) : NULL;

    (void)config;
    (void)self;
    if (options->arg_count > 0 && only == NULL)
        return usage(NULL, "no such command: ", options->args[0]);
    print_help(stdout, only);
    return 0;
}

static int
command_version(const struct config *config, const struct member *self,
                const struct options *options)
{
    (void)config;
    (void)self;
    (void)options;
    printf("walferry %s\n", WALFERRY_VERSION);
    return 0;
}

static const struct option *
find_option(const char *arg, const struct command *command)
{
    for (size_t i = 0; i < OPTIONS; i++)
        if (strncmp(arg, known_options[i].name, strcspn(arg, "=")) == 0 &&
            known_options[i].name[strcspn(arg, "=")] == '\0')
            return known_options[i].flag & command->options ? &known_options[i] : NULL;
    return NULL;
}

/* `value`: behind the '=' or the next argument; NULL: none. False: it is missing or wrong. */
static bool
take_option(struct options *o, const struct option *option, const char *value)
{
    char *field = (char *)o + option->offset;
    long seconds;
    char *rest;

    if (option->value == VALUE_TEXT) {
        *(const char **)(void *)field = value;
        return value != NULL && value[0] != '\0';
    }
    *(bool *)(void *)field = true;
    if (value == NULL || option->value == VALUE_NONE)
        return value == NULL;
    seconds = strtol(value, &rest, 10);
    *(int *)(void *)((char *)o + option->seconds_offset) = (int)seconds;
    return *rest == '\0' && seconds >= 1 && seconds <= 3600;
}

static int
parse_options(struct options *o, const struct command *command, int argc, char **argv)
{
    static const char *args[ARGS_MAX];
    int wanted = command->args;

    *o = (struct options){.watch_s = 1, .args = args};
    for (int i = 2; i < argc; i++) {
        const char *arg = argv[i], *value = strchr(arg, '=');
        const struct option *option = find_option(arg, command);

        if (arg[0] == '-' && option == NULL)
            return usage(command, "no such option here: ", arg);
        if (arg[0] != '-' && o->arg_count == (wanted < 0 ? -wanted : wanted))
            return usage(command, "one argument too many: ", arg);
        if (arg[0] != '-') {
            args[o->arg_count++] = arg;
            continue;
        }
        value = value != NULL                                 ? value + 1
                : option->value == VALUE_TEXT && i + 1 < argc ? argv[++i]
                                                              : NULL;
        if (!take_option(o, option, value))
            return usage(command, "a value is missing or wrong: ", arg);
    }
    if (o->arg_count < wanted)
        return usage(command, "an argument is missing", "");
    if ((command->needs & OPTION_FROM) != 0 && o->from == NULL)
        return usage(command, "--from is missing", "");
    if ((command->needs & OPTION_PRIMARY) != 0 && o->primary == NULL)
        return usage(command, "--primary is missing", "");
    if ((command->needs & OPTION_PLACE) != 0 && o->member == NULL)
        return usage(command, "--member is missing", "");
    return 0;
}

/* The exit code of these is a verdict, and 2 a bad one: wrong usage has JUDGE_UNKNOWN. */
static bool
judges(const struct command *command)
{
    return command->run == command_check || command->run == command_validate;
}

static int
run(const struct command *command, const struct options *options)
{
    int wrong = judges(command) ? JUDGE_UNKNOWN : 2;
    static struct config config; /* large */
    const struct member *self = NULL;
    char file[sizeof config.file];

    if ((command->options & OPTION_PLACE) == 0 || options->all) /* that finds them itself */
        return command->run(NULL, NULL, options);
    if (config_find(options->config_file, file, sizeof file) < 0) {
        fprintf(stderr, "walferry: %s\n", fail_message());
        return wrong;
    }
    if (config_load(&config, file, stderr) < 0)
        return wrong;
    if (config_self(&config, options->member, &self) < 0) {
        fprintf(stderr, "walferry: %s\n", fail_message());
        return wrong;
    }
    return command->run(&config, self, options);
}

int
main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    const struct command *command;
    struct options options;
    int code;

    umask(077);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    command = find_command(name);
    if (command == NULL)
        return usage(NULL, name[0] != '\0' ? "no such command: " : "a command is missing", name);
    if (command->run == command_fetch)
        restore_begin();
    for (int i = 2; i < argc && command->run != command_fetch; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(stdout, command);
            return 0;
        }
    }
    code = parse_options(&options, command, argc, argv);
    if (code == 0)
        code = run(command, &options);
    else if (judges(command))
        code = JUDGE_UNKNOWN;
    return command->run == command_fetch && code != 0 ? 1 : code;
}
