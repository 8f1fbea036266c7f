/* The bytes of the connections: what each kind does once it is open. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "connection.h"

/* One turn moves no more of each bulk stream, so that a small request does not wait for this program itself. */
enum { CHUNK = 64 << 10 };

static uint8_t data[CHUNK];
bool traffic_flows;

/* Send what is left of a request or answer; epoll says when the rest may go. */
static void send_left(struct connection *self)
{
    while (self->left_out) {
        size_t n = self->left_out < sizeof data ? self->left_out : sizeof data;
        ssize_t sent = send(self->fd, data, n, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN)
                fail("send: %s", strerror(errno));
            break;
        }
        self->left_out -= (size_t)sent;
    }
    connection_watch(self, self->left_out ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void request_begin(struct connection *self)
{
    self->began = now_s();
    self->left_out = self->left_in = options.size;
    send_left(self);
}

void traffic_begin(struct connection *self)
{
    if (self->kind == BULK)
        connection_watch(self, EPOLLOUT);
    else if (self->kind == REQUEST)
        request_begin(self);
}

/* A byte that is thrown away costs no copy: the load is not what is measured. */
static ssize_t receive(struct connection *self, size_t n)
{
    ssize_t got = recv(self->fd, NULL, n, MSG_TRUNC);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got > 0)
        return got;
    if (self->side == CLIENT)
        fail("a connection of the clients was %s", got ? strerror(errno) : "closed");
    connection_free(self);
    return -1;
}

static void client_event(struct connection *self, uint32_t events)
{
    if (self->state == CONNECTING) {
        if (send(self->fd, &kind_letters[self->kind], 1, MSG_NOSIGNAL) != 1)
            fail("a client could not connect: %s", strerror(errno));
        self->state = PROVING;
        connection_watch(self, EPOLLIN);
        return;
    }
    if (self->state == PROVING) {
        if (receive(self, 1) == 1)
            connection_proven(self);
        return;
    }
    if (self->kind == BULK) {
        ssize_t sent = send(self->fd, data, CHUNK, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            fail("send: %s", strerror(errno));
        return;
    }
    if (events & EPOLLOUT)
        send_left(self);
    if (events & ~(uint32_t)EPOLLOUT) {
        ssize_t got = receive(self, self->left_in);
        self->left_in -= (size_t)got;
        if (self->left_in == 0) {
            tally.requests++;
            samples_add(&request_times, now_s() - self->began);
            request_begin(self);
        }
    }
}

static void server_prove(struct connection *self)
{
    char letter = 0;
    ssize_t got = recv(self->fd, &letter, 1, 0);
    const char *known = got == 1 ? memchr(kind_letters, letter, KINDS) : NULL;
    if (!known || send(self->fd, &letter, 1, MSG_NOSIGNAL) != 1) {
        /* A peer may look whether we are there, and say nothing. */
        connection_free(self);
        return;
    }
    self->kind = (enum kind)(known - kind_letters);
    self->state = PROVEN;
    self->left_in = options.size;
    if (self->kind == BULK) {
        self->next = sinks;
        sinks = self;
    }
}

static void server_event(struct connection *self, uint32_t events)
{
    if (self->state == PROVING) {
        server_prove(self);
        return;
    }
    if (events & EPOLLOUT)
        send_left(self);
    if (!(events & ~(uint32_t)EPOLLOUT))
        return;
    ssize_t got = receive(self, self->kind == REQUEST ? self->left_in : CHUNK);
    if (got <= 0)
        return;
    if (self->kind == BULK) {
        self->bytes += (uint64_t)got;
        tally.bytes += (uint64_t)got;
    } else if (self->kind == REQUEST) {
        self->left_in -= (size_t)got;
        if (self->left_in == 0) {
            self->left_in = self->left_out = options.size;
            send_left(self);
        }
    }
}

void traffic_event(struct connection *self, uint32_t events)
{
    if (self->side == CLIENT)
        client_event(self, events);
    else
        server_event(self, events);
}
