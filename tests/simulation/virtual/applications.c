/* Applications on both sides, and what they hold the gateway to: what comes out is what went in, from its first byte
 * and in order; an end that looks whole is whole; one connection in makes one out. Each end says its number first, and
 * every byte follows from that number and its place, so nobody has to keep what was sent. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtual.h"

enum { CHUNK_MOST = 65536, HEARS_LEAST = 1000, ANSWER_AT_ONCE = 0, ANSWER_AFTER_DATA = 1, ANSWER_AFTER_END = 2 };
enum { PORT_REFUSES = 1, PORT_SILENT = 2 };

typedef struct {
    int at;                     /* its socket; -1: never had one */
    int peer;                   /* the application that it hears; -1: not known yet */
    int service, plan;
    bool client, scheduled, fin_sent, fin_seen, ended, refused, spoken_to;
    bool direct;                /* a server that is reached over the other network */
    bool shadow;                /* the control plane's own: it says nothing, and leaves when it is time */
    uint64_t leaves_us;
    uint64_t total, sent, received;
    uint64_t reset_at;          /* it resets when it has sent so much */
    uint64_t deaf_from, deaf_until_us;  /* it reads nothing for a while, once it has read so much */
    uint64_t rests_from, rests_until_us;    /* it says nothing for a while, once it has said so much */
    uint32_t chunk, pace_us, deaf_us, rest_us;
} application;

static application *applications;
static int count, size;
static uint64_t salt;
static uint8_t ports[65536];
static bool may_nudge;          /* streams may be let go in order, before their ends have said all */
static uint64_t early_ends;     /* ends that were told so */
static uint8_t room[CHUNK_MOST], expected[CHUNK_MOST + 16];

void application_free_all(void) {
    count = 0;
    memset(ports, 0, sizeof(ports));
    may_nudge = false;
    early_ends = 0;
}

/* Bytes of number's stream from offset on. The first eight are the number itself. */
static void content(uint64_t number, uint64_t offset, uint8_t *out, uint32_t n) {
    uint64_t word = offset / 8;
    uint8_t block[8];
    for (uint32_t done = 0; done < n; word++) {
        uint64_t value = number ^ salt;
        if (word) {
            value = (number << 32 ^ word) * 0x9e3779b97f4a7c15u + salt;
            value = (value ^ value >> 31) * 0xbf58476d1ce4e5b9u;
            value ^= value >> 29;
        }
        memcpy(block, &value, 8);
        uint32_t skip = done ? 0 : (uint32_t)(offset % 8), part = 8 - skip < n - done ? 8 - skip : n - done;
        memcpy(out + done, block + skip, part);
        done += part;
    }
}

static application *fresh(bool client, int service, int at) {
    if (count == size) {
        size = size ? 2 * size : 64;
        applications = realloc(applications, size * sizeof(application));
    }
    application *self = &applications[count];
    memset(self, 0, sizeof(application));
    self->client = client;
    self->service = service;
    self->at = at;
    self->peer = -1;
    self->reset_at = self->deaf_from = self->rests_from = NEVER;
    if (at >= 0) {
        socks[at].application = count;
        socks[at].owner = -1;
    }
    count++;
    return self;
}

void application_wake(int index) {
    application *self = &applications[index];
    if (self->scheduled || self->ended)
        return;
    self->scheduled = true;
    agenda_add(now_us + 1 + self->pace_us, AGENDA_STEP, index);
}

static void end(application *self, bool hard) {
    self->ended = true;
    if (self->at < 0)
        return;
    socks[self->at].hard = hard;
    sock_close(self->at);
}

static bool may_speak(const application *self) {
    if (self->plan == ANSWER_AFTER_END)
        return self->fin_seen;
    return self->plan != ANSWER_AFTER_DATA || self->received || self->fin_seen;
}

static bool speak(application *self, int index) {
    if (self->fin_sent || self->shadow || now_us < self->rests_until_us || !may_speak(self))
        return false;
    uint64_t most = self->total < self->reset_at ? self->total : self->reset_at;
    uint32_t n = most - self->sent < self->chunk ? (uint32_t)(most - self->sent) : self->chunk;
    if (n) {
        content((uint64_t)index, self->sent, room, n);
        struct iovec vector = {room, n};
        ssize_t got = sock_send(self->at, &vector, 1);
        if (got < 0) {
            if (errno != EAGAIN)
                end(self, true);
            return false;
        }
        self->sent += (uint64_t)got;
    }
    if (self->sent >= self->rests_from) {
        self->rests_from = NEVER;
        self->rests_until_us = now_us + self->rest_us;
        agenda_add(self->rests_until_us, AGENDA_STEP, index);
        return true;
    }
    if (self->sent == self->reset_at) {
        end(self, true);
    } else if (self->sent == self->total) {
        self->fin_sent = true;
        sock_shut(self->at);
    }
    return true;
}

/* Who is it that speaks? Its first eight bytes say so. */
static void meet(application *self, int index) {
    uint64_t number;
    memcpy(&number, room, 8);
    number ^= salt;
    if (number >= (uint64_t)count || applications[number].client == self->client) {
        broken("bytes", "application %d hears a beginning that nobody sent", index);
        return;
    }
    application *peer = &applications[number];
    if (peer->peer >= 0 && peer->peer != index)
        broken("once", "applications %d and %d both speak with %d", peer->peer, index, (int)number);
    if (peer->service != self->service)
        broken("service", "application %d of service %d is led to service %d", (int)number, peer->service,
               self->service);
    self->peer = (int)number;
    for (int i = 0; i < count; i++)
        if (i != index && applications[i].client == self->client && applications[i].peer == self->peer)
            broken("once", "applications %d and %d both hear %d", i, index, self->peer);
}

static bool hear(application *self, int index) {
    if (self->fin_seen || now_us < self->deaf_until_us)
        return false;
    uint32_t n = self->chunk < HEARS_LEAST ? HEARS_LEAST : self->chunk;
    if (self->peer < 0) {
        /* The beginning is taken whole. */
        if (socks[self->at].ready < 8 && !socks[self->at].fin && !socks[self->at].reset)
            return false;
    }
    ssize_t got = sock_take(self->at, room, n);
    if (got < 0) {
        if (errno != EAGAIN)
            end(self, true);
        return false;
    }
    if (got == 0) {
        self->fin_seen = true;
        application *peer = self->peer < 0 ? NULL : &applications[self->peer];
        if (peer && (!peer->fin_sent || self->received != peer->sent) && may_nudge)
            early_ends++;
        else if (peer && (!peer->fin_sent || self->received != peer->sent))
            broken("whole", "application %d was told that %d had ended after %llu bytes, and it %s after %llu", index,
                   self->peer, (unsigned long long)self->received, peer->fin_sent ? "did" : "is",
                   (unsigned long long)peer->sent);
        return true;
    }
    if (self->peer < 0) {
        if (got < 8 && may_nudge) {
            /* It was let go before it had said who it is. */
            early_ends++;
            return true;
        }
        if (got < 8) {
            broken("whole", "application %d was given %d bytes in all", index, (int)got);
            return false;
        }
        meet(self, index);
        if (self->peer < 0)
            return false;
    }
    content((uint64_t)self->peer, self->received, expected, (uint32_t)got);
    if (memcmp(room, expected, (size_t)got))
        broken("bytes", "application %d hears after %llu bytes what %d did not say there", index,
               (unsigned long long)self->received, self->peer);
    self->received += (uint64_t)got;
    if (self->received > applications[self->peer].sent)
        broken("bytes", "application %d heard %llu bytes of %d, which said only %llu", index,
               (unsigned long long)self->received, self->peer, (unsigned long long)applications[self->peer].sent);
    if (self->received >= self->deaf_from) {
        self->deaf_from = NEVER;
        self->deaf_until_us = now_us + self->deaf_us;
        agenda_add(self->deaf_until_us + 1, AGENDA_STEP, index);
    }
    return true;
}

void application_step(int index) {
    application *self = &applications[index];
    bool moved = false;
    self->scheduled = false;
    if (self->ended)
        return;
    if (socks[self->at].error || socks[self->at].reset) {
        end(self, true);
        return;
    }
    /* A node that is killed takes its control plane with it. */
    if (self->shadow && (now_us >= self->leaves_us || socks[socks[self->at].peer].killed)) {
        end(self, false);
        return;
    }
    moved |= hear(self, index);
    if (!self->ended)
        moved |= speak(self, index);
    if (!self->ended && self->fin_sent && self->fin_seen)
        end(self, false);
    if (moved)
        application_wake(index);
}

/* -- targets: what an export connects to -- */

int sock_connect(int at, int port) {
    sock *self = &socks[at];
    self->connecting = true;
    self->number = fault_strikes(FAULT_WRONG_TARGET) ? port ^ 1 : port;
    if (ports[self->number] != PORT_SILENT)
        agenda_add(now_us + 50 + chance() % 2000, AGENDA_CONNECTED, at);
    return EINPROGRESS;
}

/* What a target will say follows from the world's seed and from how many came before it. */
static void plan_answer(application *self) {
    static const uint32_t most[4] = {0, 100, 20000, 300000};
    uint64_t kind = chance() % 8;
    self->total = kind ? chance() % (most[kind < 4 ? kind : 2] + 1) : 0;
    self->total = self->total && self->total < 8 ? 8 : self->total;
    self->plan = (int)(chance() % 3);
    self->chunk = 1 + (uint32_t)(chance() % (chance() % 4 ? 20000 : 500));
    self->chunk = self->total / self->chunk > 300 ? (uint32_t)(self->total / 300) : self->chunk;
    self->pace_us = (uint32_t)(chance() % 3000);
}

void sock_connected(int at) {
    sock *self = &socks[at];
    if (self->closed || self->killed)
        return;
    self->connecting = false;
    if (ports[self->number] == PORT_REFUSES) {
        self->error = ECONNREFUSED;
    } else {
        int outside = sock_new(KIND_STREAM);
        sock_join(at, outside, 20, 100, 20000 + (uint32_t)(chance() % 200000), 2);
        application *made = fresh(false, socks[at].number % PORT_DIRECT, outside);
        made->direct = socks[at].number >= PORT_DIRECT;
        plan_answer(made);
        application_wake(count - 1);
    }
    sock_wake(at);
}

/* The fault of one connection that comes out as two: what a server is given first, another one is given as well. */
void application_phantom(int index, const struct iovec *vectors, size_t n) {
    if (applications[index].client || applications[index].received || !fault_strikes(FAULT_PHANTOM))
        return;
    int inside = sock_new(KIND_STREAM), outside = sock_new(KIND_STREAM);
    socks[inside].owner = -1;
    sock_join(inside, outside, 20, 100, 20000, 1);
    application *made = fresh(false, applications[index].service, outside);
    plan_answer(made);
    application_wake(count - 1);
    sock_send(inside, vectors, n);
}

/* -- for the world's owner -- */

SHOWN void virtual_ports(int port, int what) {
    ports[port] = (uint8_t)what;
}

SHOWN void virtual_salt(uint64_t value) {
    salt = value | 1ull << 63;
}

/* An application connects to a listener. Answers its number; it is refused if nobody listens. */
SHOWN int virtual_application(int listener, int service, uint64_t total, uint64_t reset_at, uint32_t chunk,
                              uint32_t pace_us, uint64_t deaf_from, uint32_t deaf_us, uint32_t rest_us) {
    sock *self = listener < FD_BASE ? NULL : sock_at(listener);
    if (!self || self->kind != KIND_LISTENER) {
        application *none = fresh(true, service, -1);
        none->ended = none->refused = true;
        return count - 1;
    }
    int outside = sock_new(KIND_STREAM), inside = sock_new(KIND_STREAM);
    self = sock_at(listener);
    sock_join(outside, inside, 20, 100, 20000 + (uint32_t)(chance() % 200000), 2);
    application *made = fresh(true, service, outside);
    made->total = total && total < 8 ? 8 : total;
    made->reset_at = reset_at && reset_at < made->total ? reset_at : NEVER;
    made->chunk = chunk ? chunk : 1;
    made->chunk = made->chunk < CHUNK_MOST ? made->chunk : CHUNK_MOST;
    made->pace_us = pace_us;
    made->deaf_from = deaf_us ? deaf_from : NEVER;
    made->deaf_us = deaf_us;
    made->rests_from = rest_us ? made->total / 2 : NEVER;
    made->rest_us = rest_us;
    socks[inside].owner = self->owner;
    list_add(self, inside);
    sock_wake(listener - FD_BASE);
    application_wake(count - 1);
    return count - 1;
}

/* A connection that a node's control plane makes to try an outlet: answers the node's end of it. */
SHOWN int virtual_shadow(int of, int service, uint32_t stays_us) {
    int outside = sock_new(KIND_STREAM), inside = sock_new(KIND_STREAM);
    sock_join(outside, inside, 1, 0, 200000, 1);
    socks[outside].pair = socks[inside].pair = true;
    application *made = fresh(true, service, outside);
    made->shadow = true;
    made->chunk = CHUNK_MOST;
    made->leaves_us = now_us + stays_us;
    agenda_add(made->leaves_us, AGENDA_STEP, count - 1);
    socks[inside].owner = of;
    return inside + FD_BASE;
}

/* From now on streams may be let go in order. */
SHOWN void virtual_nudges(void) {
    may_nudge = true;
}

SHOWN uint64_t virtual_early_ends(void) {
    return early_ends;
}

/* What the servers of a service heard that one outlet leads to, and what those heard whom they answered. */
SHOWN void virtual_heard(int service, bool direct, uint64_t *servers, uint64_t *clients) {
    *servers = *clients = 0;
    for (int i = 0; i < count; i++) {
        application *self = &applications[i], *peer = self->peer < 0 ? NULL : &applications[self->peer];
        if (self->service != service || !peer || self->shadow)
            continue;
        if (!self->client && self->direct == direct)
            *servers += self->received;
        else if (self->client && peer->direct == direct)
            *clients += self->received;
    }
}

/* The application resets its connection now. */
SHOWN void virtual_application_reset(int index) {
    if (index < count && !applications[index].ended)
        end(&applications[index], true);
}

SHOWN int virtual_applications(int *running, int *whole, uint64_t *bytes) {
    *running = *whole = 0;
    *bytes = 0;
    for (int i = 0; i < count; i++) {
        *running += !applications[i].ended;
        *whole += applications[i].ended && applications[i].fin_sent && applications[i].fin_seen;
        *bytes += applications[i].received;
    }
    return count;
}

/* Why a quiet world is not at its end: the first application that still runs. */
SHOWN void virtual_stuck(void) {
    for (int i = 0; i < count; i++)
        if (!applications[i].ended)
            broken("ends", "application %d, %s %d, has said %llu of %llu bytes and heard %llu, and there is no end", i,
                   applications[i].client ? "a client of" : "a server of", applications[i].service,
                   (unsigned long long)applications[i].sent, (unsigned long long)applications[i].total,
                   (unsigned long long)applications[i].received);
}
