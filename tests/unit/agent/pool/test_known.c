/* SPDX-License-Identifier: PostgreSQL */
/* known: what is kept of what is told of members, and how old it is. */
#include "unit/unit.h"

#include "base/clock.h"
#include "pool/known.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S SECOND_US

static const char *const names[] = {"a", "b", "c", "d"};

/* What `self` knows: nothing, at 100 s. */
static struct known
nothing(const char *self)
{
    struct known k = {.since_us = 100 * S};

    for (size_t i = 0; i < 4; i++)
        known_add(&k, names[i], strcmp(names[i], self) == 0);
    return k;
}

/* `teller` says at base_us that `member` was at `flushed` age_us before. */
static bool
hear(struct known *k, const char *teller, const char *member, int64_t age_us, lsn_t flushed,
     int64_t base_us, int64_t now_us)
{
    struct member_news n = {.age_us = age_us, .state = {.flushed = flushed}};

    snprintf(n.member, sizeof n.member, "%s", member);
    return known_hear(k, teller, &n, 1, base_us, now_us);
}

static void
expect(const struct known *k, const char *member, lsn_t flushed, const char *by, int64_t seen_us)
{
    const struct known_member *m = known_of(k, member);

    assert_non_null(m);
    assert_int_equal(m->state.flushed, flushed);
    assert_string_equal(m->by, by);
    assert_int_equal(m->seen_us, seen_us);
}

static void
test_known_younger_wins(void **state)
{
    static const struct {
        const char *teller;
        int64_t age_us, base_us;
        bool taken;
    } rows[] = {
        {"c", 1 * S, 200 * S, true},  /* passed on: better than nothing */
        {"d", 2 * S, 200 * S, false}, /* older */
        {"d", 1 * S, 200 * S, false}, /* as old: nothing changes hands */
        {"d", 1 * S, 201 * S, true},  /* younger */
        {"b", 0, 201 * S, true},      /* its own */
        {"b", 0, 202 * S, true},      /* ... and on */
        {"c", 0, 203 * S, false},     /* passed on, a little younger */
        {"c", 0, 204 * S, true},      /* its own word comes no more */
        {"b", 0, 204 * S, false},     /* not younger */
        {"b", 0, 204 * S + 1, true},  /* it is back */
        {"c", 1, 215 * S, true},      /* it is silent, and known elsewhere */
    };
    struct known k = nothing("a");

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (hear(&k, rows[i].teller, "b", rows[i].age_us, i + 1, rows[i].base_us,
                 rows[i].base_us) != rows[i].taken)
            printf("row %zu\n", i);
        assert_int_equal(known_of(&k, "b")->state.flushed == i + 1, rows[i].taken);
    }
    expect(&k, "b", 11, "c", 215 * S - 1);
}

static void
test_known_own_word_is_kept_while_it_is_fresh(void **state)
{
    struct known k = nothing("a");

    (void)state;
    assert_true(hear(&k, "b", "b", 0, 1, 200 * S, 200 * S));
    assert_false(hear(&k, "c", "b", 0, 2, 201 * S, 201 * S));
    expect(&k, "b", 1, "", 200 * S);
    assert_true(hear(&k, "c", "b", 0, 3, 202 * S, 202 * S));
    expect(&k, "b", 3, "c", 202 * S);
    assert_true(hear(&k, "b", "b", 0, 4, 202 * S + 1, 203 * S)); /* its own, at once */
    expect(&k, "b", 4, "", 202 * S + 1);
}

static void
test_known_takes_no_nonsense(void **state)
{
    struct known k = nothing("a");

    (void)state;
    assert_false(hear(&k, "b", "b", 0, 1, 201 * S, 200 * S));  /* of the future */
    assert_false(hear(&k, "b", "a", 0, 1, 200 * S, 200 * S));  /* we know ourselves better */
    assert_false(hear(&k, "b", "x", 0, 1, 200 * S, 200 * S));  /* not of the pool */
    assert_false(hear(&k, "b", "c", -1, 1, 200 * S, 200 * S)); /* younger than now */
    assert_false(hear(&k, "b", "c", INT64_C(1) << 58, 1, 200 * S, 200 * S));
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(k.member[i].seen_us, 0);
    assert_null(known_of(&k, "x"));
}

static void
test_known_silence_is_told_with_its_age(void **state)
{
    struct known k = nothing("a");
    int64_t silent_us;

    (void)state;
    assert_false(known_silent(&k, known_of(&k, "b"), 109 * S, &silent_us));
    assert_true(known_silent(&k, known_of(&k, "b"), 110 * S, &silent_us)); /* since we began */
    assert_int_equal(silent_us, 10 * S);
    hear(&k, "c", "b", 4 * S, 1, 120 * S, 120 * S);
    assert_false(known_silent(&k, known_of(&k, "b"), 125 * S, &silent_us));
    assert_int_equal(silent_us, 9 * S);
    assert_true(known_silent(&k, known_of(&k, "b"), 126 * S, &silent_us));
    assert_false(known_silent(&k, known_of(&k, "a"), 300 * S, &silent_us)); /* ourselves */
}

static void
test_known_is_told_but_to_where_it_came_from(void **state)
{
    struct known k = nothing("a");
    struct member_state own = {.flushed = 7, .reason = "disk"};
    struct member_news out[KNOWN_MAX];

    (void)state;
    hear(&k, "b", "b", 0, 1, 200 * S, 200 * S);
    hear(&k, "b", "c", 1 * S, 2, 200 * S, 200 * S);
    assert_int_equal(known_tell(&k, &own, "b", 0, 203 * S, out), 1); /* not b itself, nor c by b */
    assert_string_equal(out[0].member, "a");
    assert_string_equal(out[0].state.reason, "disk");
    assert_int_equal(out[0].age_us, 0);
    assert_int_equal(known_tell(&k, &own, "d", 3, 203 * S, out), 3); /* nothing is known of d */
    assert_string_equal(out[2].member, "c");
    assert_string_equal(out[2].by, "b");
    assert_int_equal(out[2].age_us, 4 * S);
    assert_int_equal(out[2].state.flushed, 2);
    assert_int_equal(known_tell(&k, &own, "d", 4, 203 * S, out), 1); /* not each time */
    assert_string_equal(out[0].member, "a");
}

static void
test_known_who_dials(void **state)
{
    static const struct {
        bool linked, earlier;
        int64_t silent_us;
        bool dials;
    } rows[] = {
        {false, true, 0, true},       {false, true, 99 * S, true},  {true, true, 99 * S, false},
        {false, false, 0, false},     {false, false, 9 * S, false}, {false, false, 10 * S, true},
        {true, false, 10 * S, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(known_dials(rows[i].linked, rows[i].earlier, rows[i].silent_us),
                         rows[i].dials);
}

/* ---- four members that tell each other all they know, over lines that come and go ---- */

struct letter {
    int from, to;
    int64_t arrives_us, echo_us; /* echo_us: of the reader's clock, when it asked */
    struct member_news news[KNOWN_MAX];
    size_t count;
};

#define LETTERS_MAX 512

/* Each member's clock has its own zero and rate; what a member is at is the true time, as `flushed`. */
static int64_t
clock_of(int member, int64_t true_us)
{
    static const int64_t zero[] = {100 * S, 5000 * S, 70 * S, 900 * S};
    static const int64_t slow_ppm[] = {0, 200, -200, 50};

    return zero[member] + true_us - true_us / 1000000 * slow_ppm[member];
}

static void
post(struct known *k, int from, int to, int64_t true_us, struct letter *l)
{
    struct member_state own = {.flushed = (lsn_t)true_us};
    int64_t asked_us = true_us - random() % (2 * S); /* the PING was on its way, and lay there */

    l->from = from;
    l->to = to;
    l->echo_us = clock_of(to, asked_us > 0 ? asked_us : 0) +
                 (asked_us > 0 ? clock_of(from, true_us) - clock_of(from, asked_us) : 0) -
                 random() % 1000;
    if (asked_us > 0) /* it came there some time after it was sent */
        l->echo_us -= random() % S;
    l->arrives_us = true_us + random() % (6 * S); /* a line may hold it for long */
    l->count =
        known_tell(&k[from], &own, names[to], (unsigned)random(), clock_of(from, true_us), l->news);
}

/* Nobody may look younger than it is: the clocks above err by 400 ppm of what a rumour's age is. */
static void
check(const struct known *k, int self, int64_t true_us)
{
    for (int m = 0; m < 4; m++) {
        const struct known_member *of = &k->member[m];
        int64_t age_us = clock_of(self, true_us) - of->seen_us,
                really_us = true_us - (int64_t)of->state.flushed;

        if (m != self && of->seen_us != 0)
            assert_true(age_us + really_us / 1000 + 1000 >= really_us);
    }
}

static void
run_rumours(unsigned seed, int64_t dead_at_us)
{
    static struct letter letter[LETTERS_MAX];
    struct known k[4];
    size_t letters = 0;
    int64_t silent_us;

    srandom(seed);
    for (int i = 0; i < 4; i++) {
        k[i] = nothing(names[i]);
        k[i].since_us = clock_of(i, 0);
    }
    for (int64_t now = 0; now < dead_at_us + 60 * S; now += S / 4) {
        int from = (int)(random() % 4), to = (int)(random() % 4);

        if (from != to && letters < LETTERS_MAX && !(from == 3 && now >= dead_at_us))
            post(k, from, to, now, &letter[letters++]);
        for (size_t i = 0; i < letters;) {
            struct letter *l = &letter[i];

            if (l->arrives_us > now) {
                i++;
                continue;
            }
            if (random() % 8 != 0)
                known_hear(&k[l->to], names[l->from], l->news, l->count, l->echo_us,
                           clock_of(l->to, now));
            *l = letter[--letters];
        }
        for (int i = 0; i < 4; i++)
            check(&k[i], i, now);
    }
    for (int i = 0; i < 3; i++) /* whatever they told each other meanwhile */
        assert_true(known_silent(&k[i], known_of(&k[i], "d"), clock_of(i, dead_at_us + 60 * S),
                                 &silent_us));
}

static void
test_known_no_rumour_is_younger_than_truth(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++)
        run_rumours(seed, 60 * S);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_younger_wins),
        cmocka_unit_test(test_known_own_word_is_kept_while_it_is_fresh),
        cmocka_unit_test(test_known_takes_no_nonsense),
        cmocka_unit_test(test_known_silence_is_told_with_its_age),
        cmocka_unit_test(test_known_is_told_but_to_where_it_came_from),
        cmocka_unit_test(test_known_who_dials),
        cmocka_unit_test(test_known_no_rumour_is_younger_than_truth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
