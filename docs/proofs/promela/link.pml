/*
 * The change of a link from one control connection to the next, when it is renewed: docs/protocol.md 9.9 and
 * src/pcgrelay/link (link, changeover, renewer).
 *
 * D dialled the link, A accepted it. Connection 0 is the one that there is; attempt k makes connection k. A's
 * handshake is complete first, and a client's last flight may come as late as it likes, after D has given up that
 * attempt and made another. Faults: a connection is lost, an attempt's deadline passes, the end of a connection overtakes what
 * was sent on it. A secret is named by the attempt whose handshake gave it.
 *
 * Left out: keys, BEAT, what a lost link does (it is made anew: links.pml).
 */
#define D 0
#define A 1
#define OTHER (1 - me)
#define ATTEMPTS 2
#define MESSAGES 2 /* that each side sends besides */
#define FAULTS 2

mtype = { HELLO, RENEWED, MESSAGE };

#define END(connection, side) (2 * (connection) + (side))

chan wire[6] = [4] of { mtype, byte }; /* by END: connection and who sends */
bool ended[6]; /* by END: who ended it */
bool flight[3]; /* the client's last flight of an attempt is on its way */
byte generation_of[3];
byte faults = FAULTS; /* that may still come, */
byte spent;           /* and that came */

byte attempt; /* the last that D began */
byte dialled; /* the attempt whose handshake D is in */
byte begun; /* D: the greatest generation of an attempt */
byte connection[2]; /* that is read */
byte outlet[2]; /* that is written to */
byte change[2]; /* the attempt whose handshake is complete; 0: none */
bool kept[2]; /* all workers of the core have its secret */
bool told[2];
bool heard[2];
bool lost[2]; /* the control connection is lost */
byte agreed[2]; /* generation */
byte attempted[2]; /* the greatest generation that was told */
byte said[2];
byte read[2];

/* The core (crypto/renewal): the newest mix id, and whose secret it has for each. */
byte newest[2];
byte secret[6]; /* by 2 * id + side */
byte stepped[6]; /* the secret with which the side steps for an id */

inline lose(side)
{
    lost[side] = true;
    ended[END(connection[side], side)] = true;
    if
    :: change[side] != 0 -> ended[END(change[side], side)] = true; change[side] = 0
    :: else
    fi
}

/* Link._change_failed */
inline fail(side)
{
    ended[END(change[side], side)] = true;
    change[side] = 0;
    if
#ifndef BROKEN_NO_END
    :: told[side] || heard[side] -> lose(side)
#endif
    :: else
    fi
}

/* Link.change_over */
inline begin(side, number)
{
    change[side] = number;
    kept[side] = false;
    told[side] = false;
    heard[side] = false
}

/* Link._step_over */
inline step_over(side)
{
    if
#ifdef BROKEN_TELLS_UNKEPT
    :: !told[side] && (side == D || heard[side]) ->
#else
    :: kept[side] && !told[side] && (side == D || heard[side]) ->
#endif
        told[side] = true;
        attempted[side] = generation_of[change[side]];
        if
        :: !ended[END(outlet[side], side)] -> wire[END(outlet[side], side)]!RENEWED, generation_of[change[side]]
        :: else
        fi;
        outlet[side] = change[side]
    :: else
    fi;
    if
    :: told[side] && heard[side] ->
        ended[END(connection[side], side)] = true; /* retired: what was sent before still arrives */
        connection[side] = change[side];
        agreed[side] = generation_of[change[side]];
        stepped[2 * agreed[side] + side] = secret[2 * agreed[side] + side];
        /* The peer can take a step with it, by the same secret. */
        assert(secret[2 * agreed[side] + 1 - side] == stepped[2 * agreed[side] + side]);
        change[side] = 0
    :: else
    fi
}

proctype Side(bit me)
{
    byte n;
end_side:
    do
    /* A message of the link. */
    :: atomic {
        !lost[me] && said[me] < MESSAGES && !ended[END(outlet[me], me)] ->
        wire[END(outlet[me], me)]!MESSAGE, said[me];
        said[me]++
       }
    /* What comes on the connection that is read. RENEWED is the last on it. */
    :: atomic {
        !lost[me] && nempty(wire[END(connection[me], OTHER)]) ->
        if
        :: wire[END(connection[me], OTHER)]?MESSAGE, n ->
            assert(!(change[me] != 0 && heard[me]));
            assert(n == read[me]); /* none is lost, none overtakes another */
            read[me]++
        :: wire[END(connection[me], OTHER)]?RENEWED, n ->
            if
            :: change[me] == 0 || heard[me] || generation_of[change[me]] != n -> lose(me)
            :: else -> heard[me] = true; step_over(me)
            fi
        fi
       }
#ifdef BROKEN_READS_EARLY
    :: atomic {
        !lost[me] && change[me] != 0 && wire[END(change[me], OTHER)]?[MESSAGE, n] ->
        wire[END(change[me], OTHER)]?MESSAGE, n;
        assert(n == read[me]);
        read[me]++
       }
#endif
    :: atomic { !lost[me] && ended[END(connection[me], OTHER)] && empty(wire[END(connection[me], OTHER)]) -> lose(me) }
    /* The core reports that every worker has the secret; an id below the newest it refuses. */
    :: atomic {
        change[me] != 0 && !kept[me] && generation_of[change[me]] >= newest[me] ->
        newest[me] = generation_of[change[me]];
        secret[2 * newest[me] + me] = change[me];
        kept[me] = true;
        step_over(me)
       }
    :: atomic { change[me] != 0 && ended[END(change[me], OTHER)] -> fail(me) }
    /* The core does not keep it: the deadline. */
    :: atomic { change[me] != 0 && !kept[me] && generation_of[change[me]] < newest[me] -> fail(me) }
    /* Faults, or none. */
    :: atomic { faults > 0 -> faults-- }
    :: atomic { faults > 0 && change[me] != 0 -> faults--; spent++; fail(me) }
    :: atomic { faults > 0 && !lost[me] -> faults--; spent++; lose(me) }
    /* D begins an attempt, gives up its handshake, or completes it. */
    :: atomic {
        me == D && !lost[D] && change[D] == 0 && dialled == 0 && attempt < ATTEMPTS ->
        attempt++;
        dialled = attempt;
#ifdef BROKEN_SAME_GENERATION
        generation_of[attempt] = (agreed[D] > attempted[D] -> agreed[D] : attempted[D]) + 1;
#else
        generation_of[attempt] = (agreed[D] > begun -> agreed[D] : begun) + 1;
        begun = generation_of[attempt];
#endif
        flight[attempt] = true
       }
    :: atomic { me == D && dialled != 0 && faults > 0 -> faults--; spent++; ended[END(dialled, D)] = true; dialled = 0 }
    :: atomic { me == D && dialled != 0 && lost[D] -> ended[END(dialled, D)] = true; dialled = 0 }
    :: atomic { me == D && dialled != 0 && ended[END(dialled, A)] -> ended[END(dialled, D)] = true; dialled = 0 }
    :: atomic {
        me == D && dialled != 0 && !lost[D] && nempty(wire[END(dialled, A)]) ->
        wire[END(dialled, A)]?HELLO, n;
        begin(D, dialled);
        dialled = 0
       }
    od
}

/* A's listener: a client's last flight arrives, in whatever order. */
active proctype Listener()
{
    byte k;
end_listener:
    do
    :: atomic {
        flight[1] || flight[2] ->
        if
        :: flight[1] -> k = 1
        :: flight[2] -> k = 2
        fi;
        flight[k] = false;
        if
        :: lost[A] || generation_of[k] <= agreed[A] || generation_of[k] <= attempted[A] -> ended[END(k, A)] = true
#ifndef BROKEN_SAME_GENERATION
        /* An attempt that is older than the one under way comes too late. */
        :: !lost[A] && change[A] != 0 && generation_of[k] < generation_of[change[A]] -> ended[END(k, A)] = true
#endif
        :: else ->
            if
            :: change[A] != 0 -> fail(A) /* superseded */
            :: else
            fi;
            if
            :: lost[A] -> ended[END(k, A)] = true
            :: else -> begin(A, k); wire[END(k, A)]!HELLO, generation_of[k]
            fi
        fi
       }
    od
}

/* At the end both sides use one connection and have heard all, or both have lost it and the link is made anew. */
active proctype Monitor()
{
    timeout ->
#ifdef REACH_RENEWED
    assert(!(agreed[D] == ATTEMPTS && agreed[A] == ATTEMPTS && read[D] == MESSAGES && read[A] == MESSAGES))
#else
    assert(lost[D] == lost[A]);
    assert(lost[D] || (connection[D] == connection[A] && change[D] == 0 && change[A] == 0 && agreed[D] == agreed[A]
        && outlet[D] == connection[D] && outlet[A] == connection[A]
        && read[D] == said[A] && read[A] == said[D]));
    assert(spent > 0 || (!lost[D] && agreed[D] == ATTEMPTS)) /* without a fault each renewal succeeds */
#endif
}

init
{
    atomic { run Side(D); run Side(A) }
}
