/*
 * Two edges that begin a session of one class with each other at the same time (glare): docs/protocol.md 9.6,
 * src/pcgrelay/session (table, pending).
 *
 * A has the lesser name, B the greater. Each wants one session, and begins one attempt after the other while it has
 * none. Each attempt has a path of its own: its messages keep their order, and those of two attempts come in any. A path
 * is lost at any time with all that is on it, and each end notices when it likes. An edge that was asked waits a while
 * before it begins itself (GIVE_WAY_S), which may be over at any time, so that it is no guard here.
 *
 * Left out: relays (a path is one hop), resumption (a session whose path is lost ends), back-off, TLS (two HELLOs stand
 * for it), who asks in the names of others.
 */
#define A 0
#define B 1
#define ATTEMPTS 3 /* of each edge */
#define SESSIONS 6
#define LOSSES 1

/* The states of a session, and messages. */
mtype = {
    NONE, ASKING, HANDSHAKE, STARTING, UP, CLOSED,
    PATH_OPEN, PATH_ACCEPT, PATH_REFUSE, PATH_CLOSE, HELLO, CONFIRM
};

#define AT(session, edge) state[2 * (session) + (edge)]
#define TO(session, edge) wire[2 * (session) + (edge)]
#define WHOSE(session) ((session) / ATTEMPTS) /* who began it */
#define LIVES(session, edge) (AT(session, edge) != NONE && AT(session, edge) != CLOSED)
#define KEYED(session, edge) (AT(session, edge) == STARTING || AT(session, edge) == UP)
#define BEGINS(session, edge) (LIVES(session, edge) && AT(session, edge) != UP)
#define IS_BEGINNING(edge) \
    (BEGINS(ATTEMPTS * (edge), edge) || BEGINS(ATTEMPTS * (edge) + 1, edge) || BEGINS(ATTEMPTS * (edge) + 2, edge))
#define HAS_OWN(edge) \
    (LIVES(ATTEMPTS * (edge), edge) || LIVES(ATTEMPTS * (edge) + 1, edge) || LIVES(ATTEMPTS * (edge) + 2, edge))
#define HAS_UP(whose, edge) \
    (AT(ATTEMPTS * (whose), edge) == UP || AT(ATTEMPTS * (whose) + 1, edge) == UP || AT(ATTEMPTS * (whose) + 2, edge) == UP)
#define HAS_KEYS(edge) \
    (KEYED(0, edge) || KEYED(1, edge) || KEYED(2, edge) || KEYED(3, edge) || KEYED(4, edge) || KEYED(5, edge))

mtype state[2 * SESSIONS] = NONE;  /* by session and edge */
chan wire[2 * SESSIONS] = [4] of { mtype }; /* by session and who receives */
bool outdone[2 * SESSIONS]; /* one of the other edge's got its keys while this one was being set up */
bool lost[SESSIONS]; /* its path */
byte begun[2];
byte losses = LOSSES;

inline send(session, edge, what)
{
    if
    :: !lost[session] -> TO(session, 1 - edge)!what
    :: else
    fi
}

inline fail(session, edge)
{
    AT(session, edge) = CLOSED;
    send(session, edge, PATH_CLOSE)
}

#ifdef BROKEN_BOTH_DECIDE
#define DECIDES(edge) true
#else
#ifdef BROKEN_NOBODY_DECIDES
#define DECIDES(edge) false
#else
#define DECIDES(edge) ((edge) == A)
#endif
#endif

/* Sessions._ready: the handshake is complete at this edge. */
inline ready(session, edge)
{
    if
    :: DECIDES(edge) && outdone[2 * session + edge] -> fail(session, edge)
#ifndef BROKEN_NOT_FOLLOWED
    /* What is up at the greater edge has been decided on; the lesser may have heard of this one later. */
    :: !DECIDES(edge) && WHOSE(session) == edge && outdone[2 * session + edge] && HAS_UP(1 - edge, edge) ->
        fail(session, edge)
#endif
    :: else ->
        AT(session, edge) = STARTING;
        n = 0;
        do
        :: n < SESSIONS ->
            if
            :: WHOSE(n) != WHOSE(session) && (AT(n, edge) == ASKING || AT(n, edge) == HANDSHAKE) ->
                outdone[2 * n + edge] = true
            :: else
            fi;
            n++
        :: else -> n = 0; break
        od
    fi
}

#ifdef BROKEN_BOTH_REFUSE
#define REFUSES(edge) true
#else
#define REFUSES(edge) ((edge) == A)
#endif

/* One end of one session; the other edge is its initiator, or this one. */
proctype End(byte session; bit edge)
{
    byte n;
end_session:
    do
    :: atomic {
        TO(session, edge)?PATH_OPEN ->
        if
        :: REFUSES(edge) && IS_BEGINNING(edge) -> AT(session, edge) = CLOSED; send(session, edge, PATH_REFUSE)
        :: else -> AT(session, edge) = HANDSHAKE; send(session, edge, PATH_ACCEPT)
        fi
       }
    :: atomic {
        TO(session, edge)?PATH_ACCEPT ->
        if
        :: AT(session, edge) == ASKING -> AT(session, edge) = HANDSHAKE; send(session, edge, HELLO)
        :: else
        fi
       }
    :: atomic {
        TO(session, edge)?HELLO ->
        if
        :: AT(session, edge) == HANDSHAKE ->
            ready(session, edge);
            if
            :: AT(session, edge) == STARTING && WHOSE(session) == edge -> send(session, edge, CONFIRM)
            :: AT(session, edge) == STARTING && WHOSE(session) != edge -> send(session, edge, HELLO)
            :: else
            fi
        :: else
        fi
       }
    :: atomic {
        TO(session, edge)?CONFIRM ->
        if
        :: AT(session, edge) == STARTING ->
            AT(session, edge) = UP;
            if
            :: WHOSE(session) != edge -> send(session, edge, CONFIRM)
            :: else
            fi
        :: else
        fi
       }
    :: atomic { TO(session, edge)?PATH_REFUSE -> AT(session, edge) = CLOSED }
    :: atomic { TO(session, edge)?PATH_CLOSE -> AT(session, edge) = CLOSED }
    :: atomic { lost[session] && LIVES(session, edge) -> AT(session, edge) = CLOSED }
    od
}

/* Sessions._keep */
active [2] proctype Keeper()
{
    byte session;
    bit edge = _pid;
end_keeper:
    do
    :: atomic {
        !HAS_OWN(edge) && !HAS_KEYS(edge) && begun[edge] < ATTEMPTS ->
        session = ATTEMPTS * edge + begun[edge];
        begun[edge]++;
        AT(session, edge) = ASKING;
        run End(session, edge);
        run End(session, 1 - edge);
        send(session, edge, PATH_OPEN)
       }
    od
}

active proctype Network()
{
    byte session;
end_network:
    do
    :: atomic {
        losses > 0 && begun[A] + begun[B] > 0 ->
        losses--;
        select(session : 0 .. SESSIONS - 1);
        if
        :: (LIVES(session, A) || LIVES(session, B)) ->
            lost[session] = true;
            do
            :: nempty(TO(session, A)) -> TO(session, A)?_
            :: nempty(TO(session, B)) -> TO(session, B)?_
            :: empty(TO(session, A)) && empty(TO(session, B)) -> break
            od
        :: else
        fi
       }
    od
}

/* When nothing can happen any more both edges have one session, the same, and nothing else. */
active proctype Monitor()
{
    byte lives;
    byte up;
    byte k;
    timeout ->
    d_step {
        do
        :: k < SESSIONS ->
            if
            :: LIVES(k, A) -> lives++
            :: else
            fi;
            if
            :: LIVES(k, B) -> lives++
            :: else
            fi;
            if
            :: AT(k, A) == UP && AT(k, B) == UP -> up++
            :: else
            fi;
            k++
        :: else -> break
        od
    };
#ifdef REACH_GREATER
    /* The greater's own comes up though the lesser has begun, too. */
    assert(!(up == 1 && lives == 2 && begun[A] > 0 && AT(ATTEMPTS, B) == UP))
#else
    assert(up == 1);
    assert(lives == 2)
#endif
}
