/* Virtual descriptors. A stream is one direction of bytes for each end: in order, late by its delay, in pieces, never
 * more than its limit under way. The ends of TCP are those of Linux: FIN behind the bytes, a reset for who closes with
 * bytes unread or writes to nobody. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtual.h"

sock *socks;
int sock_count;
static int sock_size;

int sock_new(int kind) {
    if (sock_count == sock_size) {
        sock_size = sock_size ? 2 * sock_size : 256;
        socks = realloc(socks, sock_size * sizeof(sock));
    }
    sock *self = &socks[sock_count];
    memset(self, 0, sizeof(sock));
    self->kind = kind;
    self->owner = owner;
    self->peer = self->poll = self->application = self->asker = -1;
    self->fin_due_us = NEVER;
    return sock_count++;
}

static int scarce = -1;

bool owner_is_scarce(int of) {
    return of == scarce;
}

sock *sock_at(int fd) {
    int at = fd - FD_BASE;
    return at < 0 || at >= sock_count || socks[at].closed ? NULL : &socks[at];
}

void sock_free_all(void) {
    for (int i = 0; i < sock_count; i++) {
        free(socks[i].bytes);
        free(socks[i].flight);
        free(socks[i].list);
        datagrams_drop(&socks[i]);
        packets_drop(&socks[i]);
    }
    sock_count = 0;
}

void sock_join(int a, int b, uint32_t delay_us, uint32_t jitter_us, uint32_t limit, uint32_t pieces) {
    for (int i = 0; i < 2; i++) {
        sock *self = &socks[i ? a : b];
        self->peer = i ? b : a;
        self->delay_us = delay_us;
        self->jitter_us = jitter_us;
        self->limit = limit;
        self->pieces = pieces;
        self->connected = true;
    }
}

/* When what is sent now to self arrives: behind all that was sent before. */
static uint64_t due_after(sock *self) {
    uint64_t due_us = now_us + self->delay_us + (self->jitter_us ? chance() % self->jitter_us : 0);
    if (due_us < self->last_due_us)
        due_us = self->last_due_us;
    self->last_due_us = due_us;
    return due_us;
}

static void fly(int at, uint32_t n) {
    sock *self = &socks[at];
    if (self->flight_head + self->flight_count == self->flight_size) {
        if (self->flight_head > self->flight_count) {
            memmove(self->flight, self->flight + self->flight_head, self->flight_count * sizeof(segment));
            self->flight_head = 0;
        } else {
            self->flight_size = self->flight_size ? 2 * self->flight_size : 16;
            self->flight = realloc(self->flight, self->flight_size * sizeof(segment));
        }
    }
    segment *fresh = &self->flight[self->flight_head + self->flight_count++];
    fresh->due_us = due_after(self);
    fresh->n = n;
    agenda_add(fresh->due_us, AGENDA_ARRIVAL, at);
}

static void put(sock *self, const uint8_t *p, uint32_t n) {
    if (self->head + self->count + n > self->size) {
        if (self->count)
            memmove(self->bytes, self->bytes + self->head, self->count);
        self->head = 0;
        if (self->count + n > self->size) {
            self->size = (self->count + n) * 2;
            self->bytes = realloc(self->bytes, self->size);
        }
    }
    memcpy(self->bytes + self->head + self->count, p, n);
    self->count += n;
}

static void fly_in_pieces(int at, uint32_t n) {
    uint32_t pieces = socks[at].pieces;
    while (n) {
        uint32_t part = n;
        if (pieces > 1 && n > 1 && chance() % 2)
            part = 1 + (uint32_t)(chance() % n), pieces--;
        fly(at, part);
        n -= part;
    }
}

/* How long the frame is that ends with this part; 0: it does not end here, or began in another call. */
static uint32_t frame_ends(sock *self, uint32_t n, uint32_t part) {
    bool rest = self->cut != 0;
    self->cut = n - part;
    return self->cut || rest ? 0 : part;
}

ssize_t sock_send(int at, const struct iovec *vectors, size_t n) {
    sock *self = &socks[at];
    ssize_t sent = 0;
    if (self->closed || self->reset || self->error || self->shut || !self->connected) {
        errno = self->reset ? ECONNRESET : EPIPE;
        return -1;
    }
    sock *peer = &socks[self->peer];
    if (peer->closed && self->pair) {
        errno = EPIPE;
        return -1;
    }
    if (peer->closed && !peer->held) {
        /* Nobody is there: the answer is a reset, a round trip later. */
        for (size_t i = 0; i < n; i++)
            sent += (ssize_t)vectors[i].iov_len;
        sock_reset_at(at, now_us + 2 * peer->delay_us);
        return sent;
    }
    bool twice = false;
    if (peer->application >= 0) {
        if (fault_strikes(FAULT_SWALLOWED_WRITE))
            return (ssize_t)vectors[0].iov_len;
        twice = fault_strikes(FAULT_DOUBLED_WRITE);
        if (fault_strikes(FAULT_STRAY_RESET)) {
            sock_reset_at(at, now_us);
            sock_reset_at(self->peer, now_us);
        }
        application_phantom(peer->application, vectors, n);
        /* It may have made sockets. */
        self = &socks[at];
        peer = &socks[self->peer];
    }
    for (size_t i = 0; i < n && peer->count < peer->limit; i++) {
        uint32_t room = peer->limit - peer->count;
        uint32_t part = vectors[i].iov_len < room ? (uint32_t)vectors[i].iov_len : room;
        put(peer, vectors[i].iov_base, part);
        sent += part;
        /* Each vector is a frame, or what the call before left of one. */
        peer->whole = frame_ends(peer, (uint32_t)vectors[i].iov_len, part);
        if (twice) {
            put(peer, vectors[i].iov_base, part);
            fly(self->peer, part);
        }
        self->full = part < vectors[i].iov_len;
    }
    if (sent == 0) {
        self->full = true;
        errno = EAGAIN;
        return -1;
    }
    activity++;
    fly_in_pieces(self->peer, (uint32_t)sent);
    if (peer->application >= 0 && fault_strikes(FAULT_EARLY_END))
        sock_shut(at);
    return sent;
}

/* Take n bytes at most to p, or to nowhere if that is NULL. */
static ssize_t leave(int at, uint8_t *p, size_t n) {
    sock *self = &socks[at];
    if (self->ready == 0) {
        if (self->reset) {
            errno = ECONNRESET;
            return -1;
        }
        if (self->fin)
            return 0;
        errno = EAGAIN;
        return -1;
    }
    uint32_t part = n < self->ready ? (uint32_t)n : self->ready;
    if (p)
        memcpy(p, self->bytes + self->head, part);
    self->head += part;
    self->count -= part;
    self->ready -= part;
    activity++;
    if (self->peer >= 0 && socks[self->peer].full) {
        socks[self->peer].full = false;
        sock_wake(self->peer);
    }
    return part;
}

ssize_t sock_take(int at, uint8_t *p, size_t n) {
    return leave(at, p, n);
}

ssize_t sock_drop(int at, size_t n) {
    return leave(at, NULL, n);
}

/* What is due has arrived, unless the wire holds it back. */
void sock_arrive(int at) {
    sock *self = &socks[at];
    bool news = false;
    if (self->held)
        return;
    while (self->flight_count && self->flight[self->flight_head].due_us <= now_us) {
        self->ready += self->flight[self->flight_head++].n;
        self->flight_count--;
        news = true;
    }
    if (self->flight_count == 0 && self->fin_due_us <= now_us && !self->fin)
        self->fin = news = true;
    if (self->closed && news && self->peer >= 0 && (self->ready || !socks[self->peer].shut))
        sock_reset_at(self->peer, now_us + self->delay_us);
    else if (news)
        sock_wake(at);
}

void sock_shut(int at) {
    sock *self = &socks[at];
    if (self->kind == KIND_LISTENER)
        self->shut = true;
    if (self->shut || self->peer < 0 || self->reset)
        return;
    self->shut = true;
    socks[self->peer].fin_due_us = due_after(&socks[self->peer]);
    agenda_add(socks[self->peer].fin_due_us, AGENDA_ARRIVAL, self->peer);
}

void sock_reset_at(int at, uint64_t due_us) {
    agenda_add(due_us, AGENDA_RESET, at);
}

void sock_was_reset(int at) {
    sock *self = &socks[at];
    if (self->held) {
        /* A wire that lets nothing through brings no reset either, until it does. */
        sock_reset_at(at, now_us + 100000);
        return;
    }
    if (self->closed || self->reset)
        return;
    self->reset = true;
    sock_wake(at);
}

/* Reset by its own side, as Linux does when a socket is connected to nobody. */
void sock_disconnect(int at) {
    sock *self = &socks[at];
    if (self->peer >= 0 && !self->reset)
        sock_reset_at(self->peer, due_after(&socks[self->peer]));
    self->reset = true;
}

/* Nobody who has a copy holds the other end up. */
bool sock_is_ended(const sock *self) {
    return self->kind == KIND_STREAM ? self->shut || self->reset || self->error || self->peer < 0
                                     : self->kind != KIND_LISTENER || self->shut;
}

void sock_close(int at) {
    sock *self = &socks[at];
    if (self->closed)
        return;
    if (self->kind == KIND_STREAM && self->peer >= 0 && !self->reset) {
        if (self->hard || self->ready)
            sock_reset_at(self->peer, due_after(&socks[self->peer]));
        else
            sock_shut(at);
    }
    if (self->kind == KIND_LISTENER)
        for (int waits = list_take(self); waits >= 0; waits = list_take(self)) {
            socks[waits].hard = true;
            sock_close(waits);
        }
    datagrams_drop(self);
    packets_drop(self);
    self->closed = true;
    self->poll = -1;
}

/* -- for the world's owner, who speaks of descriptors -- */

/* That node gets no new descriptor; -1: all get what they ask for. */
SHOWN void virtual_scarce(int of) {
    scarce = of;
}

SHOWN int virtual_wire(int of, uint32_t delay_us, uint32_t jitter_us, uint32_t limit, uint32_t pieces) {
    int a = sock_new(KIND_STREAM), b = sock_new(KIND_STREAM);
    socks[a].owner = of;
    socks[b].owner = -1;        /* nobody's, until it is accepted */
    sock_join(a, b, delay_us, jitter_us, limit, pieces);
    return a + FD_BASE;         /* the other end is the next */
}

SHOWN void virtual_accepted(int fd, int of) {
    if (sock_at(fd))
        sock_at(fd)->owner = of;
}

SHOWN int virtual_listener(int of, int number) {
    int at = sock_new(KIND_LISTENER);
    socks[at].owner = of;
    socks[at].number = number;
    return at + FD_BASE;
}

SHOWN void virtual_close(int fd) {
    if (sock_at(fd))
        sock_close(fd - FD_BASE);
}

/* The wire breaks: both ends see a reset (how 0) or an end (1), after some of what is under way, and nothing else. */
SHOWN bool virtual_cut(int fd, int how, uint32_t part) {
    sock *self = sock_at(fd);
    if (!self || self->peer < 0)
        return false;
    int ends[2] = {fd - FD_BASE, self->peer};
    for (int i = 0; i < 2; i++) {
        sock *end = &socks[ends[i]];
        if (end->closed)
            continue;
        end->held = false;
        end->ready += part % (end->count - end->ready + 1);
        end->count = end->ready;
        end->flight_count = 0;
        if (how == 0) {
            sock_was_reset(ends[i]);
        } else {
            end->fin = true;
            sock_wake(ends[i]);
        }
    }
    return true;
}

/* Nothing more arrives at either end, and nobody is told, until it is let go. */
SHOWN bool virtual_hold(int fd, bool held) {
    sock *self = sock_at(fd);
    int at = fd - FD_BASE;
    if (at < 0 || at >= sock_count || (held && !self))
        return false;
    self = &socks[at];
    int ends[2] = {at, self->peer};
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0) {
            socks[ends[i]].held = held;
            sock_arrive(ends[i]);
        }
    return true;
}

/* Flip a bit of what is under way to this end; false: nothing is. */
SHOWN bool virtual_corrupt(int fd, uint32_t where) {
    sock *self = sock_at(fd);
    if (!self || self->count == self->ready)
        return false;
    self->bytes[self->head + self->ready + where % (self->count - self->ready)] ^= (uint8_t)(1 << where % 8);
    return true;
}

/* Bytes under way come once more: the last frame behind itself (framed), or the last piece, wherever that was cut. */
SHOWN bool virtual_repeat(int fd, bool framed) {
    sock *self = sock_at(fd);
    if (!self || self->flight_count == 0)
        return false;
    uint32_t n = framed ? self->whole : self->flight[self->flight_head + self->flight_count - 1].n;
    if (n == 0 || n > self->count)
        return false;
    uint8_t *again = malloc(n);
    memcpy(again, self->bytes + self->head + self->count - n, n);
    put(self, again, n);
    fly(fd - FD_BASE, n);
    free(again);
    return true;
}

/* The node is gone at once: its system closes whatever it had. */
SHOWN void virtual_kill(int of) {
    for (int i = 0; i < sock_count; i++)
        if (socks[i].owner == of && !socks[i].closed) {
            sock_close(i);
            socks[i].killed = true;
        }
}

/* Another process gets this descriptor; the one before keeps how it watched it, and may get it back. */
SHOWN void virtual_hand_over(int fd, int to) {
    sock *self = sock_at(fd);
    if (!self)
        return;
    if (self->poll >= 0 && self->queued)
        list_drop(&socks[self->poll], fd - FD_BASE);
    self->copied = true;
    self->old_poll = self->poll;
    self->old_mask = self->mask;
    self->old_data = self->data;
    self->poll = -1;
    self->queued = false;
    self->owner = to;
    if (self->kind == KIND_LISTENER)
        for (uint32_t i = 0; i < self->list_count; i++)
            socks[self->list[self->list_head + i]].owner = to;
}

/* The process before has it again, as if nothing had been. */
SHOWN void virtual_hand_back(int fd, int to) {
    sock *self = sock_at(fd);
    if (!self)
        return;
    int poll = self->old_poll;
    uint32_t mask = self->old_mask;
    void *data = self->old_data;
    virtual_hand_over(fd, to);
    self->poll = poll;
    self->mask = mask;
    self->data = data;
    sock_wake(fd - FD_BASE);
}

SHOWN int virtual_open_descriptors(int of) {
    int n = 0;
    for (int i = 0; i < sock_count; i++)
        n += socks[i].owner == of && !socks[i].closed;
    return n;
}
