/*
 * The hand-over of a node to the process that replaces it, in two phases: docs/decisions/0009 and
 * src/pcgrelay/daemon/handover (old_process, new_process, channel).
 *
 * One running process; two others that want to replace it, which may come at the same time: it serves one after the
 * other. Each deadline may pass at any time. One process is killed, or stopped, at any step. A lane stands for all: its
 * number may be sealed once, by whoever it is.
 *
 * Left out: the contents of the record, other sockets, the order of what is prepared.
 */
#define ATTEMPTS 2
#define FRAMES 2 /* numbers of the lane */

/* Messages of channel.py. */
mtype = { OFFER, READY, STATE, TAKEN, GO, REFUSAL };

chan down[ATTEMPTS] = [2] of { mtype }; /* to the new process */
chan up[ATTEMPTS] = [2] of { mtype };
bool old_closed[ATTEMPTS]; /* the old process has closed its end: what was sent before can still be read */
bool new_closed[ATTEMPTS];
bool new_deaf[ATTEMPTS]; /* its end takes nothing more: sending fails */

byte wire; /* the number that the neighbour expects */
byte old_next;
byte record;
byte new_next[ATTEMPTS];
bool old_runs = true; /* its workers seal */
bool new_runs[ATTEMPTS];
bool gone[ATTEMPTS];    /* killed or stopped */
bool stopped[ATTEMPTS];
bool old_gone;
bool owns[ATTEMPTS]; /* GO was sent to it */
bool lost; /* the old process was killed while it owned the state */

#ifdef BROKEN_NO_DEADLINE
#define LATE false
#else
#define LATE true
#endif

/* Wait for a message: another one, the end of the channel and the deadline are failures. */
inline hear(channel, what, closed)
{
    atomic {
        if
        :: channel?what
        :: channel?REFUSAL -> goto fails
        :: closed && empty(channel) -> goto fails
        :: LATE -> goto fails
        fi
    }
}

/* Send, unless the other end is closed. */
inline tell(channel, what, closed)
{
    atomic {
        if
        :: closed -> goto fails
        :: else -> channel!what
        fi
    }
}

/* A turn of the old process's workers: nothing stops them within it. */
active proctype Workers()
{
end_workers:
    do
    :: atomic {
        old_runs && !old_gone && wire < FRAMES ->
        assert(old_next == wire); /* nobody else has sealed this number */
        old_next++;
        wire++
       }
    od
}

active proctype Old()
{
    byte k = 0;
    {
end_serves:
        do
        :: k < ATTEMPTS ->
            tell(down[k], OFFER, new_closed[k]);
            hear(up[k], READY, new_closed[k]); /* the node goes on meanwhile */
#ifdef BROKEN_NO_FREEZE
            record = old_next;
#else
            /* From here on nothing gives the event loop a turn. */
            atomic { old_runs = false; record = old_next };
#endif
            tell(down[k], STATE, new_closed[k]);
            hear(up[k], TAKEN, new_closed[k]);
            atomic {
                if
                :: new_closed[k] || new_deaf[k] -> goto fails
                :: else ->
                    down[k]!GO;
                    owns[k] = true;
#ifdef BROKEN_GOES_ON
                    old_runs = true; /* thaws, although GO is on its way */
#else
                    old_runs = false;
#endif
                    old_closed[k] = true;
                    break
                fi
            };
fails:
            atomic {
                old_runs = true; /* thaws */
                old_closed[k] = true;
                k++
            }
        od
    } unless { old_gone }
    /* Keys are wiped; it exits, and the kernel closes its ends. */
    atomic {
#ifndef BROKEN_GOES_ON
        old_runs = false;
#endif
        old_closed[0] = true;
        old_closed[1] = true
    }
}

proctype New(byte k)
{
    {
        hear(down[k], OFFER, old_closed[k]);
        if
        :: true -> tell(up[k], READY, old_closed[k])
        :: true -> tell(up[k], REFUSAL, old_closed[k]); goto fails
        fi;
        hear(down[k], STATE, old_closed[k]);
        atomic {
            new_next[k] = record; /* restored: nothing of it runs */
#ifdef BROKEN_STARTS_EARLY
            new_runs[k] = true
#endif
        };
        if
        :: true -> tell(up[k], TAKEN, old_closed[k])
        :: true -> goto fails /* the record cannot be restored */
        fi;
        atomic {
            if
            :: down[k]?GO -> new_runs[k] = true; goto fails
            :: old_closed[k] && empty(down[k]) -> goto fails
            :: LATE
            fi
        };
#ifndef BROKEN_LATE_GO
        /* From here on the other process cannot send any more; what it has sent counts. */
        new_deaf[k] = true;
        atomic {
            if
            :: down[k]?GO -> new_runs[k] = true
            :: empty(down[k])
            fi
        };
#endif
fails:
        do
        :: atomic {
            new_runs[k] && wire < FRAMES ->
            assert(new_next[k] == wire);
            new_next[k]++;
            wire++
           }
        :: !new_runs[k] || wire == FRAMES -> break
        od
    } unless { gone[k] }
    /* It exits, or goes on as the node and needs the channel no more; a process that is stopped keeps its ends open. */
    if
    :: !stopped[k] -> new_closed[k] = true
    :: else
    fi
}

/* A process is killed, and the kernel closes its ends; or it is stopped and does nothing any more. */
active proctype Fate()
{
    if
    :: atomic { !old_gone -> lost = !(owns[0] || owns[1]); old_gone = true }
    :: atomic { gone[0] = true; new_runs[0] = false }
    :: atomic { gone[1] = true; new_runs[1] = false }
    :: atomic { stopped[0] = true; gone[0] = true; new_runs[0] = false }
    :: true
    fi
}

/* When nothing can happen any more: one process runs, unless the one that had to was killed. */
active proctype Monitor()
{
    timeout ->
#ifdef REACH_TAKEN
    assert(!(new_runs[0] && wire == FRAMES))
#else
#ifdef REACH_SECOND
    assert(!(new_runs[1] && new_closed[0] && !owns[0] && wire == FRAMES))
#else
    assert(lost || (gone[0] && owns[0]) || (gone[1] && owns[1]) || old_runs + new_runs[0] + new_runs[1] == 1)
#endif
#endif
}

init
{
    atomic { run New(0); run New(1) }
}
