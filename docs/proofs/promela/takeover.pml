/*
 * A side of a session is handed over to another process while the session is renewed: renewal.pml, with the hand-over of
 * docs/decisions/0009 and src/pcgrelay/daemon/handover, src/pcgrelay/session/session.py (to_handover) and
 * src/_core/handover (keys, flows).
 *
 * The old process freezes, writes the record, and sends GO, or thaws and goes on. The new one has what the record has: no
 * attempt, for its TLS is nowhere else, so that an attempt under way is spoilt as by a loss. It steps as soon as it may.
 * handover.pml has the two phases, kills and deadlines, which decide which of the two goes on.
 *
 * A link is not here: its control connection ends with the old process, and then it is never renewed again; link.pml loses
 * connections at every point of a renewal.
 */
#define TAKEOVERS 1
#define LOSSES 1
#define RUNS(side) (!frozen[side])
#ifdef BROKEN_FORGETS_WAIT
#define OLDER_RESPONDER
#define WAITS(side) (!fresh[side])
#else
#define WAITS(side) true
#endif

bool frozen[2]; /* its workers, and the event loop has no turn */
bool fresh[2];  /* the new process goes on */
byte takeovers = TAKEOVERS;

#include "renewal.pml"

/* What the record has of a side is what it was when the old process froze. */
proctype Takeover(bit side)
{
    byte was_generation;
    byte was_attempted;
    byte was_newest;
    byte was_tx_mix;
    bool was_waiting;
    atomic {
#ifndef BROKEN_NO_FREEZE
        frozen[side] = true;
#endif
        was_generation = generation[side];
        was_attempted = attempted[side];
        was_newest = newest[side];
        was_tx_mix = tx_mix[side];
        was_waiting = rekey_waits[side]
    };
    if
    :: atomic { true -> frozen[side] = false } /* refused, or late: the old one thaws */
    :: atomic {
        true ->
        /* Since then the old one has told nothing, kept nothing and sealed no step. */
        assert(generation[side] == was_generation && attempted[side] == was_attempted);
        assert(newest[side] == was_newest && tx_mix[side] == was_tx_mix && rekey_waits[side] == was_waiting);
        if
        :: attempt[side] != 0 -> hopeless[attempt[side]] = true; attempt[side] = 0
        :: else
        fi;
        tx_acked[side] = (rekey_waits[side] -> 0 : tx_mix[side]);
#ifdef BROKEN_FORGETS_TOLD
        attempted[side] = generation[side];
#endif
#ifdef BROKEN_FORGETS_SECRET
        newest[side] = before[side];
        newest_of[side] = before_of[side];
#endif
        plain++; /* it steps where the old one had no cause to */
        takeovers--;
        fresh[side] = true;
        frozen[side] = false
       }
    fi
}

active proctype Upgrade()
{
    if
    :: true -> run Takeover(I)
    :: true -> run Takeover(R)
    fi
}

#ifdef REACH_BETWEEN
/* I is handed over after it has told, and before it has heard. */
active proctype Between()
{
end_between:
    atomic { fresh[I] && attempted[I] > generation[I] && agreed[R] == attempted[I] -> assert(false) }
}
#endif
