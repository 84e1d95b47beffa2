/* store: where WAL may be beside the server. */
#ifndef SENDER_STORE_H
#define SENDER_STORE_H

#include "shipper/sender/link.h"

struct source *source_of(const struct link *l, lsn_t lsn, uint64_t behind_bytes);
bool in_store(const struct link *l, lsn_t lsn);
bool ships_store(const struct link *l);

#endif
