/* SPDX-License-Identifier: PostgreSQL */
/* report: which routes it tells. Looks into report.c. */
#include "unit/unit.h"

#define WALFERRY_VERSION "of a test"
#include "../../../../agent/monitor/report.c"

static struct config config = {.member = {{.name = "dc1-a", .site = "dc1"}}, .members = 1};
static struct who who = {.config = &config, .self = &config.member[0]};
static const struct view view = {.who = &who};

/* After a failover the table of before says nothing of now: nobody knows until the new primary's comes. */
static void
test_report_tells_no_routes_of_an_earlier_epoch(void **state)
{
    json_t *routes;

    (void)state;
    who.pool = (struct pool){.epoch = {1, "dc1-a"},
                             .routes = {.epoch = {1, "dc1-a"},
                                        .number = 3,
                                        .count = 1,
                                        .route = {{.member = "dc1-a", .why = ROUTE_PRIMARY}}}};
    routes = report_routes(&view);
    assert_int_equal(json_integer_value(json_object_get(routes, "number")), 3);
    json_decref(routes);
    who.pool.epoch = (struct epoch){2, "dc2-a"};
    assert_true(json_is_null(report_routes(&view)));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_report_tells_no_routes_of_an_earlier_epoch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
