/*
 * main: the command line. One table of commands, one of options; anything else is refused with the
 * nearest help and exit 2. Config and member are found once, here, for the commands that need them.
 */
#include "command.h"

#include "base/fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum option_flag {
    OPTION_FROM = 1,
    OPTION_JSON = 2,
    OPTION_YES = 4,
    OPTION_DRY_RUN = 8,
    OPTION_FORCE = 16,
    OPTION_WATCH = 32,
    OPTION_PLACE = 64, /* --config and --member */
};

struct command {
    const char *name;
    int (*run)(const struct config *, const struct member *, const struct options *);
    unsigned options; /* that it takes */
    int args;         /* exactly */
    const char *synopsis, *help;
};

static const struct command commands[] = {
    {"agent", command_agent, OPTION_PLACE, 0, "", "run the agent of this member, in the foreground"},
    {"status", command_status, OPTION_PLACE | OPTION_JSON | OPTION_WATCH, 0, "[--json] [--watch[=SECONDS]]",
     "show members, roles, positions and lag, as the agent of this host knows them"},
    {"failover", command_failover, OPTION_PLACE | OPTION_YES | OPTION_DRY_RUN | OPTION_FORCE, 0,
     "[--yes] [--dry-run] [--force]", "make the standby of this host the primary"},
    {"fetch", command_fetch, OPTION_PLACE, 2, "FILE TARGET", "restore_command: copy a segment from the spool"},
    {"receive", command_receive, OPTION_PLACE | OPTION_FROM, 0, "--from MEMBER",
     "run by sshd for a bound key: hand the session to the agent"},
};

static const struct command *
find_command(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void
print_help(FILE *out, const struct command *only)
{
    if (only != NULL) {
        fprintf(out, "walferry %s [--config FILE] [--member NAME] %s\n    %s\n", only->name, only->synopsis, only->help);
        return;
    }
    fprintf(out, "walferry keeps a PostgreSQL database alive when a datacenter is lost.\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  walferry %-9s %-34s %s\n", commands[i].name, commands[i].synopsis, commands[i].help);
    fprintf(out, "  walferry %-9s %-34s %s\n  walferry %-9s %-34s %s\n\n", "help", "[COMMAND]", "this text", "version", "",
            "the version");
    fprintf(out, "--config FILE   the pool's file; else WALFERRY_CONFIG, else the only *.ini in /etc/walferry\n"
                 "--member NAME   which member this is; else WALFERRY_MEMBER, else the one whose ssh host is this machine\n"
                 "exit: 0 done, 1 failed or refused, 2 usage or config\n");
}

/* "--name VALUE" or "--name=VALUE": the value, *index moved; NULL: there is none. */
static const char *
value_of(const char *name, int *index, int argc, char **argv)
{
    size_t length = strlen(name);

    if (argv[*index][length] == '=')
        return argv[*index] + length + 1;
    return *index + 1 < argc ? argv[++*index] : NULL;
}

static bool
is_option(const char *arg, const char *name)
{
    size_t length = strlen(name);

    return strncmp(arg, name, length) == 0 && (arg[length] == '\0' || arg[length] == '=');
}

/* One argument that begins with "--": true when it was understood. */
static bool
take_option(struct options *o, const struct command *command, int *index, int argc, char **argv)
{
    static const struct {
        const char *name;
        unsigned flag;
    } known[] = {
        {"--config", OPTION_PLACE}, {"--member", OPTION_PLACE}, {"--from", OPTION_FROM},
        {"--json", OPTION_JSON},    {"--yes", OPTION_YES},      {"--dry-run", OPTION_DRY_RUN},
        {"--force", OPTION_FORCE},  {"--watch", OPTION_WATCH},
    };
    const char *arg = argv[*index], **value = NULL;
    size_t i = 0;

    while (i < sizeof known / sizeof *known && !is_option(arg, known[i].name))
        i++;
    if (i == sizeof known / sizeof *known || (known[i].flag & command->options) == 0)
        return false;
    if (i <= 2) {
        value = i == 0 ? &o->config_file : i == 1 ? &o->member : &o->from;
        *value = value_of(known[i].name, index, argc, argv);
        return *value != NULL;
    }
    if (known[i].flag == OPTION_WATCH && arg[strlen("--watch")] == '=') {
        o->watch_s = atoi(arg + strlen("--watch="));
        o->watch = true;
        return o->watch_s >= 1 && o->watch_s <= 3600;
    }
    if (strcmp(arg, known[i].name) != 0)
        return false;
    o->json |= known[i].flag == OPTION_JSON;
    o->yes |= known[i].flag == OPTION_YES;
    o->dry_run |= known[i].flag == OPTION_DRY_RUN;
    o->force |= known[i].flag == OPTION_FORCE;
    o->watch |= known[i].flag == OPTION_WATCH;
    return true;
}

static int
usage(const struct command *command, const char *what, const char *which)
{
    fprintf(stderr, "walferry: %s%s\n", what, which);
    print_help(stderr, command);
    return 2;
}

static int
parse_options(struct options *o, const struct command *command, int argc, char **argv)
{
    static const char *args[8];

    *o = (struct options){.watch_s = 1, .args = args};
    for (int i = 2; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0 && o->arg_count < 8)
            args[o->arg_count++] = argv[i];
        else if (!take_option(o, command, &i, argc, argv))
            return usage(command, "not understood: ", i < argc ? argv[i] : "(a value is missing)");
    }
    if (o->arg_count != command->args)
        return usage(command, o->arg_count > command->args ? "too many arguments" : "an argument is missing", "");
    if ((command->options & OPTION_FROM) != 0 && (o->from == NULL || o->member == NULL))
        return usage(command, "--from and --member are needed", "");
    return 0;
}

static int
run(const struct command *command, int argc, char **argv)
{
    static struct config config; /* large */
    const struct member *self;
    struct options options;
    char file[256];
    int code = parse_options(&options, command, argc, argv);

    if (code != 0)
        return code;
    if (config_find(options.config_file, file, sizeof file) < 0) {
        fprintf(stderr, "walferry: %s\n", fail_message());
        return 2;
    }
    if (config_load(&config, file, stderr) < 0)
        return 2;
    if (config_self(&config, options.member, &self) < 0) {
        fprintf(stderr, "walferry: %s\n", fail_message());
        return 2;
    }
    return command->run(&config, self, &options);
}

int
main(int argc, char **argv)
{
    const struct command *command;
    int code;

    umask(077);
    if (argc < 2) {
        print_help(stderr, NULL);
        return 2;
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout, argc > 2 ? find_command(argv[2]) : NULL);
        return 0;
    }
    if (strcmp(argv[1], "version") == 0 || strcmp(argv[1], "--version") == 0) {
        printf("walferry %s\n", WALFERRY_VERSION);
        return 0;
    }
    command = find_command(argv[1]);
    if (command == NULL)
        return usage(NULL, "no such command: ", argv[1]);
    code = run(command, argc, argv);
    return command->run == command_fetch && code != 0 ? 1 : code;
}
