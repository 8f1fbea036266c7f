/*
 * Renewal of a session, and the step that each side owes the other after it: docs/protocol.md 9.9 and 6.4,
 * src/pcgrelay/session/renewer.py and src/_core (crypto/renewal, stream/flow).
 *
 * I began the session, R answered it. Each has one flow in each direction, on which a step may be under way for as long
 * as it likes. CARRY messages are lost with their path. A plain step, for a limit of the key, may come due at any time.
 * A secret is named by the attempt whose handshake gave it.
 *
 * R's answer may be lost. Then its step is the answer, and it counts I's plain steps only from the acknowledgement of
 * that on. So nobody here has to wait with a plain step, and none does. OLDER_RESPONDER counts from RENEWED on, and I
 * waits for it (WAIT_S): the step is there by then, or never.
 *
 * Time: an attempt begins when R has given up the one before (RETRY_FIRST_MS). R answers none
 * before its own step is acknowledged; its deadline may pass meanwhile, which is a loss as any other. The grace
 * (GRACE_S) runs out for nobody if nothing is owed when all has come to rest: so much the Monitor asks.
 */
#define I 0
#define R 1
#define GRACE_S 300
#define WAIT_S 30
#define SECRETS 2  /* renewals whose secrets are kept: the newest and the one before */
#define RENEWALS 2 /* that I wants */
#ifndef LOSSES
#define LOSSES 3
#endif
#define ATTEMPTS (RENEWALS + LOSSES + TAKEOVERS)
#define PLAIN 2    /* plain steps */

mtype = { HELLO, RENEWED };

/* takeover.pml has the same while a side is handed over to another process. */
#ifndef TAKEOVERS
#define TAKEOVERS 0
#define RUNS(side) true
#define WAITS(side) true
#endif

#ifdef BROKEN_IMPATIENT
#define OLDER_RESPONDER
#endif

chan carry[2] = [4] of { mtype, byte }; /* by who sends: message, attempt */
byte generation_of[ATTEMPTS + 1];
bool hopeless[ATTEMPTS + 1]; /* something of it was lost or refused: the deadline ends it */
byte losses = LOSSES;
byte attempts;

byte attempt[2]; /* under way; 0: none */
bool established[2];
bool kept[2];
bool told[2];
bool heard[2];
byte generation[2];
byte attempted[2];

byte newest[2];
byte newest_of[2]; /* whose secret */
byte before[2];
byte before_of[2];
byte agreed[2];

byte plain = PLAIN;
byte tx_mix[2];
byte tx_acked[2];
bool rekey_waits[2];
bool step[2];  /* FLOW_REKEY of that side is under way, */
byte names[2]; /* with this mix id, */
byte with[2];  /* by the secret of that attempt */
bool ack[2];   /* of that side's step */
byte rx_mix[2];
bool owed[2];
bool had_plain[2];

inline owe(side)
{
    if
    :: agreed[side] > rx_mix[side] && !owed[side] -> owed[side] = true; had_plain[side] = false
    :: else
    fi
}

/* renewals_add */
inline keep(side, number)
{
    if
    :: generation_of[number] != newest[side] -> before[side] = newest[side]; before_of[side] = newest_of[side]
    :: else
    fi;
    newest[side] = generation_of[number];
    newest_of[side] = number
}

/* renewals_agree, and what is owed from then on */
inline agree(side)
{
    generation[side] = generation_of[attempt[side]];
    agreed[side] = (generation[side] > agreed[side] -> generation[side] : agreed[side]);
    owe(side);
    attempt[side] = 0
}

inline clear(side, number)
{
    attempt[side] = number;
    established[side] = false;
    kept[side] = false;
    told[side] = false;
    heard[side] = false
}

/* Attempt._answer */
inline answer(side)
{
    if
#ifdef BROKEN_TELLS_UNKEPT
    :: established[side] && !told[side] && (side == I || heard[side]) ->
#else
    :: kept[side] && !told[side] && (side == I || heard[side]) ->
#endif
        told[side] = true;
        attempted[side] = generation_of[attempt[side]];
        carry[side]!RENEWED, attempt[side]
    :: else
    fi;
    if
    :: told[side] && heard[side] -> agree(side)
    :: else
    fi
}

/* flow_rx_rekey: I takes R's step for the answer, which may be lost or late. */
inline learn(side, mix)
{
    if
#ifdef BROKEN_UNLEARNT
    :: false
#else
    :: side == I && mix > agreed[I] && (mix == newest[I] || mix == before[I]) ->
        generation[I] = mix;
        agreed[I] = mix;
        owe(I)
#endif
    :: else
    fi
}

/* flow_far_knows: what R takes from an I that does not know yet is not counted. */
#if defined(OLDER_RESPONDER) || defined(BROKEN_COUNTS_AT_ONCE)
#define COUNTS(side) true
#else
#define COUNTS(side) (side == I || tx_acked[R] > rx_mix[R])
#endif

/* Renewer._take: the far end has acknowledged R's own step with what was agreed on last. */
#ifdef BROKEN_TWO_UNHEARD
#define HAS_STEPPED true
#else
#define HAS_STEPPED (tx_acked[R] == agreed[R])
#endif

active proctype Initiator()
{
    byte k;
end_initiator:
    do
    :: atomic {
        RUNS(I) && attempt[I] == 0 && attempt[R] == 0 &&
#ifndef BROKEN_NO_STEP_FIRST
        tx_acked[I] >= generation[I] && rx_mix[I] >= generation[I] &&
#endif
        generation[I] < RENEWALS && attempts < ATTEMPTS ->
        attempts++;
        clear(I, attempts);
        generation_of[attempts] = (generation[I] > attempted[I] -> generation[I] : attempted[I]) + 1;
        carry[I]!HELLO, attempts
       }
    :: atomic {
        RUNS(I) && nempty(carry[R]) ->
        if
        :: carry[R]?HELLO, k ->
            if
            :: k == attempt[I] -> established[I] = true
            :: else
            fi
        :: carry[R]?RENEWED, k ->
            if
            :: k == attempt[I] && told[I] -> heard[I] = true; answer(I)
            :: else
            fi
        fi
       }
    :: atomic {
        RUNS(I) && attempt[I] != 0 && established[I] && !kept[I] ->
        keep(I, attempt[I]);
        kept[I] = true;
        answer(I)
       }
    :: atomic { RUNS(I) && attempt[I] != 0 && hopeless[attempt[I]] -> attempt[I] = 0 }
    od
}

active proctype Responder()
{
    byte k;
end_responder:
    do
    :: atomic {
        RUNS(R) && nempty(carry[I]) && (HAS_STEPPED || !(carry[I]?[HELLO, k])) ->
        if
        :: carry[I]?HELLO, k ->
            if
            :: generation_of[k] <= generation[R] || generation_of[k] <= attempted[R] ->
                assert(false) /* R would refuse it, and none is ever begun in vain */
            :: else -> clear(R, k); established[R] = true; carry[R]!HELLO, k
            fi
        :: carry[I]?RENEWED, k ->
            if
            :: k == attempt[R] -> heard[R] = true; answer(R)
            :: else
            fi
        fi
       }
    :: atomic {
        RUNS(R) && attempt[R] != 0 && established[R] && !kept[R] ->
        keep(R, attempt[R]);
        kept[R] = true;
        answer(R)
       }
    :: atomic {
        RUNS(R) && attempt[R] != 0 && attempt[I] != attempt[R] && !(carry[I]?[RENEWED, k]) ->
        attempt[R] = 0
       }
    od
}

/* Messages are lost with the path that they were on. */
active proctype Network()
{
    mtype what;
    byte k;
end_network:
    do
    :: atomic { losses > 0 && nempty(carry[I]) -> losses--; carry[I]?what, k; hopeless[k] = true }
    :: atomic { losses > 0 && nempty(carry[R]) -> losses--; carry[R]?what, k; hopeless[k] = true }
    od
}

/* The sender of one direction, and the receiver at its other end. */
proctype Flow(bit me)
{
end_flow:
    do
    /* At once with the newest mix that both have told; a step waits for the acknowledgement of the one before. */
    :: atomic {
        RUNS(me) && !rekey_waits[me] && agreed[me] != tx_mix[me] && (agreed[me] == newest[me] || agreed[me] == before[me]) ->
        rekey_waits[me] = true;
        step[me] = true;
        names[me] = agreed[me];
        with[me] = (agreed[me] == newest[me] -> newest_of[me] : before_of[me]);
        tx_mix[me] = agreed[me]
       }
    :: atomic {
        RUNS(me) && plain > 0 && !rekey_waits[me] && agreed[me] == tx_mix[me] &&
#if defined(OLDER_RESPONDER) && !defined(BROKEN_IMPATIENT)
        (newest[me] <= agreed[me] || !WAITS(me)) &&
#endif
        true ->
        plain--;
        rekey_waits[me] = true;
        step[me] = true;
        names[me] = 0
       }
    :: atomic { RUNS(me) && ack[me] -> ack[me] = false; rekey_waits[me] = false; tx_acked[me] = tx_mix[me] }
    /* owed_step and flow_step of the other end */
    :: atomic {
        RUNS(1 - me) && step[me] ->
        step[me] = false;
        ack[me] = true;
        learn(1 - me, names[me]);
        if
        :: names[me] > rx_mix[1 - me] -> rx_mix[1 - me] = names[me]; owed[1 - me] = false; owe(1 - me)
        :: names[me] <= rx_mix[1 - me] && owed[1 - me] && COUNTS(1 - me) ->
            assert(!had_plain[1 - me]); /* MIX_OVERDUE */
            had_plain[1 - me] = true
        :: else
        fi;
        assert(names[me] == 0
            || (names[me] == newest[1 - me] && with[me] == newest_of[1 - me])
            || (names[me] == before[1 - me] && with[me] == before_of[1 - me])) /* else UNKNOWN_MIX, or BAD_TAG */
       }
    od
}

/* At rest no attempt hangs, all renewals are there, since each attempt that failed had its cause, and nothing is owed. */
active proctype Monitor()
{
    timeout ->
#ifdef REACH_RENEWED
    assert(!(agreed[I] >= RENEWALS && agreed[R] == agreed[I] && losses == 0 && rx_mix[I] == agreed[R]))
#else
    assert(attempt[I] == 0 && attempt[R] == 0);
    assert(!step[I] && !step[R] && !rekey_waits[I] && !rekey_waits[R]);
    assert(generation[I] >= RENEWALS);
    assert(agreed[R] == agreed[I] && !owed[I] && !owed[R])
#endif
}

init
{
    atomic { run Flow(I); run Flow(R) }
}
