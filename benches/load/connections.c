/* The connections of both sides: opening, accepting, and the event loop. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "connection.h"

enum { EVENTS = 256, ACCEPTS = 64, OPENING_MAX = 64 };

const char kind_letters[KINDS] = {'b', 'r', 'c', 'i'};
static int epoll_fd;
struct connection *sinks;
static struct connection *unused;
static int begun[KINDS], proven[KINDS], opening;
static uint32_t opened; /* spreads the clients over addresses */
static double paced_since_s; /* when the pace began */
static uint64_t paced; /* opened since then */
static int resting;    /* connections of churn that wait for their turn */

static struct connection *connection_new(int fd, enum side side, uint32_t events)
{
    struct connection *self = unused;
    if (self)
        unused = self->next;
    else
        self = malloc(sizeof *self);
    if (!self)
        fail("no memory for a connection");
    *self = (struct connection){.fd = fd, .side = side, .watched = events};
    struct epoll_event event = {.events = events, .data.ptr = self};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
    return self;
}

/* Nobody holds on to a client or a server's connection that is not bulk; sinks live until the end. */
void connection_free(struct connection *self)
{
    close(self->fd);
    self->fd = -1;
    if (self->side == SERVER && self->kind == BULK && self->state == PROVEN)
        return;
    self->next = unused;
    unused = self;
}

void connection_watch(struct connection *self, uint32_t events)
{
    if (self->watched == events)
        return;
    self->watched = events;
    struct epoll_event event = {.events = events, .data.ptr = self};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, self->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
}

static void no_delay(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static struct sockaddr_in address(const char *host, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        fail("%s is no IPv4 address", host);
    return address;
}

/* -- opening --------------------------------------------------------------------------------------------------- */

static void client_open(enum kind kind)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket: %s", strerror(errno));
    no_delay(fd);
    if (options.spread) {
        int one = 1;
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        struct sockaddr_in own = {.sin_family = AF_INET};
        own.sin_addr.s_addr = htonl(0x7f010001u + (opened++ % 64u));
        if (bind(fd, (struct sockaddr *)&own, sizeof own))
            fail("bind: %s", strerror(errno));
    }
    double began = now_s();
    struct sockaddr_in to = address(options.host, options.port);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    struct connection *self = connection_new(fd, CLIENT, EPOLLOUT);
    self->kind = kind;
    self->began = began;
    begun[kind]++;
    opening++;
}

/* Open what is due by the pace. Who is behind makes it up with the connections that it has, and no more. */
static void open_paced(void)
{
    for (uint64_t due = (uint64_t)((now_s() - paced_since_s) * options.pace); resting && paced < due; paced++) {
        resting--;
        client_open(CHURN);
    }
}

static void open_more(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        while (begun[kind] < options.many[kind] && opening < OPENING_MAX)
            client_open((enum kind)kind);
}

void server_accept(struct connection *listener)
{
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EAGAIN && errno != ECONNABORTED)
                fail("accept: %s", strerror(errno));
            return;
        }
        no_delay(fd);
        connection_new(fd, SERVER, EPOLLIN)->state = PROVING;
    }
}

static void server_listen(void)
{
    int home = -1;
    if (options.server_net) {
        home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        int away = open(options.server_net, O_RDONLY | O_CLOEXEC);
        if (home < 0 || away < 0 || setns(away, CLONE_NEWNET))
            fail("%s: %s", options.server_net, strerror(errno));
        close(away);
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in own = address(options.bind_host, options.bind_port);
    if (bind(fd, (struct sockaddr *)&own, sizeof own) || listen(fd, 4096))
        fail("port %d: %s", options.bind_port, strerror(errno));
    /* A socket stays in the namespace where it was made. */
    if (home >= 0 && (setns(home, CLONE_NEWNET) || close(home)))
        fail("setns: %s", strerror(errno));
    connection_new(fd, LISTENER, EPOLLIN);
}

void connections_start(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (options.bind_port)
        server_listen();
    open_more();
}

bool connections_proven(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        if (proven[kind] < options.many[kind])
            return false;
    return true;
}

void connection_proven(struct connection *self)
{
    enum kind kind = self->kind;
    opening--;
    self->state = PROVEN;
    if (kind == CHURN) {
        tally.opens++;
        samples_add(&open_times, now_s() - self->began);
        connection_free(self);
        if (proven[kind] < options.many[kind])
            proven[kind]++;
        if (options.pace > 0 && traffic_flows)
            resting++;
        else
            client_open(CHURN);
        return;
    }
    proven[kind]++;
    if (kind == IDLE)
        connection_watch(self, 0);
    else if (traffic_flows)
        traffic_begin(self);
    /* Until the traffic flows, connections wait in the list of all. */
    else {
        connection_watch(self, 0);
        self->next = sinks;
        sinks = self;
    }
    open_more();
}

void connections_go(void)
{
    traffic_flows = true;
    paced_since_s = now_s();
    struct connection *list = sinks, *next;
    sinks = NULL;
    for (; list; list = next) {
        next = list->next;
        list->next = NULL;
        if (list->side == CLIENT) {
            traffic_begin(list);
        } else {
            list->next = sinks;
            sinks = list;
        }
    }
}

void connections_turn(int wait_ms)
{
    if (resting)
        open_paced();
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll_fd, events, EVENTS, wait_ms);
    for (int i = 0; i < n; i++) {
        struct connection *self = events[i].data.ptr;
        if (self->side == LISTENER)
            server_accept(self);
        else
            traffic_event(self, events[i].events);
    }
}

void connections_mark(void)
{
    tally = (struct tally){0};
    request_times.count = open_times.count = 0;
    for (struct connection *each = sinks; each; each = each->next)
        each->bytes = 0;
}

struct shares connections_shares(void)
{
    struct shares shares = {.jain = 1};
    double sum = 0, squares = 0;
    int n = 0;
    for (struct connection *each = sinks; each; each = each->next) {
        if (each->side != SERVER)
            continue;
        double bytes = (double)each->bytes;
        shares.least = n && shares.least < bytes ? shares.least : bytes;
        shares.most = shares.most > bytes ? shares.most : bytes;
        sum += bytes;
        squares += bytes * bytes;
        n++;
    }
    if (squares > 0)
        shares.jain = sum * sum / (n * squares);
    return shares;
}
