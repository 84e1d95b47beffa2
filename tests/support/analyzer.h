/* SPDX-License-Identifier: PostgreSQL */
/*
 * analyzer: clang-tidy reads this before each file but fail.c. Its analyzer sees one file at a time
 * and would take it for possible that fail() returns 0, and that what was not written is then used.
 */
#ifndef TESTS_ANALYZER_H
#define TESTS_ANALYZER_H

#include "../../include/base/fail.h"

static inline int
negative(int code)
{
    if (code >= 0)
        __builtin_unreachable();
    return code;
}

#define fail(...)      negative(fail(__VA_ARGS__))
#define fail_sys(...)  negative(fail_sys(__VA_ARGS__))
#define fail_in(...)   negative(fail_in(__VA_ARGS__))
#define fail_file(...) negative(fail_file(__VA_ARGS__))

#endif
