/*
 * The lane of one index of a link: docs/protocol.md 4.1 and 5, src/pcgrelay/link/lanes.py and src/_core (lane_keys,
 * lane, worker/lane_io).
 *
 * D dials a lane whenever the one before has ended at its side, each with the next number. Connections are lost, which
 * either side may notice first, or not at all. The network repeats preambles that it has seen, and each may come late.
 *
 * Left out: what the frames are, silence (the end that is not noticed), the range of 64 numbers.
 */
#define LANES 3   /* numbers that D uses */
#define REPLAYS 2 /* of preambles */
#define FAULTS 2

mtype = { NONE, CONFIRMING, UP, CLOSED };

mtype at_d[LANES] = NONE;
mtype at_a[LANES] = NONE;
bool preamble[LANES];  /* on its way, from D */
bool is_real[LANES];   /* the lane at A is D's connection, not one of who repeated the preamble */
bool used[LANES];      /* numbers that A has seen */
byte started[LANES];   /* how often A's lane of that number began to seal */
bool confirm_d[LANES]; /* CONFIRM of D is on its way */
bool confirm_a[LANES];
bool cut[LANES];       /* the connection is lost */
byte next;
byte current = LANES;  /* the lane of the index at A; LANES: none */
byte replays = REPLAYS;
byte replayed;
byte faults = FAULTS;  /* that may still come, */
byte spent;            /* and that came */
bool living; /* D has a lane that has not ended */
byte mine;   /* its number */

/* A takes a preamble: a good proof uses up its number. */
inline accept(number, real)
{
    if
#ifdef BROKEN_REUSE
    :: at_a[number] != UP ->
#else
    :: !used[number] ->
#endif
        used[number] = true;
        at_a[number] = CONFIRMING;
        is_real[number] = real;
        started[number]++;
        assert(started[number] == 1); /* no counter starts twice under one key */
        confirm_a[number] = real
    :: else -> cut[number] = cut[number] || real /* closed without an answer */
    fi
}

active proctype Dialler()
{
end_dialler:
    do
    :: atomic {
        !living && next < LANES ->
        mine = next;
        next++;
        living = true;
        at_d[mine] = CONFIRMING;
        preamble[mine] = true;
        confirm_d[mine] = true
       }
    :: atomic { living && confirm_a[mine] && !cut[mine] -> confirm_a[mine] = false; at_d[mine] = UP }
    :: atomic { living && (cut[mine] || at_a[mine] == CLOSED) -> living = false; at_d[mine] = CLOSED }
#ifdef BROKEN_FOR_EVER
    /* It gives up a number that it has not used, and takes it again. */
    :: atomic { living && at_a[mine] == NONE && preamble[mine] -> preamble[mine] = false; living = false; next-- }
#endif
    /* A fault that D notices first. */
    :: atomic { faults > 0 && living -> faults--; spent++; living = false; at_d[mine] = CLOSED }
    od
}

active proctype Acceptor()
{
    byte n;
end_acceptor:
    do
    :: atomic {
        preamble[0] || preamble[1] || preamble[2] ->
        if
        :: preamble[0] -> n = 0
        :: preamble[1] -> n = 1
        :: preamble[2] -> n = 2
        fi;
        preamble[n] = false;
        accept(n, true)
       }
    /* D's CONFIRM comes on its own connection alone. */
    :: atomic {
        (at_a[0] == CONFIRMING && is_real[0] && confirm_d[0] && !cut[0]) ||
        (at_a[1] == CONFIRMING && is_real[1] && confirm_d[1] && !cut[1]) ||
        (at_a[2] == CONFIRMING && is_real[2] && confirm_d[2] && !cut[2]) ->
        if
        :: at_a[0] == CONFIRMING && is_real[0] && confirm_d[0] && !cut[0] -> n = 0
        :: at_a[1] == CONFIRMING && is_real[1] && confirm_d[1] && !cut[1] -> n = 1
        :: at_a[2] == CONFIRMING && is_real[2] && confirm_d[2] && !cut[2] -> n = 2
        fi;
        confirm_d[n] = false;
        if
#ifdef BROKEN_KEEPS
        :: current != LANES -> at_a[n] = CLOSED
#endif
#ifndef BROKEN_OLD_WINS
        :: current != LANES && current > n -> at_a[n] = CLOSED /* D has given it up */
#endif
        :: else ->
            if
            :: current != LANES -> at_a[current] = CLOSED /* REPLACED */
            :: else
            fi;
            at_a[n] = UP;
            current = n
        fi
       }
    /* The end of a connection comes to notice; silence makes it so in any case, but late. */
    :: atomic { current != LANES && cut[current] -> at_a[current] = CLOSED; current = LANES }
    /* Who repeats a preamble cannot send CONFIRM: the deadline. */
    :: atomic { at_a[0] == CONFIRMING && !is_real[0] -> at_a[0] = CLOSED }
    :: atomic { at_a[1] == CONFIRMING && !is_real[1] -> at_a[1] = CLOSED }
    :: atomic { at_a[2] == CONFIRMING && !is_real[2] -> at_a[2] = CLOSED }
    od
}

active proctype Network()
{
end_network:
    do
    :: atomic { faults > 0 && living && !cut[mine] -> faults--; spent++; cut[mine] = true }
    :: atomic { faults > 0 -> faults-- }
    :: atomic { replays > 0 -> replays-- }
    :: atomic { replays > 0 && next > 0 -> replays--; replayed++; accept(0, false) }
    :: atomic { replays > 0 && next > 1 -> replays--; replayed++; accept(1, false) }
    od
}

/* At the end D's lane is A's, or D has no number left here. */
active proctype Monitor()
{
    timeout ->
#ifdef REACH_REPLACED
    assert(!(living && mine == 1 && current == 1 && at_d[1] == UP && at_a[0] == CLOSED && spent == 1))
#else
    assert(!living || (at_d[mine] == UP && at_a[mine] == UP && current == mine));
    assert(living || spent + replayed >= LANES) /* each number has gone for a cause */
#endif
}
