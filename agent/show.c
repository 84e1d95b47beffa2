#include "show.h"

#include "base/clock.h"
#include "base/text.h"

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

void
show_line(void *context, json_t *line)
{
    const char *text = show_word(line, "text", NULL);

    (void)context;
    if (text != NULL)
        printf("%s\n", text);
    fflush(stdout);
}

int
show_diff(const char *file, const char *label, const char *text, size_t length)
{
    char program[] = "diff", unified[] = "-uN", label_option[] = "--label", stdin_name[] = "-";
    char *here = strdup(file), *there = strdup(label);
    char *argv[] = {program, unified, label_option, here,        label_option,
                    there,   here,    stdin_name,   (char *)NULL};
    int pipes[2], status = -1;
    pid_t child = -1;

    fflush(stdout);
    if (here != NULL && there != NULL && pipe(pipes) == 0) {
        child = fork();
        if (child == 0) {
            dup2(pipes[0], STDIN_FILENO);
            close(pipes[0]);
            close(pipes[1]);
            execvp(program, argv);
            _exit(127);
        }
        close(pipes[0]);
        if (child > 0 && write(pipes[1], text, length) < 0)
            perror("walferry: diff does not read");
        close(pipes[1]);
    }
    free(here);
    free(there);
    if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status) ||
        WEXITSTATUS(status) > 1) {
        fprintf(stderr, "walferry: cannot run diff (package diffutils)\n");
        return 2;
    }
    return WEXITSTATUS(status);
}
