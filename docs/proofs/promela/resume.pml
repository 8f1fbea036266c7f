/*
 * A session that changes its path, with path validation: docs/protocol.md 6.3 and 9.5, src/pcgrelay/session (recovery,
 * candidates), src/_core/session (session, candidate).
 *
 * I began the session and opens paths, one after the other. R has a control plane and two workers with a flow each. What
 * a worker reports is queued, and each moves by itself when a RESUME opens; a worker carries out all orders before it
 * looks at a frame, so an order is done here when it is given. Path 1 stands at first, and I has begun to move to path 2.
 * Paths are lost, which each part learns when it likes. Whoever knows the id asks for candidates all the time: that may
 * cost I's candidate its place, and can do no more.
 *
 * Left out: relays (a path is one hop), retained frames, 60 resumptions in 60 s, back-off. The RESUMEs of one flow are
 * in the order of paths, so that the path's number stands for the id.
 */
#define PATHS 4            /* that I opens, the first one included */
#define CANDIDATES_MOST 4
#ifndef CAUSES
#define CAUSES 2           /* for which I needs another path, besides the first move: */
#endif
#define DEATHS 2
#define DISPLACED 1        /* candidates that lose their place to who asks */
#define WORKERS 2
#define NONE 0

mtype = { MOVED, RESUMED, STALLED };

chan events[WORKERS] = [8] of { mtype, byte }; /* path */

/* Control messages on their way, by path; each is sent once. */
bool opens[PATHS + 1];
bool accepts[PATHS + 1];
bool closed_by_i[PATHS + 1];
bool closed_by_r[PATHS + 1];
bool dead[PATHS + 1];

/* Frames on their way, by 2 * path + worker. */
bool resume[2 * PATHS + 2];
bool unknown[PATHS + 1]; /* LOST (UNKNOWN) */

byte deaths; /* at most DEATHS, and so on */
byte displaced;
byte causes = 1;

/* I */
byte i_path = 1;
byte i_former;
byte i_asked = 2;
byte i_opened = 2;
bool i_up[WORKERS] = true;

/* R's control plane */
byte r_path = 1;
byte r_former;
byte led = 1;
bool candidate[PATHS + 1];
bool unresumed[WORKERS];
bool stalled;
bool end_seen[PATHS + 1];

/* R's workers */
byte path_of[WORKERS] = 1;
bool has[2 * PATHS + 2]; /* candidates, by 2 * path + worker */
bool up[WORKERS] = true;
byte told_of[WORKERS];    /* the path whose loss was told */
byte resumed_of[WORKERS]; /* that of the last RESUME that was taken: its id */

inline i_loses()
{
    if
    :: i_path != NONE -> closed_by_i[i_path] = true
    :: else
    fi;
    if
    :: i_former != NONE -> closed_by_i[i_former] = true; i_former = NONE
    :: else
    fi;
    i_path = NONE;
    i_up[0] = false;
    i_up[1] = false
}

proctype Initiator()
{
    byte w;
end_initiator:
    do
    /* It learns that its path is lost: from its link, from a relay, by LOST, or by PATH_CLOSE. */
    :: atomic { i_path != NONE && (dead[i_path] || closed_by_r[i_path] || unknown[i_path]) -> i_loses() }
    /* One request at a time. */
    :: atomic {
        i_path == NONE && i_asked == NONE && i_opened < PATHS ->
        i_opened++;
        i_asked = i_opened;
        opens[i_asked] = true
       }
    :: atomic {
        i_asked != NONE && (dead[i_asked] || closed_by_r[i_asked]) ->
        closed_by_i[i_asked] = true;
        i_asked = NONE
       }
    :: atomic {
        i_asked != NONE && accepts[i_asked] && !dead[i_asked] ->
        i_former = i_path;
        i_path = i_asked;
        i_asked = NONE;
        i_up[0] = false;
        i_up[1] = false;
        resume[2 * i_path] = true;
        resume[2 * i_path + 1] = true
       }
    :: atomic { i_up[0] && i_up[1] && i_former != NONE -> closed_by_i[i_former] = true; i_former = NONE }
    od
}

/* -- R's control plane ------------------------------------------------------------------------------------------ */

inline r_leave_former()
{
    if
    :: r_former != NONE -> closed_by_r[r_former] = true; end_seen[r_former] = true; r_former = NONE
    :: else
    fi
}

/* The core's candidate_lead: a worker that has followed the other edge elsewhere stays there. */
inline candidate_lead(path, worker)
{
    if
#ifdef BROKEN_NO_INSTEAD
    :: true ->
#else
    :: path_of[worker] == led && path_of[worker] != path ->
#endif
        has[2 * path + worker] = false;
        path_of[worker] = path;
        up[worker] = false
#ifndef BROKEN_NO_INSTEAD
    :: else
#endif
    fi
}

/* PathRecovery._take_path and lead */
inline take(path)
{
    r_leave_former();
    r_former = r_path;
    r_path = path;
    unresumed[0] = true;
    unresumed[1] = true;
    candidate_lead(path, 0);
    candidate_lead(path, 1);
#ifndef BROKEN_LEAVES_PLACES
    /* A worker that never came there, and is on a later one, still has it as a candidate. */
    has[2 * led] = false;
    has[2 * led + 1] = false;
#endif
    led = path
}

inline drop(path)
{
    candidate[path] = false;
    has[2 * path] = false;
    has[2 * path + 1] = false
}

/* Candidates.moved */
inline moved(path)
{
    if
    :: candidate[path] ->
        candidate[path] = false;
#ifndef BROKEN_STALE
        /* The other edge has left the paths that it opened before. */
        n = 2;
        do
        :: n < path ->
            if
            :: candidate[n] -> drop(n); closed_by_r[n] = true; end_seen[n] = true
            :: else
            fi;
            n++
        :: else -> break
        od;
#endif
        take(path)
    :: else
    fi
}

/* PathRecovery.stalled of a responder */
inline stall()
{
    stalled = true;
    if
    :: r_path != NONE -> closed_by_r[r_path] = true; end_seen[r_path] = true; r_path = NONE
    :: else
    fi
}

/* EdgePaths._lost, for each owner of a path */
inline ended(path)
{
    end_seen[path] = true;
    if
    :: path == r_path -> r_path = NONE; r_leave_former(); stalled = true
    :: path == r_former -> r_former = NONE
    :: candidate[path] -> drop(path)
    :: else
    fi
}

proctype Responder()
{
    byte n;
    byte p;
    byte w;
end_responder:
    do
    /* Candidates.asked: path n has its place, which costs nobody else's. */
    :: atomic {
        (opens[2] && !dead[2]) || (opens[3] && !dead[3]) || (opens[4] && !dead[4]) ->
        if
        :: opens[2] && !dead[2] -> p = 2
        :: opens[3] && !dead[3] -> p = 3
        :: opens[4] && !dead[4] -> p = 4
        fi;
        opens[p] = false;
#ifdef BROKEN_NO_PROOF
        take(p);
#else
        candidate[p] = true;
        has[2 * p] = true;
        has[2 * p + 1] = true;
#endif
        accepts[p] = true
       }
    /* PATH_CLOSE of I, or of the node that lost the next hop. */
    :: atomic { (closed_by_i[1] || (dead[1] && r_path == 1)) && !end_seen[1] -> ended(1) }
    :: atomic { (closed_by_i[2] || (dead[2] && r_path == 2)) && !opens[2] && !end_seen[2] -> ended(2) }
    :: atomic { (closed_by_i[3] || (dead[3] && r_path == 3)) && !opens[3] && !end_seen[3] -> ended(3) }
    :: atomic { (closed_by_i[4] || (dead[4] && r_path == 4)) && !opens[4] && !end_seen[4] -> ended(4) }
    /* Who asks for candidates displaces one; or it was not used for CANDIDATE_S. */
    :: atomic {
        displaced > 0 && (candidate[2] || candidate[3] || candidate[4]) ->
        displaced--;
        causes++;
        if
        :: candidate[2] -> p = 2
        :: candidate[3] -> p = 3
        :: candidate[4] -> p = 4
        fi;
        drop(p);
        closed_by_r[p] = true;
        end_seen[p] = true
       }
    :: atomic {
        nempty(events[0]) || nempty(events[1]) ->
        if
        :: nempty(events[0]) -> w = 0
        :: nempty(events[1]) -> w = 1
        fi;
        if
        :: events[w]?MOVED, p -> moved(p)
        :: events[w]?RESUMED, p ->
            unresumed[w] = false;
            if
            :: !unresumed[0] && !unresumed[1] && r_path != NONE -> r_leave_former(); stalled = false
            :: else
            fi
        :: events[w]?STALLED, p ->
            if
            :: r_path == NONE || r_path == p -> unresumed[w] = true; stall()
            :: else
            fi
        fi
       }
    od
}

/* -- R's workers ------------------------------------------------------------------------------------------------ */

/* A RESUME opens on the path that the worker uses: it is answered. */
inline resumes(path)
{
    i_up[me] = i_up[me] || path == i_path; /* the answer comes at once, or I has left the path */
    up[me] = true;
    resumed_of[me] = path;
    told_of[me] = NONE;
    events[me]!RESUMED, NONE
}

proctype Worker(byte me)
{
    byte p;
end_worker:
    do
    :: atomic {
        resume[2 + me] || resume[4 + me] || resume[6 + me] || resume[8 + me] ->
        if
        :: resume[2 + me] -> p = 1
        :: resume[4 + me] -> p = 2
        :: resume[6 + me] -> p = 3
        :: resume[8 + me] -> p = 4
        fi;
        resume[2 * p + me] = false;
        if
        :: path_of[me] == p -> resumes(p)
        :: path_of[me] != p && has[2 * p + me] && p > resumed_of[me] ->
            has[2 * p + me] = false;
            path_of[me] = p;
            events[me]!MOVED, p;
            resumes(p)
        :: path_of[me] != p && has[2 * p + me] && p <= resumed_of[me] /* a smaller id */
        :: path_of[me] != p && !has[2 * p + me] -> unknown[p] = true
        fi
       }
    /* It learns that its path is lost. */
    :: atomic {
        dead[path_of[me]] && told_of[me] != path_of[me] ->
        up[me] = false;
        told_of[me] = path_of[me];
        events[me]!STALLED, path_of[me]
       }
    od
}

/* What was under way is lost with it. */
inline die(path)
{
    deaths--;
    causes++;
    dead[path] = true;
    resume[2 * path] = false;
    resume[2 * path + 1] = false
}

proctype Network()
{
end_network:
    do
    :: atomic { deaths > 0 && i_path != NONE && !dead[i_path] -> die(i_path) }
    :: atomic { deaths > 0 && i_asked != NONE && !dead[i_asked] -> die(i_asked) }
    od
}

/* At the end both sides use one path on all flows, and R keeps no other; or I has no path left here. */
proctype Monitor()
{
    timeout ->
#ifdef REACH_RESUMED
    assert(!(i_path == PATHS && r_path == PATHS && i_up[0] && i_up[1] && causes == 3))
#else
    assert(i_path != NONE || i_opened == PATHS);
    assert(i_opened <= causes + 1); /* and each path that I opened had its cause */
    assert(i_path == NONE || (r_path == i_path && path_of[0] == i_path && path_of[1] == i_path
        && i_up[0] && i_up[1] && up[0] && up[1] && !stalled && !unresumed[0] && !unresumed[1]
        && i_former == NONE && r_former == NONE));
    assert(!(has[4] && !candidate[2]) && !(has[5] && !candidate[2]));
    assert(!(has[6] && !candidate[3]) && !(has[7] && !candidate[3]));
    assert(!(has[8] && !candidate[4]) && !(has[9] && !candidate[4]))
#endif
}

init
{
    atomic {
        select(deaths : 0 .. DEATHS);
        select(displaced : 0 .. DISPLACED);
        if
        :: deaths + displaced > CAUSES -> displaced = 0
        :: else
        fi;
        opens[2] = true;
        run Initiator();
        run Responder();
        run Worker(0);
        run Worker(1);
        run Network();
        run Monitor()
    }
}
