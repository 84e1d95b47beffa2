/* SPDX-License-Identifier: PostgreSQL */
/*
 * admission: who is led to PostgreSQL through a tunnel, by the start-up packet (gate.h) and by what
 * PostgreSQL says of its role: see tunnel.h for the two roles that pass. PostgreSQL is asked about
 * one role at a time.
 */
#ifndef AGENT_TUNNEL_ADMISSION_H
#define AGENT_TUNNEL_ADMISSION_H

#include "links/who.h"

#include "shipper/tunnel/gate.h"

struct admission {
    const struct who *who; /* borrowed */
    const void *asking;    /* whose role PostgreSQL is asked about; NULL: nobody's */
};

/* The verdict: 1 it passes, 0 PostgreSQL is still asked (come again), ERR_PEER it does not: why is
 * the message, and the SQLSTATE to say it with. */
int admission_judge(struct admission *a, const void *asker, const struct startup *s,
                    const char **ret_sqlstate);
void admission_forget(struct admission *a, const void *asker); /* it waits no more */

#endif
