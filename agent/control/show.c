/* SPDX-License-Identifier: PostgreSQL */
#include "control/show.h"

#include "base/clock.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

const char *
show_word(const json_t *json, const char *key, const char *missing)
{
    const char *text = json_string_value(json_object_get(json, key));

    return text != NULL ? text : missing;
}

const char *
show_seconds(const json_t *value, char *out, size_t size)
{
    if (!json_is_number(value))
        snprintf(out, size, "unknown");
    else
        text_duration(out, size, (int64_t)(json_number_value(value) * (double)SECOND_US));
    return out;
}

const char *
show_bytes(const json_t *value, char *out, size_t size)
{
    if (!json_is_number(value) || json_number_value(value) < 0)
        snprintf(out, size, "unknown");
    else
        text_bytes(out, size, (uint64_t)json_number_value(value));
    return out;
}

/* Is `a` more than `b`? What is unknown is most. */
static bool
is_more(const json_t *a, const json_t *b)
{
    if (!json_is_number(a) || !json_is_number(b))
        return json_is_number(b);
    return json_number_value(a) > json_number_value(b);
}

static bool
is_worse_stream(const json_t *a, const json_t *b)
{
    bool up_a = strcmp(show_word(a, "state", ""), "up") == 0,
         up_b = strcmp(show_word(b, "state", ""), "up") == 0;

    if (up_a != up_b)
        return up_b;
    return is_more(json_object_get(json_object_get(a, "applied"), "lag_seconds"),
                   json_object_get(json_object_get(b, "applied"), "lag_seconds"));
}

bool
show_rests(const json_t *link)
{
    return json_is_false(json_object_get(link, "feeds")) &&
           strcmp(show_word(link, "state", ""), "stopped") == 0;
}

const json_t *
show_worst_stream(const json_t *status, const char **ret_direction)
{
    const json_t *worst = json_object_get(status, "receiving"), *link;
    size_t i;

    *ret_direction = "from";
    if (!json_is_object(worst))
        worst = NULL;
    json_array_foreach (json_object_get(status, "links"), i, link) {
        if (show_rests(link))
            continue;
        if (worst == NULL || is_worse_stream(link, worst)) {
            worst = link;
            *ret_direction = "to";
        }
    }
    return worst;
}

const json_t *
show_worst_standby(const json_t *status)
{
    const char *primary = show_word(json_object_get(status, "epoch"), "member", "");
    const json_t *worst = NULL, *member;
    size_t i;

    json_array_foreach (json_object_get(status, "members"), i, member)
        if (strcmp(show_word(member, "name", ""), primary) != 0 &&
            (worst == NULL || is_more(json_object_get(member, "applied_lag_seconds"),
                                      json_object_get(worst, "applied_lag_seconds"))))
            worst = member;
    return worst;
}

void
show_line(void *context, json_t *line)
{
    const char *text = show_word(line, "text", NULL);

    (void)context;
    if (text != NULL)
        printf("%s\n", text);
    fflush(stdout);
}

void
show_plan(void *already, json_t *line)
{
    if (json_is_true(json_object_get(line, "already")))
        *(bool *)already = true;
    show_line(NULL, line);
}

/* What diff prints, made safe for a terminal. */
static void
pass_on(int fd)
{
    FILE *in = fdopen(fd, "r");
    char *line = NULL;
    size_t size = 0;
    ssize_t length;

    while (in != NULL && (length = getline(&line, &size, in)) > 0)
        fwrite(text_make_safe(line, (size_t)length), 1, (size_t)length, stdout);
    fflush(stdout);
    free(line);
    if (in != NULL)
        fclose(in);
    else
        close(fd);
}

static pid_t
start_diff(const char *file, const char *label, int *ret_to, int *ret_from)
{
    const char *const argv[] = {"diff", "-uN", "--label", file, "--label",
                                label,  "--",  file,      "-",  NULL};
    int to[2], from[2];
    pid_t child;

    if (pipe2(to, O_CLOEXEC) < 0)
        return -1;
    if (pipe2(from, O_CLOEXEC) < 0) {
        close(to[0]);
        close(to[1]);
        return -1;
    }
    child = fork();
    if (child == 0) {
        dup2(to[0], STDIN_FILENO);
        dup2(from[1], STDOUT_FILENO);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    *ret_to = to[1];
    *ret_from = from[0];
    return child;
}

int
show_diff(const char *file, const char *label, const char *text, size_t length)
{
    int status = -1, to, from;
    pid_t child;

    fflush(stdout);
    child = start_diff(file, label, &to, &from);
    if (child > 0) {
        if (write(to, text, length) < 0)
            perror("walferry: diff does not read");
        close(to);
        pass_on(from);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status) ||
        WEXITSTATUS(status) > 1) {
        fprintf(stderr, "walferry: cannot run diff (package diffutils)\n");
        return 2;
    }
    return WEXITSTATUS(status);
}
