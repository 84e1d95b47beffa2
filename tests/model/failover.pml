/* SPDX-License-Identifier: PostgreSQL */
/*
 * failover.pml: ask, promise, rescue, prepare, ask again, write the epoch, promote; for spin.
 *
 * Three members. A is the primary of epoch 1 and feeds B and C. A DBA types failover on B or C (later on
 * whoever is a standby), stops servers, cancels; a member crashes, a line is cut. All that can happen in any
 * order is tried, with the budgets below. README.md says what is left out and how a trail is read.
 *
 * WAL is a set of bits: one for each write, one for each promotion. A write extends its member's set, so
 * "comes before on the same lineage" is "is a subset", and two sets without that are forked.
 *
 * A step is one d_step: what an agent does between two turns of its loop, with what it puts on disk. The
 * steps of one failover, of others and the faults interleave freely. Messages that may be late or lost are
 * in channels: the acknowledgement (ack), the question (ask) and its answer (answer). What only an answer *now*
 * can give, and what never gets worse by being old, is read where it is (ask_back, rescue, release, rejoin),
 * if the line is up; it may be read at any moment or never, which is what a delay amounts to.
 *
 * Nothing is repeated without need (a member sends what the other lacks), so every run ends, and what has to
 * come true at last is asserted in the state where nothing more can happen: at_rest.
 *
 * BREAK_... takes one rule away: run.sh shows that spin finds it.
 */

/* How often, at most. */
#ifndef WRITES
#define WRITES 2
#endif
#ifndef EPOCHS
#define EPOCHS 3 /* the highest: two changes */
#endif
#ifndef FAILOVERS
#define FAILOVERS 3 /* typed */
#endif
#ifndef CANCELS
#define CANCELS 1
#endif
#ifndef CRASHES
#define CRASHES 1 /* of a host, or of the primary's PostgreSQL */
#endif
#ifndef STOPS
#define STOPS 1 /* of the primary's PostgreSQL, orderly */
#endif
#ifndef CUTS
#define CUTS 1 /* a line between two members, both directions; it heals */
#endif

#define NOBODY 3
#define bit(i) (1 << (i))
#define WRITTEN_BITS (bit(WRITES) - 1)
#define promotion(n) bit(WRITES + (n)-2) /* that began epoch n */
#define within(a, b) (((a) & ~(b)) == 0) /* a comes before b, or is b */

#define IX(from, to) ((from)*2 + ((to) + 3 - (from)) % 3 - 1)
#define line_up(a, b) (cut != (a) + (b))
#define reach(a, b) (m[a].up && m[b].up && line_up(a, b))

#define DOWN 0 /* of PostgreSQL on a member that is a primary; that of a standby plays no part */
#define STARTING 1
#define UP 2
#define STOPPING 3

#define IDLE 0 /* phase of a failover on this member; in memory only */
#define ASKING 1
#define RESCUING 2 /* then prepare */
#define ASKING_AGAIN 3

#define DONE 0 /* journal, on disk: is the epoch's promotion still to be done? */
#define PROMOTING 1
#define RESTARTED 2 /* it is, and the agent was started since */

typedef member_state {
    bool up; /* host and agent */
    /* on disk */
    byte wal;
    unsigned epoch : 2, primary : 2;
    unsigned promised : 2, promised_to : 2; /* 0: no promise */
    unsigned journal : 2;
    bool fenced; /* deposed or forked, and not rejoined */
    /* in memory */
    unsigned pg : 2;
    unsigned phase : 2;
    unsigned round : 3; /* of asking: answers to another one do not count */
    unsigned got : 3;   /* who has promised in it */
    byte need;          /* the most WAL that was told with a promise */
    bool vouched;       /* --dead: the primary's host is dead, says the DBA, and is right */
    unsigned saw : 2;   /* for the check: a living primary, ever since the second ask began */
};
member_state m[3];

mtype = { YES, NO, LATER };
chan ack[6] = [2] of { byte, byte };           /* epoch, position */
chan ask[6] = [2] of { byte, byte };           /* epoch to promise, round */
chan answer[6] = [2] of { mtype, byte, byte }; /* YES with promise, NO, LATER; round; position */

byte cut; /* a + b: the line between a and b; 0: none */
byte writes, cuts, crashes, stops, cancels, failovers;

/* What nobody in the pool can see, for the checks. */
byte made[EPOCHS + 1]; /* member + 1 that wrote this epoch to its disk */
byte begins[EPOCHS + 1]; /* where this epoch forks off; on the disk of everybody who believes it */
byte acked;            /* writes whose client was told that they are safe */
bool lossy;            /* a failover has said that it may lose something */

hidden byte i, n, r, w; /* scratch, of no meaning between steps */
hidden mtype kind;

#if EPOCHS == 2
#define TOP (made[2] -> made[2] - 1 : 0)
#else
#define TOP (made[3] -> made[3] - 1 : (made[2] -> made[2] - 1 : 0)) /* primary of the highest epoch */
#endif

#if EPOCHS == 2
#define was_primary(a) (made[1] == (a) + 1)
#else
#define was_primary(a) (made[1] == (a) + 1 || made[2] == (a) + 1)
#endif

/* What a member has of the lineage of its epoch: a deposed one has what lies before the fork. */
#ifdef BREAK_FENCED_IS_NOT_READ
#define position(a) (m[a].fenced -> 0 : m[a].wal)
#else
#define position(a)                                                                                \
    (m[a].epoch == 1 || (m[a].wal & promotion(m[a].epoch)) != 0 -> m[a].wal : m[a].wal & begins[m[a].epoch])
#endif

/* No acknowledged write is lost. */
#define check_kept() assert(lossy || within(acked, m[TOP].wal))

/* ---- what a member knows ---- */

#ifdef BREAK_ACK_AFTER_PROMISE
#define acknowledges(a) (!m[a].fenced)
#elif defined(BREAK_FENCED_ACKNOWLEDGES)
#define acknowledges(a) (m[a].promised == 0)
#else
#define acknowledges(a) (!m[a].fenced && m[a].promised == 0)
#endif

#define serves(a) (m[a].pg == UP || m[a].pg == STOPPING)
#define fed(a) (m[a].primary != a && m[m[a].primary].pg == UP && reach(a, m[a].primary))
#define third(a, b) (3 - (a) - (b))

/* How member a can hear of a living primary: from itself, or from who is fed by it. */
#define UNSEEN 0
#define SEEN 1
#define TOLD 2
#define by_itself(a) (m[m[a].primary].pg != DOWN && reach(a, m[a].primary))
#define by_third(a)                                                                                \
    (m[m[a].primary].pg == UP && reach(a, third(a, m[a].primary)) && reach(third(a, m[a].primary), m[a].primary))
#define sees(a) (by_itself(a) -> SEEN : (by_third(a) -> TOLD : UNSEEN))

inline look_again() /* after every fault */
{
    i = 0;
    do
    :: i < 3 ->
        if
        :: (m[i].saw == SEEN && !by_itself(i)) || (m[i].saw == TOLD && !by_third(i)) -> m[i].saw = UNSEEN
        :: else
        fi;
        i++
    :: else -> break
    od
}

/* An answer to another round has no effect, so it need not be kept. */
#ifdef BREAK_ANY_ROUND
#define counts(a, number) (m[a].phase == ASKING || m[a].phase == ASKING_AGAIN)
#define forget_answers(a) skip
#else
#define counts(a, number) (m[a].round == number)
#define forget_answers(a)                                                                          \
    do                                                                                             \
    :: len(answer[IX((a + 1) % 3, a)]) > 0 -> answer[IX((a + 1) % 3, a)]?_, _, _                   \
    :: len(answer[IX((a + 2) % 3, a)]) > 0 -> answer[IX((a + 2) % 3, a)]?_, _, _                   \
    :: else -> break                                                                               \
    od
#endif

inline end_failover(a)
{
    forget_answers(a);
    m[a].phase = IDLE;
    m[a].round = 0;
    m[a].got = 0;
    m[a].need = 0;
    m[a].vouched = 0;
    m[a].saw = UNSEEN;
    if
    :: m[a].promised_to == a -> m[a].promised = 0; m[a].promised_to = NOBODY
    :: else
    fi
}

/* Epoch num of member who is believed, and on disk. */
inline adopt(a, num, who)
{
    assert(made[num] == who + 1); /* no epoch from nothing */
    if
    :: m[a].primary == a && m[a].journal == DONE ->
#ifndef BREAK_NO_FENCE
        m[a].pg = DOWN;
#endif
        m[a].fenced = 1
    :: else
    fi;
    m[a].journal = DONE;
    m[a].epoch = num;
    m[a].primary = who;
    if
    :: m[a].phase != IDLE -> end_failover(a)
    :: else
    fi;
    if
    :: m[a].promised != 0 && m[a].promised <= num -> m[a].promised = 0; m[a].promised_to = NOBODY
    :: else
    fi;
    look_again()
}

/* A number that no question or answer under way has. */
inline new_round(a)
{
    r = 1;
    do
    :: ask[IX(a, (a + 1) % 3)]??[_, eval(r)] || ask[IX(a, (a + 2) % 3)]??[_, eval(r)] ||
       answer[IX((a + 1) % 3, a)]??[_, eval(r), _] || answer[IX((a + 2) % 3, a)]??[_, eval(r), _] -> r++
    :: else -> break
    od;
    m[a].round = r
}

inline lose(from, to) /* what is on its way */
{
    do
    :: len(ack[IX(from, to)]) > 0 -> ack[IX(from, to)]?_, _
    :: len(ask[IX(from, to)]) > 0 -> ask[IX(from, to)]?_, _
    :: len(answer[IX(from, to)]) > 0 -> answer[IX(from, to)]?_, _, _
    :: else -> break
    od
}

/* ---- WAL and its acknowledgement ---- */

inline write_wal()
{
    d_step {
        serves(me) && writes < WRITES ->
        assert(m[me].primary == me);         /* nobody that knows of a higher epoch takes writes */
        assert(made[m[me].epoch] == me + 1); /* nor two of one epoch */
        m[me].wal = m[me].wal | bit(writes);
#ifdef ASYNC
        acked = acked | bit(writes);
        check_kept();
#endif
        writes++;
        printf("%c writes, epoch %d\n", 'A' + me, m[me].epoch)
    }
}

/* WAL that is late is as good as WAL that is taken later, so it is taken where it is. Only what is new, or
 * what no client was told of yet. */
#ifdef ASYNC
#define unheard(w) false
#else
#define unheard(w) (!within((w) & WRITTEN_BITS, acked))
#endif

inline take_wal(you)
{
    d_step {
        reach(me, you) && serves(you) && m[me].primary == you && m[me].epoch == m[you].epoch &&
            acknowledges(me) && (m[me].wal != m[you].wal || unheard(m[you].wal)) && nfull(ack[IX(me, you)]) &&
            !ack[IX(me, you)]??[eval(m[you].epoch), eval(m[you].wal)] ->
        if
        :: !within(m[me].wal, m[you].wal) && !m[me].fenced ->
            assert(was_primary(me)); /* who only followed is never forked */
            m[me].fenced = 1;
            printf("%c has %d: forked from %d of %c\n", 'A' + me, m[me].wal, m[you].wal, 'A' + you)
        :: else ->
            if
            :: m[me].fenced /* in its spool, but not to be replayed */
            :: else -> m[me].wal = m[you].wal
            fi;
            printf("%c flushes %d from %c\n", 'A' + me, m[you].wal, 'A' + you);
            if
            :: unheard(m[you].wal) -> ack[IX(me, you)]!m[you].epoch, m[you].wal
            :: else
            fi
        fi
    }
}

inline take_ack(you)
{
    d_step {
        m[me].up && len(ack[IX(you, me)]) > 0 ->
        ack[IX(you, me)]?n, w;
        if
        :: n == m[me].epoch && m[me].primary == me && serves(me) ->
            acked = acked | (w & WRITTEN_BITS);
            check_kept();
            printf("%c hears from %c that %d is durable\n", 'A' + me, 'A' + you, w)
        :: else
        fi;
        n = 0; w = 0
    }
}

/* ---- who is the primary ---- */

/* A claim that comes in is a reason to dial the claimed primary, or somebody who has dialled it. Here nobody
 * needs a reason. What the thief of a key says is a claim from which nothing follows but that. */
inline ask_back(you)
{
    d_step {
        reach(me, you) && m[you].epoch > m[me].epoch ->
        adopt(me, m[you].epoch, m[you].primary);
        printf("%c asks %c: epoch %d is %c's\n", 'A' + me, 'A' + you, m[me].epoch, 'A' + m[me].primary)
    }
}

#ifdef BREAK_BELIEVES_CLAIM
inline thief(you)
{
    d_step {
        m[me].up && m[me].epoch < EPOCHS ->
        adopt(me, m[me].epoch + 1, you);
        printf("a thief tells %c that %c is the primary of epoch %d\n", 'A' + me, 'A' + you, m[me].epoch)
    }
}
#endif

/* The deposed one comes back as a standby: it keeps what the two have in common. */
inline rejoin(you)
{
    d_step {
        m[me].fenced && m[me].primary == you && m[me].epoch == m[you].epoch && reach(me, you) &&
            m[you].pg == UP ->
        m[me].wal = m[me].wal & m[you].wal;
        m[me].fenced = 0;
        printf("%c rejoins %c\n", 'A' + me, 'A' + you)
    }
}

/* ---- failover ---- */

/* The word of a primary that is neither "answers" nor "dead". */
#ifdef BREAK_STOPPING_IS_DEAD
#define busy(a) (m[a].primary == a && m[a].pg == STARTING)
#elif defined(BREAK_PROMOTING_IS_DEAD)
#define busy(a) (m[a].primary == a && (m[a].pg == STARTING || m[a].pg == STOPPING))
#else
#define busy(a) (m[a].primary == a && (m[a].pg == STARTING || m[a].pg == STOPPING || m[a].journal != DONE))
#endif

/* Whoever does not know of my epoch asks back first; whoever said "later" is asked when that has passed. */
#define can_ask(you)                                                                               \
    ((m[me].got & bit(you)) == 0 && reach(me, you) && m[you].epoch >= m[me].epoch && !busy(you) && \
     len(ask[IX(me, you)]) < 2)

inline put_question(you)
{
    ask[IX(me, you)]!m[me].promised, m[me].round;
    printf("%c asks %c for epoch %d, round %d\n", 'A' + me, 'A' + you, m[me].promised, m[me].round)
}

inline put_questions()
{
    if
    :: can_ask(one) -> put_question(one)
    :: else
    fi;
    if
    :: can_ask(other) -> put_question(other)
    :: else
    fi
}

/* B and C are the same until one of them is asked first: let it be B. */
#ifdef STAYS_DEAD
#define may_type (m[0].pg == DOWN)
#else
#define may_type true
#endif

inline begin_failover()
{
    d_step {
        failovers < FAILOVERS && (failovers > 0 || me == 1) && may_type && m[me].up && m[me].phase == IDLE &&
            m[me].primary != me && m[me].wal == position(me) && !m[me].fenced && m[me].promised == 0 && m[me].epoch < EPOCHS ->
        failovers++;
        m[me].promised = m[me].epoch + 1;
        m[me].promised_to = me;
        m[me].phase = ASKING;
        m[me].vouched = !m[m[me].primary].up;
        new_round(me);
#ifdef BREAK_READ_BEFORE_PROMISE
        i = 0;
        do
        :: i < 3 ->
            if
            :: within(m[me].wal | m[me].need, m[i].wal) -> m[me].need = m[i].wal
            :: else
            fi;
            i++
        :: else -> break
        od;
#endif
        printf("failover is typed on %c, to epoch %d, --dead %d\n", 'A' + me, m[me].promised, m[me].vouched);
        put_questions()
    }
}

/* Who could not be asked at once, or whose question or answer was lost. */
inline ask_again(you)
{
    d_step {
        (m[me].phase == ASKING || m[me].phase == ASKING_AGAIN) && can_ask(you) &&
            !ask[IX(me, you)]??[_, eval(m[me].round)] && !answer[IX(you, me)]??[_, eval(m[me].round), _] ->
        put_question(you)
    }
}

/* Starting, stopping and promoting are waited for, but not for ever. */
inline give_up_waiting(you)
{
    d_step {
        (m[me].phase == ASKING || m[me].phase == ASKING_AGAIN) && busy(you) && reach(me, you) ->
        end_failover(me);
        printf("failover on %c is refused: %c is starting, stopping or promoting\n", 'A' + me, 'A' + you)
    }
}

#define may_promise(num, to)                                                                       \
    (m[me].promised == 0 || (m[me].promised == num && m[me].promised_to == to))

inline answer_ask(you)
{
    d_step {
        m[me].up && len(ask[IX(you, me)]) > 0 && nfull(answer[IX(me, you)]) ->
        ask[IX(you, me)]?n, r;
        if
        :: m[me].epoch >= n || (m[me].primary == me && m[me].pg == UP) || fed(me) -> kind = NO
        :: else ->
            if
            :: busy(me) -> kind = LATER
#ifdef BREAK_PROMISES_TWO
            :: else -> kind = YES; m[me].promised = n; m[me].promised_to = you
#elif defined(BREAK_NO_PROMISE)
            :: else -> kind = YES
#else
            :: !busy(me) && may_promise(n, you) -> kind = YES; m[me].promised = n; m[me].promised_to = you
            :: else -> kind = NO
#endif
            fi
        fi;
        if
#ifdef BREAK_ANY_ROUND
        :: true ->
#else
        :: counts(you, r) ->
#endif
            answer[IX(me, you)]!kind(r, position(me))
        :: else
        fi;
        printf("%c answers %c, round %d: %e\n", 'A' + me, 'A' + you, r, kind);
        n = 0; r = 0
    }
}

inline take_answer(you)
{
    d_step {
        m[me].up && len(answer[IX(you, me)]) > 0 ->
        answer[IX(you, me)]?kind, r, w;
        if
        :: !counts(me, r)
        :: else ->
            if
            :: kind == NO -> end_failover(me); printf("failover on %c is refused by %c\n", 'A' + me, 'A' + you)
            :: kind == YES ->
                m[me].got = m[me].got | bit(you);
#ifndef BREAK_READ_BEFORE_PROMISE
                if
                :: within(m[me].wal | m[me].need, w) -> m[me].need = w
                :: else
                fi
#endif
            :: else
            fi
        fi;
        r = 0; w = 0
    }
}

/* Who need not promise: the primary whose host the DBA has vouched for, while it cannot be dialled. */
#ifdef BREAK_SILENT_IS_YES
#define excused(a) (!reach(me, a) && (m[me].vouched || m[me].primary != a))
#else
#define excused(a) (m[me].vouched && m[me].primary == a && !reach(me, a))
#endif
#define answered(a) ((m[me].got & bit(a)) != 0 || excused(a))
#define all_answered() (answered(one) && answered(other))

inline all_promised()
{
    d_step {
        m[me].phase == ASKING && all_answered() ->
        m[me].phase = RESCUING;
        m[me].got = 0;
        m[me].round = 0
    }
}

/* The tail, of whoever has more of my lineage. A line that breaks is waited for. */
inline rescue(you)
{
    d_step {
        m[me].phase == RESCUING && !within(m[me].need, m[me].wal) && reach(me, you) &&
            m[you].epoch == m[me].epoch && within(m[me].need, position(you)) ->
        m[me].wal = position(you);
        printf("%c rescues %d from %c\n", 'A' + me, m[me].wal, 'A' + you)
    }
}

#ifdef BREAK_RESCUE_NOT_WAITED
#define holder(a) (reach(me, a) && within(m[me].need, position(a)))
#define rescued() (within(m[me].need, m[me].wal) || !(holder(one) || holder(other)))
#else
#define rescued() within(m[me].need, m[me].wal)
#endif

inline prepared()
{
    d_step {
        m[me].phase == RESCUING && rescued() ->
        m[me].phase = ASKING_AGAIN;
        m[me].need = 0;
        m[me].saw = sees(me);
#ifdef BREAK_NO_SECOND_ASK
        m[me].got = bit(one) | bit(other);
#endif
        new_round(me);
        printf("%c is prepared, round %d\n", 'A' + me, m[me].round);
        put_questions()
    }
}

#if defined(BREAK_SECOND_ASK_IS_NOT_READ) || defined(BREAK_RESCUE_NOT_WAITED)
#define reads_again false
#else
#define reads_again true
#endif

/* The second answers show WAL that the first did not: a dead host came back. */
inline more_to_rescue()
{
    d_step {
        m[me].phase == ASKING_AGAIN && !rescued() && reads_again ->
        m[me].phase = RESCUING;
        m[me].got = 0;
        m[me].round = 0;
        m[me].saw = UNSEEN
    }
}

#ifdef BREAK_EPOCH_FIRST
#define may_write_epoch() (m[me].phase == ASKING)
#else
#define may_write_epoch() (m[me].phase == ASKING_AGAIN && all_answered() && (rescued() || !reads_again))
#endif

inline write_epoch()
{
    d_step {
        may_write_epoch() ->
        n = m[me].epoch + 1;
        assert(made[n] == 0); /* no two primaries of one epoch */
        assert(m[me].saw == UNSEEN);  /* nor is a living one deposed that could be asked */
#ifdef BREAK_EPOCH_FIRST
        assert(sees(me) == UNSEEN);
#endif
        made[n] = me + 1;
        begins[n] = m[me].wal;
#ifdef ASYNC
        /* Said before: a primary that was not read may have more. */
        lossy = lossy || (m[me].got & bit(m[me].primary)) == 0;
#endif
        end_failover(me);
        m[me].epoch = n;
        m[me].primary = me;
        m[me].journal = PROMOTING;
        check_kept();
        printf("%c writes epoch %d to disk\n", 'A' + me, n);
        n = 0
    }
}

/* After a restart only if somebody answers and knows or has promised nothing higher. */
#define agrees(a) (reach(me, a) && m[a].epoch <= m[me].epoch && m[a].promised <= m[me].epoch)

inline promote()
{
    d_step {
        m[me].up && (m[me].journal == PROMOTING || (m[me].journal == RESTARTED && (agrees(one) || agrees(other)))) ->
        m[me].journal = DONE;
        m[me].wal = m[me].wal | promotion(m[me].epoch);
        m[me].pg = UP;
        printf("%c is promoted, epoch %d\n", 'A' + me, m[me].epoch)
    }
}

inline cancel()
{
    d_step {
        m[me].phase != IDLE && cancels < CANCELS ->
        cancels++;
        end_failover(me);
        printf("failover on %c is cancelled\n", 'A' + me)
    }
}

/* A promise ends with the failover it was given to: "cancelled" is heard, or asked for when it was lost. */
inline release(you)
{
    d_step {
#ifdef BREAK_PROMISE_KEPT
        cuts == 0 &&
#endif
        m[me].promised != 0 && m[me].promised_to == you && reach(me, you) && m[you].epoch < m[me].promised &&
            m[you].promised_to != you ->
        m[me].promised = 0;
        m[me].promised_to = NOBODY;
        printf("%c hears from %c that its failover is over\n", 'A' + me, 'A' + you)
    }
}

/* ---- PostgreSQL's life on a primary, and faults ---- */

/* While nothing is under way, what a cut or a standby's crash prevents may as well just not have happened
 * yet: these wait for something to disturb. */
#define calm(a) (m[a].phase == IDLE && m[a].promised == 0 && m[a].journal == DONE && !m[a].fenced && m[a].epoch == m[0].epoch)
#define all_calm() (calm(0) && calm(1) && calm(2))
/* Nor does a fault matter when the last epoch has come to everybody. */
#define over() (m[0].epoch == EPOCHS && m[1].epoch == EPOCHS && m[2].epoch == EPOCHS)

#ifdef STAYS_DEAD /* search `succeeds` */
#define comes_back false
#else
#define comes_back true
#endif

#ifdef BREAK_PROMISED_STARTS
#define may_start(a) true
#else
#define may_start(a) (m[a].promised == 0) /* `walferry guard` asks its agent */
#endif

inline start()
{
    d_step {
        m[me].up && m[me].pg == DOWN && m[me].primary == me && m[me].journal == DONE && may_start(me) && comes_back ->
        m[me].pg = STARTING;
        printf("PostgreSQL of %c is started\n", 'A' + me)
    }
}

inline started()
{
    d_step {
        m[me].up && m[me].pg == STARTING ->
        m[me].pg = UP;
        printf("PostgreSQL of %c answers\n", 'A' + me)
    }
}

inline stop()
{
    d_step {
        m[me].pg == UP && stops < STOPS && !over() ->
        stops++;
        m[me].pg = STOPPING;
        look_again();
        printf("PostgreSQL of %c is told to stop\n", 'A' + me)
    }
}

inline stopped()
{
    d_step {
        m[me].pg == STOPPING ->
        m[me].pg = DOWN;
        look_again();
        printf("PostgreSQL of %c has stopped\n", 'A' + me)
    }
}

inline crash_postgres()
{
    d_step {
        m[me].pg == UP && crashes < CRASHES && !over() ->
        crashes++;
        m[me].pg = DOWN;
        look_again();
        printf("PostgreSQL of %c crashes\n", 'A' + me)
    }
}

inline crash_host()
{
    d_step {
        m[me].up && crashes < CRASHES && !over() && (m[me].primary == me || !all_calm()) ->
        crashes++;
        m[me].up = 0;
        m[me].pg = DOWN;
        lose(one, me);
        lose(other, me);
        m[me].phase = IDLE;
        m[me].round = 0;
        m[me].got = 0;
        m[me].need = 0;
        m[me].vouched = 0;
        m[me].saw = UNSEEN;
        if
        :: m[me].journal == PROMOTING -> m[me].journal = RESTARTED
        :: else
        fi;
#ifdef BREAK_PROMISE_IN_MEMORY
        m[me].promised = 0;
        m[me].promised_to = NOBODY;
#endif
        look_again();
        printf("the host of %c crashes\n", 'A' + me)
    }
}

inline boot_host()
{
    d_step {
        !m[me].up && comes_back ->
        m[me].up = 1;
        if
        :: m[me].promised_to == me -> m[me].promised = 0; m[me].promised_to = NOBODY
        :: else
        fi;
        printf("the host of %c is back\n", 'A' + me)
    }
}

inline cut_line(a, b)
{
    d_step {
        cut == 0 && cuts < CUTS && !all_calm() && !over() ->
        cuts++;
        cut = a + b;
        lose(a, b);
        lose(b, a);
        look_again();
        printf("the line between %c and %c is cut\n", 'A' + a, 'A' + b)
    }
}

proctype member(byte me; byte one; byte other)
{
end:
    do
    :: write_wal()
    :: take_wal(one)
    :: take_wal(other)
    :: take_ack(one)
    :: take_ack(other)
    :: ask_back(one)
    :: ask_back(other)
#ifdef BREAK_BELIEVES_CLAIM
    :: thief(one)
#endif
    :: rejoin(one)
    :: rejoin(other)
    :: begin_failover()
    :: ask_again(one)
    :: ask_again(other)
#ifndef BREAK_WAITS_FOR_EVER
    :: give_up_waiting(one)
    :: give_up_waiting(other)
#endif
    :: answer_ask(one)
    :: answer_ask(other)
    :: take_answer(one)
    :: take_answer(other)
    :: all_promised()
    :: rescue(one)
    :: rescue(other)
    :: prepared()
    :: more_to_rescue()
    :: write_epoch()
    :: promote()
    :: cancel()
    :: release(one)
    :: release(other)
    :: start()
    :: started()
    :: stop()
    :: stopped()
    :: crash_postgres()
    :: crash_host()
    :: boot_host()
    od
}

proctype lines()
{
end:
    do
    :: cut_line(0, 1)
    :: cut_line(0, 2)
    :: cut_line(1, 2)
    :: d_step { cut != 0 -> cut = 0; printf("the line is whole again\n") }
    od
}

/* Nothing more can happen: all failovers have ended, no promise is left, the pool is whole. */
#define level(a) (m[a].epoch == m[TOP].epoch && m[a].wal == m[TOP].wal && m[a].phase == IDLE && m[a].promised == 0 && !m[a].fenced)

proctype at_rest()
{
    timeout ->
#ifdef STAYS_DEAD
    assert(failovers == 0 || made[2] == 2) /* was typed beside a dead primary, and has succeeded */
#elif defined(REACHED)
    assert(made[EPOCHS] == 0 || lossy || acked != WRITTEN_BITS) /* is wrong: all went well, twice */
#else
    assert(m[TOP].pg == UP);
    assert(level(0) && level(1) && level(2));
    assert(lossy || acked == (m[TOP].wal & WRITTEN_BITS))
#endif
}

init {
    d_step {
        i = 0;
        do
        :: i < 3 ->
            m[i].up = 1;
            m[i].epoch = 1;
            m[i].primary = 0;
            m[i].promised_to = NOBODY;
            i++
        :: else -> break
        od;
        m[0].pg = UP;
        made[1] = 1
    }
    atomic {
        run member(0, 1, 2);
        run member(1, 2, 0);
        run member(2, 0, 1);
        run lines();
        run at_rest()
    }
}
