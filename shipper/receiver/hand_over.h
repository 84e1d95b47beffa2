/* SPDX-License-Identifier: PostgreSQL */
/*
 * hand_over: how sshd's two pipes get from `walferry receive` into the agent. inlet_hand_over
 * (inlet.h) gives them, this takes them.
 */
#ifndef SHIPPER_RECEIVER_HAND_OVER_H
#define SHIPPER_RECEIVER_HAND_OVER_H

#include "base/identity.h"

#include <stdbool.h>

/*
 * Exactly two descriptors and a name; whatever else comes along is closed. 1: taken; 0: the other
 * side has closed, it only asked whether an agent listens; ERR_AGAIN: nothing is here yet; ERR_PEER.
 */
int hand_over_take(int socket, char from[MEMBER_NAME_SIZE], bool *ret_no_tunnel, int *ret_in,
                   int *ret_out);

#endif
