/* The clock of a world, what is due when, and the turns of its workers. */
#include "virtual.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPINS_MOST = 4000, WORKERS_MOST = 512, RESERVE_LEAST = BUF_HEAD + 65536 + 48 };

/* The beginning of a Worker: its pool, as buf.pxd has it. Each node that starts is held against what it was given. */
typedef struct {
    void *free[BUF_CLASSES];
    uint64_t limit, reserve, used, cached, high_water;
} pool;

typedef struct {
    pool *self;                 /* NULL: gone */
    int owner, poll;
    uint64_t due_us, frozen_us; /* when it wants to run; until when it may not */
    uint64_t bound;             /* what it may hold: its budget, or what it held when that was made smaller */
    uint32_t spins;
    uint64_t seen;
    bool again;
    bool joined;                /* its thread has ended; it may begin another */
} worker;

typedef struct {
    uint64_t at_us, turn;
    int what, index;
} entry;

bool world_on;
uint64_t now_us, activity;
int owner;
static uint64_t dice, other_dice;
static char fault[512];
static worker workers[WORKERS_MOST];
static int worker_count;
static worker *turning;
static bool told;
static entry *agenda;
static uint32_t agenda_size, agenda_count;
static uint64_t agenda_turn, turns;
static void (*loop_turn)(void *, int);

static uint64_t thrown(uint64_t *of) {
    *of ^= *of << 13;
    *of ^= *of >> 7;
    *of ^= *of << 17;
    return *of * 0x2545f4914f6cdd1du >> 11;
}

uint64_t chance(void) {
    return thrown(&dice);
}

uint64_t made_up(void) {
    return thrown(&other_dice);
}

void broken(const char *check, const char *text, ...) {
    if (fault[0])
        return;
    int n = snprintf(fault, sizeof(fault), "%s: at %llu us: ", check, (unsigned long long)now_us);
    va_list arguments;
    va_start(arguments, text);
    vsnprintf(fault + n, sizeof(fault) - n, text, arguments);
    va_end(arguments);
}

/* -- what is due when: a heap, by time and then by when it was said -- */

static bool before(const entry *a, const entry *b) {
    return a->at_us < b->at_us || (a->at_us == b->at_us && a->turn < b->turn);
}

void agenda_add(uint64_t at_us, int what, int index) {
    if (agenda_count == agenda_size) {
        agenda_size = agenda_size ? 2 * agenda_size : 1024;
        agenda = realloc(agenda, agenda_size * sizeof(entry));
    }
    entry fresh = {at_us, agenda_turn++, what, index};
    uint32_t i = agenda_count++;
    for (; i && before(&fresh, &agenda[(i - 1) / 2]); i = (i - 1) / 2)
        agenda[i] = agenda[(i - 1) / 2];
    agenda[i] = fresh;
}

static entry agenda_take(void) {
    entry first = agenda[0], last = agenda[--agenda_count];
    uint32_t i = 0;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= agenda_count)
            break;
        if (child + 1 < agenda_count && before(&agenda[child + 1], &agenda[child]))
            child++;
        if (!before(&agenda[child], &last))
            break;
        agenda[i] = agenda[child];
        i = child;
    }
    agenda[i] = last;
    return first;
}

static void agenda_now(void) {
    while (agenda_count && agenda[0].at_us <= now_us) {
        entry due = agenda_take();
        if (due.what == AGENDA_ARRIVAL)
            sock_arrive(due.index);
        else if (due.what == AGENDA_RESET)
            sock_was_reset(due.index);
        else if (due.what == AGENDA_CONNECTED)
            sock_connected(due.index);
        else if (due.what == AGENDA_DATAGRAM)
            datagram_arrives(due.index);
        else if (due.what == AGENDA_CLIENT)
            client_step(due.index);
        else if (due.what == AGENDA_PACKET)
            packet_arrives(due.index);
        else
            application_step(due.index);
    }
}

/* -- workers -- */

int worker_add(void *self) {
    for (int i = 0; i < worker_count; i++)
        if (workers[i].self == self && workers[i].joined) {
            workers[i].joined = false;
            workers[i].due_us = 0;
            return i;
        }
    if (worker_count == WORKERS_MOST) {
        broken("workers", "this world has more than %d", WORKERS_MOST);
        return WORKERS_MOST - 1;
    }
    worker *fresh = &workers[worker_count];
    memset(fresh, 0, sizeof(worker));
    fresh->self = self;
    fresh->owner = owner;
    fresh->poll = -1;
    return worker_count++;
}

void worker_join(int number) {
    workers[number].joined = true;
}

bool worker_has_ended(int of) {
    for (int i = 0; i < worker_count; i++)
        if (workers[i].self && workers[i].owner == of)
            return workers[i].joined;
    return false;
}

void control_told(void) {
    told = true;
}

void worker_polled(int poll, int n, int timeout_ms) {
    turning->poll = poll;
    turning->again = n != 0 || timeout_ms == 0;
    turning->due_us = now_us + (uint64_t)timeout_ms * 1000;
}

static void worker_check(worker *self) {
    pool *budget = self->self;
    uint64_t most = budget->limit + budget->reserve, held = budget->used + budget->cached;
    if (self->bound < most)
        self->bound = most;
    if (held > self->bound || budget->used > budget->high_water)
        broken("memory", "node %d holds %llu bytes in hands and %llu spare, and its budget is %llu", self->owner,
               (unsigned long long)budget->used, (unsigned long long)budget->cached, (unsigned long long)self->bound);
    if (self->bound > most)
        self->bound = held > most ? held : most;
    if (!self->again || self->seen != activity)
        self->spins = 0;
    else if (++self->spins > SPINS_MOST)
        broken("spinning", "a worker of node %d turned %d times and moved nothing", self->owner, SPINS_MOST);
    self->seen = activity;
}

static bool worker_runs(worker *self) {
    if (!self->self || self->joined || now_us < self->frozen_us
        || (!self->again && now_us < self->due_us && !socks[self->poll].list_count))
        return false;
    turning = self;
    owner = self->owner;
    loop_turn(self->self, 1000);
    turns++;
    worker_check(self);
    return true;
}

/* Turns at this time until nobody has anything to do; each beginning is another worker's. A turn takes its time. */
static void workers_run(void) {
    uint32_t first = worker_count ? (uint32_t)(chance() % worker_count) : 0;
    bool any = true;
    for (uint32_t rounds = 0; any && !fault[0]; rounds++) {
        any = false;
        for (int i = 0; i < worker_count; i++)
            any |= worker_runs(&workers[(first + i) % worker_count]);
        if (rounds % 4 == 3) {
            now_us++;
            agenda_now();
        }
    }
}

/* -- for the world's owner -- */

SHOWN void virtual_begin(uint64_t seed, void *turn) {
    loop_turn = (void (*)(void *, int))turn;
    dice = seed * 0x9e3779b97f4a7c15u + 0x1234567;
    other_dice = ~dice;
    now_us = 1000000000;
    fault[0] = 0;
    worker_count = 0;
    agenda_count = 0;
    agenda_turn = turns = activity = accepts = 0;
    told = false;
    nonces_forget();
    faults_forget();
    datagrams_forget();
    associations_forget();
    packets_forget();
    world_on = true;
}

SHOWN void virtual_end(void) {
    application_free_all();
    sock_free_all();
    associations_forget();
    packets_forget();
    world_on = false;
}

SHOWN void virtual_owner(int is) {
    owner = is;
}

/* Run to that time, or until a control plane has news. Answers the time that it is. */
SHOWN uint64_t virtual_run(uint64_t until_us) {
    told = false;
    agenda_now();
    for (;;) {
        workers_run();
        if (told || fault[0] || now_us >= until_us)
            return now_us;
        uint64_t next_us = until_us;
        if (agenda_count && agenda[0].at_us < next_us)
            next_us = agenda[0].at_us;
        for (int i = 0; i < worker_count; i++) {
            uint64_t due_us = workers[i].due_us;
            if (now_us < workers[i].frozen_us)
                due_us = due_us < workers[i].frozen_us || socks[workers[i].poll].list_count ? workers[i].frozen_us : due_us;
            if (workers[i].self && !workers[i].joined && due_us < next_us)
                next_us = due_us;
        }
        if (next_us > now_us)
            now_us = next_us;
        agenda_now();
    }
}

SHOWN uint64_t virtual_now(void) {
    return now_us;
}

SHOWN const char *virtual_fault(void) {
    return fault;
}

SHOWN uint64_t virtual_turns(void) {
    return turns;
}

/* What the workers of a node may hold, for the check of this file's layout. */
SHOWN uint64_t virtual_budget(int of) {
    uint64_t all = 0;
    for (int i = 0; i < worker_count; i++)
        if (workers[i].self && workers[i].owner == of)
            all += workers[i].self->limit + workers[i].self->reserve;
    return all;
}

/* From now on each worker of a node has this budget; an eighth of it is the reserve, and at least a whole frame, as in
 * loop_start. */
SHOWN void virtual_squeeze(int of, uint64_t bytes) {
    for (int i = 0; i < worker_count; i++)
        if (workers[i].self && workers[i].owner == of) {
            uint64_t part = bytes / 8 < 4194304 ? bytes / 8 : 4194304;
            workers[i].self->reserve = part < RESERVE_LEAST ? RESERVE_LEAST : part;
            workers[i].self->limit = bytes - workers[i].self->reserve;
            workers[i].bound = workers[i].self->used + workers[i].self->cached;
        }
}

/* The workers of a node get no turn until then. */
SHOWN void virtual_freeze(int of, uint64_t until_us) {
    for (int i = 0; i < worker_count; i++)
        if (workers[i].self && workers[i].owner == of)
            workers[i].frozen_us = until_us;
}

/* The process of a node is gone, and another one has all that it had. */
SHOWN void virtual_left(int of) {
    for (int i = 0; i < worker_count; i++)
        if (workers[i].owner == of)
            workers[i].self = NULL;
}

/* The node has been stopped: nothing may be left of it. */
SHOWN void virtual_stopped(int of) {
    for (int i = 0; i < worker_count; i++) {
        pool *budget = workers[i].self;
        if (!budget || workers[i].owner != of)
            continue;
        if (budget->used || budget->cached)
            broken("memory", "node %d was stopped with %llu bytes in hands and %llu spare", of,
                   (unsigned long long)budget->used, (unsigned long long)budget->cached);
        workers[i].self = NULL;
    }
}
