/* SPDX-License-Identifier: PostgreSQL */
/* What every cmocka file needs, in the order cmocka wants it. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#ifndef assert_int_in_range /* before cmocka 2 */
#define assert_int_in_range assert_in_range
#endif

#undef stop /* cmocka 2's */
#undef fail /* cmocka's; ours is base/fail.h's. fail_msg goes with it: tests print and assert      \
               instead */

#endif
