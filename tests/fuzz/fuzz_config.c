/* SPDX-License-Identifier: PostgreSQL */
/*
 * fuzz_config: any bytes at all as a config. What is accepted must be whole: bounded strings, two
 * members or more, every value that the agent relies on in place; what is refused says why.
 */
#include "agent/config/check.c"
#include "agent/config/config.c"
#include "agent/config/host.c"
#include "agent/config/key.c"
#include "agent/config/member.c"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config c;
    const struct member *self;
    char *said = NULL;
    size_t said_bytes;
    FILE *errors = open_memstream(&said, &said_bytes);
    int code = config_parse(&c, "fuzz.ini", (const char *)data, size, errors);

    fclose(errors);
    assert(code == 0 ? said_bytes == 0 : code == ERR_USAGE && said_bytes > 0);
    free(said);
    if (code < 0)
        return 0;
    assert(c.members >= 2 && c.members <= MEMBERS_MAX);
    for (size_t i = 0; i < c.members; i++) {
        PQconninfoOption *parsed = PQconninfoParse(c.member[i].postgres, NULL);

        assert(parsed != NULL);
        PQconninfoFree(parsed);
        assert(config_self(&c, c.member[i].name, &self) == 0 && self == &c.member[i]);
        assert(self->spool[0] == '/' && self->run[0] == '/' && self->pgdata[0] == '/' &&
               self->keep_us >= 0);
        assert((self->target.host_key[0] != '\0') != (self->target.known_hosts[0] != '\0'));
        assert(strcmp(self->target.identity, self->identity) == 0);
    }
    return 0;
}
