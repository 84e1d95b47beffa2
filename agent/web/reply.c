/* SPDX-License-Identifier: PostgreSQL */
/* See reply.h. */
#include "web/reply.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
reply_text(struct reply *r, unsigned status, const char *format, ...)
{
    va_list args;
    int length;

    va_start(args, format);
    length = vasprintf(&r->body, format, args);
    va_end(args);
    r->status = length < 0 ? MHD_HTTP_INTERNAL_SERVER_ERROR : status;
    r->length = length < 0 ? 0 : (size_t)length;
    r->owned = length >= 0;
    r->type = "text/plain; charset=utf-8";
}

void
reply_json(struct reply *r, json_t *json)
{
    r->body = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    json_decref(json);
    r->status = r->body != NULL ? MHD_HTTP_OK : MHD_HTTP_INTERNAL_SERVER_ERROR;
    r->length = r->body != NULL ? strlen(r->body) : 0;
    r->owned = true;
    r->type = "application/json";
}

void
reply_file(struct reply *r, const char *type, const char *bytes)
{
    /* MHD asks for a pointer without const and keeps the bytes as they are */
    memcpy(&r->body, &bytes, sizeof bytes);
    r->length = strlen(bytes);
    r->status = MHD_HTTP_OK;
    r->type = type;
}
