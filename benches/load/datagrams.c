/* The load of datagrams: one program, one thread, which is all clients and their server at once.
 *
 * Each client is a socket of its own, connected to the gateway under test; the gateway brings its datagrams to the
 * server's port here. A client first asks until its own first datagram came back: so every way is proven.
 *
 *   --flow N --in-flight W   N clients send without end, at most W datagrams underway together; the server counts
 *   --calls N --pace R       N clients send R datagrams a second each, the server says each back: round trips, jitter
 *   --queries N              N at a time ask once and are answered, each from a new socket
 *   --flood R --sources N    no server: R datagrams a second, each from the next of N forged addresses (root), until
 *                            SIGTERM comes or so many --seconds are over
 *   --prove                  one client, proven; nothing more
 *
 * A datagram that one behind it has overtaken on its way is no longer underway: it is lost, or it comes late.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { BATCH = 64, SIZE_MAX_ = 65507, BUFFER = 8 << 20, CLIENTS_MAX = 4096 };
enum what { PROOF = 1, FLOW, CALL, QUERY };

/* What each datagram begins with. */
struct head {
    uint32_t what, client;
    uint64_t number;
    double sent_s;
};

struct client {
    int fd;
    bool proven;
    uint64_t next, seen; /* of a flow: numbers that were sent, and that the server has seen or passed over */
    uint64_t first;      /* the number with which the window began */
    double moved_s;      /* when the last of them arrived, or when it began */
    double due_s;        /* of a call: when it speaks again; of a query: when it is given up */
    double trip_s, jitter_s;
};

struct options options = {
    .host = "127.0.0.1", .bind_host = "127.0.0.1", .cpu = -1, .size = 64, .warm = 0.3, .seconds = 1, .patience = 10,
};
static enum what what;
static int clients_count = 1, in_flight = 64, sources = 1, flood_pace = -1;
static struct client clients[CLIENTS_MAX];
static int server_fd = -1, epoll_fd;
static struct samples trips;
static uint64_t sent, received;

/* What of a flow stands still for so long is lost, and so is a query that is not answered. */
static const double STILL_S = 0.05, ANSWER_S = 1;
static uint8_t filler[SIZE_MAX_];
static volatile sig_atomic_t stopping;

static struct sockaddr_in address(const char *host, int port)
{
    struct sockaddr_in found = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &found.sin_addr) != 1)
        fail("%s is no IPv4 address", host);
    return found;
}

static int udp_socket(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket: %s", strerror(errno));
    /* What finds no room here would be taken for a loss of the gateway. Without the right to, the system's most. */
    for (int option = SO_SNDBUF; option <= SO_RCVBUF; option++) {
        int size = BUFFER, force = option == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
        if (setsockopt(fd, SOL_SOCKET, force, &size, sizeof size))
            setsockopt(fd, SOL_SOCKET, option, &size, sizeof size);
    }
    return fd;
}

static void watch(int fd, uint32_t number)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
}

static void server_open(void)
{
    int home = -1;
    if (options.server_net) {
        home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        int away = open(options.server_net, O_RDONLY | O_CLOEXEC);
        if (home < 0 || away < 0 || setns(away, CLONE_NEWNET))
            fail("%s: %s", options.server_net, strerror(errno));
        close(away);
    }
    server_fd = udp_socket();
    struct sockaddr_in own = address(options.bind_host, options.bind_port);
    if (bind(server_fd, (struct sockaddr *)&own, sizeof own))
        fail("port %d: %s", options.bind_port, strerror(errno));
    /* A socket stays in the namespace where it was made. */
    if (home >= 0 && (setns(home, CLONE_NEWNET) || close(home)))
        fail("setns: %s", strerror(errno));
    watch(server_fd, CLIENTS_MAX);
}

static void client_open(struct client *self)
{
    struct sockaddr_in to = address(options.host, options.port);
    self->fd = udp_socket();
    if (connect(self->fd, (struct sockaddr *)&to, sizeof to))
        fail("connect: %s", strerror(errno));
    watch(self->fd, (uint32_t)(self - clients));
}

/* Send so many with numbers of their own; answers how many the system took. */
static int client_send(struct client *self, enum what kind, int many)
{
    static struct head heads[BATCH];
    static struct iovec parts[BATCH][2];
    static struct mmsghdr messages[BATCH];
    double now = now_s();
    for (int i = 0; i < many; i++) {
        heads[i] = (struct head){kind, (uint32_t)(self - clients), self->next + (uint64_t)i, now};
        parts[i][0] = (struct iovec){&heads[i], sizeof heads[i]};
        parts[i][1] = (struct iovec){filler, options.size - sizeof heads[i]};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = parts[i], .msg_iovlen = 2};
    }
    int done = sendmmsg(self->fd, messages, (unsigned)many, 0);
    /* Refused: nobody listened, or did a moment ago. */
    if (done < 0 && errno != EAGAIN && errno != ECONNREFUSED && errno != ENOBUFS)
        fail("sendmmsg: %s", strerror(errno));
    if (done <= 0)
        return 0;
    self->next += (uint64_t)done;
    sent += (uint64_t)done;
    return done;
}

/* Take what is there, or as much as may be underway. What a client asked is said back; bytes behind the head are thrown away unless it is. */
static int server_take_some(void)
{
    static struct head heads[BATCH];
    static struct sockaddr_in from[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){&heads[i], sizeof heads[i]};
        messages[i].msg_hdr =
            (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1, .msg_name = &from[i], .msg_namelen = sizeof from[i]};
    }
    int got = recvmmsg(server_fd, messages, BATCH, 0, NULL);
    double now = now_s();
    for (int i = 0; i < got; i++) {
        struct head *head = &heads[i];
        if (messages[i].msg_len < sizeof *head || head->client >= CLIENTS_MAX)
            continue;
        if (head->what == FLOW) {
            struct client *client = &clients[head->client];
            received++;
            if (head->number >= client->seen)
                client->seen = head->number + 1;
            client->moved_s = now;
            continue;
        }
        struct iovec back[2] = {{head, sizeof *head}, {filler, options.size - sizeof *head}};
        struct msghdr answer = {.msg_iov = back, .msg_iovlen = 2, .msg_name = &from[i], .msg_namelen = sizeof from[i]};
        sendmsg(server_fd, &answer, 0);
    }
    return got;
}

static void server_take(void)
{
    for (int i = 0; i < in_flight / BATCH + 1 && server_take_some() == BATCH; i++)
        continue;
}

static void query_begin(struct client *self)
{
    self->due_s = now_s() + ANSWER_S;
    client_send(self, QUERY, 1);
}

static void query_again(struct client *self)
{
    close(self->fd);
    client_open(self);
    query_begin(self);
}

static void client_take(struct client *self)
{
    for (int i = 0; i < BATCH; i++) {
        struct head head;
        ssize_t got = recv(self->fd, &head, sizeof head, 0);
        if (got < 0 && errno == EAGAIN)
            return;
        /* Nobody listens, yet. */
        if (got < (ssize_t)sizeof head)
            continue;
        /* A peer may confuse the clients that come at once. */
        if (head.client != (uint32_t)(self - clients))
            continue;
        double now = now_s();
        if (head.what == PROOF) {
            self->proven = true;
        } else if ((head.what == CALL && head.number >= self->first) ||
                   (head.what == QUERY && head.number + 1 == self->next)) {
            double trip = now - head.sent_s, difference = trip - self->trip_s;
            received++;
            samples_add(&trips, trip);
            /* RFC 3550, 6.4.1 */
            if (self->trip_s > 0)
                self->jitter_s += ((difference < 0 ? -difference : difference) - self->jitter_s) / 16;
            self->trip_s = trip;
            if (head.what == QUERY) {
                query_again(self);
                return;
            }
        }
    }
}

static void turn(double wait_s)
{
    struct epoll_event events[BATCH];
    struct timespec wait = {.tv_sec = (time_t)wait_s, .tv_nsec = (long)((wait_s - (double)(time_t)wait_s) * 1e9)};
    int n = epoll_pwait2(epoll_fd, events, BATCH, &wait, NULL);
    for (int i = 0; i < n; i++) {
        if (events[i].data.u32 == CLIENTS_MAX)
            server_take();
        else
            client_take(&clients[events[i].data.u32]);
    }
}

/* -- what clients do -------------------------------------------------------------------------------------------- */

static void prove(void)
{
    double deadline = now_s() + options.patience;
    for (int left = clients_count; left;) {
        left = 0;
        for (int i = 0; i < clients_count; i++) {
            if (clients[i].proven)
                continue;
            left++;
            client_send(&clients[i], PROOF, 1);
        }
        for (double until = now_s() + 0.1; left && now_s() < until;) {
            turn(0.01);
            left = 0;
            for (int i = 0; i < clients_count; i++)
                left += !clients[i].proven;
        }
        if (left && now_s() > deadline)
            fail("%d of %d did not come through in %.0f s", left, clients_count, options.patience);
    }
    for (int i = 0; i < clients_count; i++)
        clients[i].next = 0;
    sent = received = 0;
}

static uint64_t underway(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < clients_count; i++)
        sum += clients[i].next - clients[i].seen;
    return what == FLOW ? sum : 0;
}

static void flow_for(double seconds)
{
    uint64_t each = (uint64_t)(in_flight / clients_count ? in_flight / clients_count : 1);
    for (double until = now_s() + seconds, now; (now = now_s()) < until;) {
        /* What came while this program had no turn was not lost. */
        turn(0);
        now = now_s();
        for (int i = 0; i < clients_count; i++) {
            struct client *client = &clients[i];
            if (client->next == client->seen)
                client->moved_s = now;
            else if (now - client->moved_s > STILL_S)
                client->seen = client->next;
            uint64_t room = each - (client->next - client->seen);
            if (room)
                client_send(client, FLOW, (int)(room < BATCH ? room : BATCH));
        }
        turn(0.002);
    }
}

static void calls_for(double seconds)
{
    double every = 1 / (double)options.pace, began = now_s();
    /* Calls are as far apart as they can be, and stay so. */
    for (int i = 0; i < clients_count && clients[i].due_s == 0; i++)
        clients[i].due_s = began + every * i / clients_count;
    for (double until = began + seconds, now; (now = now_s()) < until;) {
        double next = until;
        for (int i = 0; i < clients_count; i++) {
            if (clients[i].due_s <= now) {
                client_send(&clients[i], CALL, 1);
                clients[i].due_s += every;
            }
            next = clients[i].due_s < next ? clients[i].due_s : next;
        }
        now = now_s();
        turn(next > now ? next - now : 0);
    }
}

static void queries_for(double seconds)
{
    for (double until = now_s() + seconds, now; (now = now_s()) < until;) {
        for (int i = 0; i < clients_count; i++) {
            if (clients[i].due_s == 0)
                query_begin(&clients[i]);
            else if (clients[i].due_s < now)
                query_again(&clients[i]);
        }
        turn(0.01);
    }
}

static void run_for(double seconds)
{
    if (what == FLOW)
        flow_for(seconds);
    else if (what == CALL)
        calls_for(seconds);
    else
        queries_for(seconds);
}

/* -- forged sources --------------------------------------------------------------------------------------------- */

static void stop(int number)
{
    (void)number;
    stopping = 1;
}

static void flood(void)
{
    enum { PAYLOAD = 32, LENGTH = sizeof(struct iphdr) + sizeof(struct udphdr) + PAYLOAD };
    static uint8_t packets[BATCH][LENGTH];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    struct sockaddr_in to = address(options.host, options.port);
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    if (fd < 0)
        fail("a raw socket: %s", strerror(errno));
    for (int i = 0; i < BATCH; i++) {
        struct iphdr *ip = (struct iphdr *)packets[i];
        struct udphdr *udp = (struct udphdr *)(ip + 1);
        *ip = (struct iphdr){.version = 4, .ihl = 5, .tot_len = htons(LENGTH), .ttl = 64, .protocol = IPPROTO_UDP};
        ip->daddr = to.sin_addr.s_addr;
        /* No checksum: it is optional with IPv4. */
        *udp = (struct udphdr){.source = htons(4000), .dest = to.sin_port, .len = htons(sizeof *udp + PAYLOAD)};
        parts[i] = (struct iovec){packets[i], LENGTH};
        messages[i].msg_hdr =
            (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1, .msg_name = &to, .msg_namelen = sizeof to};
    }
    signal(SIGTERM, stop);
    double began = now_s(), until = began + options.seconds, now;
    while ((now = now_s()) < until && !stopping) {
        uint64_t due = (uint64_t)((now - began) * flood_pace);
        if (due <= sent) {
            usleep(500);
            continue;
        }
        unsigned many = due - sent < BATCH ? (unsigned)(due - sent) : BATCH;
        for (unsigned i = 0; i < many; i++)
            ((struct iphdr *)packets[i])->saddr = htonl(0x0a000001u + (uint32_t)((sent + i) % (uint64_t)sources));
        int done = sendmmsg(fd, messages, many, 0);
        if (done < 0)
            fail("sendmmsg: %s", strerror(errno));
        sent += (uint64_t)done;
    }
    printf("{\"sent\": %llu, \"seconds\": %.6f}\n", (unsigned long long)sent, now - began);
}

/* -- options, the order of events, and what is printed ---------------------------------------------------------- */

static void read_options(int count, char **words)
{
    static const struct option known[] = {
        {"host", 1, 0, 'h'},    {"port", 1, 0, 'p'},      {"bind-host", 1, 0, 'H'}, {"bind-port", 1, 0, 'P'},
        {"size", 1, 0, 's'},    {"warm", 1, 0, 'w'},      {"seconds", 1, 0, 't'},   {"patience", 1, 0, 'a'},
        {"cpu", 1, 0, 'C'},     {"pid", 1, 0, 'x'},       {"server-net", 1, 0, 'n'}, {"pace", 1, 0, 'e'},
        {"flow", 1, 0, 'f'},    {"in-flight", 1, 0, 'i'}, {"calls", 1, 0, 'c'},     {"queries", 1, 0, 'q'},
        {"flood", 1, 0, 'F'},   {"sources", 1, 0, 'S'},   {"prove", 0, 0, 'o'},     {0},
    };
    int letter;
    options.with_children = true;
    while ((letter = getopt_long(count, words, "", known, NULL)) != -1) {
        switch (letter) {
        case 'h': options.host = optarg; break;
        case 'p': options.port = atoi(optarg); break;
        case 'H': options.bind_host = optarg; break;
        case 'P': options.bind_port = atoi(optarg); break;
        case 's': options.size = (size_t)atol(optarg); break;
        case 'w': options.warm = atof(optarg); break;
        case 't': options.seconds = atof(optarg); break;
        case 'a': options.patience = atof(optarg); break;
        case 'e': options.pace = atof(optarg); break;
        case 'C': options.cpu = atoi(optarg); break;
        case 'n': options.server_net = optarg; break;
        case 'f': what = FLOW; clients_count = atoi(optarg); break;
        case 'c': what = CALL; clients_count = atoi(optarg); break;
        case 'q': what = QUERY; clients_count = atoi(optarg); break;
        case 'o': what = PROOF; break;
        case 'i': in_flight = atoi(optarg); break;
        case 'F': flood_pace = atoi(optarg); break;
        case 'S': sources = atoi(optarg); break;
        case 'x': options_watch(atoi(optarg)); break;
        default: exit(2);
        }
    }
    if (!options.port || (flood_pace < 0 && (!options.bind_port || !what)))
        fail("--port is needed, and --flood, or --bind-port with one of --flow, --calls, --queries, --prove");
    if (clients_count < 1 || clients_count > CLIENTS_MAX)
        fail("1 to %d clients", CLIENTS_MAX);
    if (options.size < sizeof(struct head) || options.size > SIZE_MAX_)
        fail("--size is %zu to %d", sizeof(struct head), SIZE_MAX_);
    if (what == CALL && options.pace <= 0)
        fail("--calls need a --pace");
}

int main(int count, char **words)
{
    read_options(count, words);
    run_on_cpu(options.cpu);
    if (flood_pace >= 0) {
        flood();
        return 0;
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    server_open();
    for (int i = 0; i < clients_count; i++)
        client_open(&clients[i]);
    prove();
    if (what == PROOF)
        return 0;
    run_for(options.warm);
    uint64_t sent_before = sent, received_before = received, underway_before = underway();
    trips.count = 0;
    for (int i = 0; i < clients_count; i++) {
        clients[i].jitter_s = 0;
        clients[i].first = clients[i].next;
    }
    struct usage before = usage_now();
    double began = now_s();
    run_for(options.seconds);
    double seconds = now_s() - began;
    struct usage after = usage_now();
    /* The last answers of calls are on their way; what has not come in a second is lost. */
    for (double until = now_s() + 1; what == CALL && received - received_before < sent - sent_before && now_s() < until;)
        turn(0.01);
    double jitter = 0;
    for (int i = 0; i < clients_count; i++)
        jitter = clients[i].jitter_s > jitter ? clients[i].jitter_s : jitter;
    printf("{\"seconds\": %.6f, \"sent\": %llu, \"packets\": %llu, \"lost\": %lld", seconds,
           (unsigned long long)(sent - sent_before), (unsigned long long)(received - received_before),
           (long long)(sent - sent_before - (received - received_before)) - (long long)(underway() - underway_before));
    printf(", \"p50_us\": %.1f, \"p99_us\": %.1f, \"most_us\": %.1f, \"jitter_us\": %.1f", samples_us(&trips, 0.5),
           samples_us(&trips, 0.99), samples_us(&trips, 1), jitter * 1e6);
    usage_print(&before, &after, seconds);
    return 0;
}
