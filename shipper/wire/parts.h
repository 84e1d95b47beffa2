/* SPDX-License-Identifier: PostgreSQL */
/*
 * parts: what several frames have: times, members, epochs, chains, positions, fields. How each looks
 * stands in frame.h. What is out of bounds makes the reader fail.
 */
#ifndef SHIPPER_WIRE_PARTS_H
#define SHIPPER_WIRE_PARTS_H

#include "shipper/wire/frame.h"

int64_t part_get_time(struct reader *r);
void part_get_member(struct reader *r, char out[MEMBER_NAME_SIZE]);

void part_put_epoch(struct buf *out, const struct epoch *e);
void part_get_epoch(struct reader *r, struct epoch *e);
void part_get_epoch_or_none(struct reader *r, struct epoch *e);

void part_put_chain(struct buf *out, const struct pool_change *change, size_t changes);
/* How many; out may be NULL: only checked. */
size_t part_get_chain(struct reader *r, struct pool_change out[FRAME_CHANGES_MAX]);

void part_put_positions(struct buf *out, const struct member_position *position, size_t positions);
size_t part_get_positions(struct reader *r, struct member_position out[FRAME_MEMBERS_MAX]);

/* How many; out may be NULL: only checked. Ages are what has to be told: the caller's. */
void part_put_news(struct buf *out, const struct member_news *member, size_t members);
size_t part_get_news(struct reader *r, struct member_news out[FRAME_MEMBERS_MAX]);

#define FIELD_SESSION 1          /* of HELLO, of POOL */
#define FIELD_STAYS   3          /* of HELLO */
#define FIELD_ROUTES  2          /* of POOL */
#define FIELD_TABLE   2          /* of HELLO */
#define FIELD_NEWS    3          /* of POOL */
#define FIELD_HELD    4          /* of POOL */
#define FIELD_ANY     UINT32_MAX /* as the length of part_get_field */

void part_put_field(struct buf *out, uint8_t tag, uint32_t length); /* its bytes follow */
/* To the end of the frame: a field of that tag, which has to have that length (FIELD_ANY: any); false:
 * there is none. What a later version adds is skipped. */
bool part_get_field(struct reader *r, uint8_t tag, uint32_t length, struct reader *ret_field);

void part_put_routes(struct buf *out, const struct routes *routes);
void part_get_routes(struct reader *r, struct routes *ret_routes);

void part_skip_fields(struct reader *r);

#endif
