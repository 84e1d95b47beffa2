/* drain: the rest of a dead server's log. */
#ifndef SENDER_DRAIN_H
#define SENDER_DRAIN_H

#include "shipper/sender/link.h"

int compress_all(struct link *l);
bool skip_comparison(struct link *l);
void stop_drain(struct link *l);
int run_drain(struct link *l);

#endif
