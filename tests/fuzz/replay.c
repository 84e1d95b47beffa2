/* SPDX-License-Identifier: PostgreSQL */
/* replay: a fuzz target on the files of the folders given as arguments; exit 1 when there are none.
 */
#include <assert.h>
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
replay_file(const char *path)
{
    FILE *file = fopen(path, "re");
    uint8_t *bytes = malloc(1u << 20);
    size_t n;

    assert(file != NULL && bytes != NULL);
    n = fread(bytes, 1, 1u << 20, file);
    fclose(file);
    bytes = realloc(bytes, n > 0 ? n : 1); /* exact: a sanitizer sees a step too far */
    assert(bytes != NULL);
    LLVMFuzzerTestOneInput(bytes, n);
    free(bytes);
    return 1;
}

int
main(int argc, char **argv)
{
    int count = 0;

    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        struct dirent *d;

        while (folder != NULL && (d = readdir(folder)) != NULL) {
            char path[1024];

            snprintf(path, sizeof path, "%s/%s", argv[i], d->d_name);
            if (d->d_type == DT_REG)
                count += replay_file(path);
        }
        if (folder != NULL)
            closedir(folder);
    }
    printf("%d inputs replayed\n", count);
    return count > 0 ? 0 : 1;
}
