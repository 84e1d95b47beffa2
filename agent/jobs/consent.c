/* SPDX-License-Identifier: PostgreSQL */
/* See consent.h. */
#include "jobs/consent.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
consent_terminal(const char *command)
{
    if (isatty(STDIN_FILENO) == 1)
        return 0;
    fprintf(stderr,
            "walferry %s: there is no terminal to ask on; use --yes, or --dry-run to see what it "
            "would do\n",
            command);
    return 2;
}

int
consent(const char *command, const struct member *self, bool yes, const char *question)
{
    char answer[64];

    if (yes)
        return 0;
    if (consent_terminal(command) != 0)
        return 2;
    printf("%s Type the name of this member (%s): ", question, self->name);
    fflush(stdout);
    if (fgets(answer, sizeof answer, stdin) != NULL) {
        answer[strcspn(answer, "\n")] = '\0';
        if (strcmp(answer, self->name) == 0)
            return 0;
    }
    printf("nothing was changed\n");
    return 1;
}
