/* Clients and targets of a service of datagrams, and the networks between them and the edges: what is said may be lost,
 * come twice, or be overtaken. What they hold the gateway to: a datagram comes out as it went in; a target's socket
 * hears one client alone, and no client hears another's answer; an answer leaves from the address that was asked; and
 * no local port serves two clients. */
#include "virtual.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    HEAD = 12, LONGEST = 1500, WAITING_MOST = 200, NOBODY = -1, REFUSES = 1, SILENT = 2, ADDRESSES = 3, LEAST_PORT = 10000, OWNERS = 1024,
    SURE = 1u << 31,            /* in the number of a datagram: no network loses it */
};

/* How often a datagram, and its answer, went into the gateway and came out. */
typedef struct {
    uint8_t in, out, answer_in, answer_out;
} tally;

typedef struct {
    int of, service;            /* the node that it asks, and for what */
    uint32_t asked;             /* which of its addresses */
    uint32_t said, heard, left, pace_us, surely_heard;
    uint32_t salt;
    tally *tallies;             /* by the number of a datagram */
    int sock;                   /* one that tries an outlet: its only way; NOBODY: it asks as clients do */
} client;

/* A datagram on its way to a socket, or to a client. */
struct packet {
    struct packet *next;
    int to_sock, to_client;     /* NOBODY: not there */
    uint32_t from, local, n;
    uint8_t bytes[];
};
typedef struct packet packet;

static client *clients;
static int client_count, client_size;
static packet **packets;
static int packet_count, packet_size;
static uint32_t next_port = LEAST_PORT;
static uint8_t targets[65536];
static uint64_t target_heard[65536], target_told[65536];    /* bytes that came there, and of answers at edges */
static bool dumb;               /* the fault that no target answers any more */
static int outlets;             /* a datagram may go by each */
static uint64_t read_of[OWNERS];  /* by a process of a node: what clients and targets have said to it */

void associations_forget(void) {
    for (int i = 0; i < client_count; i++)
        free(clients[i].tallies);
    outlets = 1;
    memset(read_of, 0, sizeof(read_of));
    free(clients);
    clients = NULL;
    client_count = client_size = 0;
    for (int i = 0; i < packet_count; i++)
        free(packets[i]);
    free(packets);
    packets = NULL;
    packet_count = packet_size = 0;
    next_port = LEAST_PORT;
    memset(targets, 0, sizeof(targets));
    memset(target_heard, 0, sizeof(target_heard));
    memset(target_told, 0, sizeof(target_told));
    dumb = false;
}

/* -- what is said -- */

static uint8_t octet_of(uint32_t who, uint32_t number, uint32_t at) {
    return (uint8_t)((who * 2654435761u ^ number * 2246822519u) >> 24) ^ (uint8_t)(at * 11);
}

static uint32_t length_of(uint32_t who, uint32_t number) {
    return HEAD + (who * 31u + number * 2654435761u) % (number % 16 ? 200 : LONGEST);
}

/* Who, its number, and whether it is an answer. */
static uint32_t say(uint8_t *out, uint32_t who, uint32_t number, uint32_t answer) {
    uint32_t n = length_of(who, number);
    memcpy(out, &who, 4);
    memcpy(out + 4, &number, 4);
    memcpy(out + 8, &answer, 4);
    for (uint32_t i = HEAD; i < n; i++)
        out[i] = octet_of(who, number + answer, i);
    return n;
}

static bool hear(const uint8_t *p, uint32_t n, uint32_t answer, uint32_t *who, uint32_t *number) {
    uint8_t same[HEAD + LONGEST];
    if (n < HEAD)
        return false;
    memcpy(who, p, 4);
    memcpy(number, p + 4, 4);
    return *who < (uint32_t)client_count && (*number & ~SURE) < clients[*who].said && say(same, *who, *number, answer) == n
        && memcmp(same, p, n) == 0;
}

/* The gateway has read one (in), or says one, which it may do as often as it has read it. */
static void count_of(const uint8_t *p, uint32_t n, bool in) {
    uint32_t who, number, answer;
    if (n < HEAD)
        return;
    memcpy(&who, p, 4);
    memcpy(&number, p + 4, 4);
    memcpy(&answer, p + 8, 4);
    if (who >= (uint32_t)client_count || (number & ~SURE) >= clients[who].said)
        return;
    tally *of = &clients[who].tallies[number & ~SURE];
    uint8_t *inward = answer ? &of->answer_in : &of->in, *outward = answer ? &of->answer_out : &of->out;
    if (in)
        *inward += 1;
    else if (++*outward > *inward * outlets)
        broken("datagrams", "%s %u of client %u comes out for the %uth time and went in %u times",
               answer ? "the answer to" : "datagram", (uint32_t)(number & ~SURE), who, *outward, *inward);
}

/* -- networks -- */

static void send_once(int to_sock, int to_client, uint32_t from, uint32_t local, const uint8_t *p, uint32_t n) {
    packet *fresh = malloc(sizeof(packet) + n);
    fresh->next = NULL;
    fresh->to_sock = to_sock;
    fresh->to_client = to_client;
    fresh->from = from;
    fresh->local = local;
    fresh->n = n;
    memcpy(fresh->bytes, p, n);
    if (packet_count == packet_size) {
        packet_size = packet_size ? 2 * packet_size : 256;
        packets = realloc(packets, packet_size * sizeof(packet *));
    }
    packets[packet_count] = fresh;
    agenda_add(now_us + 20 + chance() % (chance() % 8 ? 300 : 20000), AGENDA_DATAGRAM, packet_count++);
}

static void network(int to_sock, int to_client, uint32_t from, uint32_t local, const uint8_t *p, uint32_t n) {
    uint32_t number;
    memcpy(&number, p + 4, 4);
    uint64_t fate = number & SURE ? 7 : chance() % 16;
    if (fate != 0)
        send_once(to_sock, to_client, from, local, p, n);
    if (fate == 1)
        send_once(to_sock, to_client, from, local, p, n);
}

static void heard_by_client(const packet *got) {
    client *self = &clients[got->to_client];
    uint32_t who, number;
    if (!hear(got->bytes, got->n, 1, &who, &number))
        broken("datagrams", "client %d hears %u bytes that no target said", got->to_client, got->n);
    else if (who != (uint32_t)got->to_client)
        broken("clients", "client %d hears an answer to client %u", got->to_client, who);
    else if (got->local != self->asked)
        broken("addresses", "client %d asked address %u and hears address %u", got->to_client, self->asked, got->local);
    self->heard++;
    self->surely_heard += (number & SURE) != 0;
}

void datagram_arrives(int index) {
    packet *got = packets[index];
    packets[index] = NULL;
    if (got->to_client != NOBODY) {
        heard_by_client(got);
        free(got);
        return;
    }
    sock *self = &socks[got->to_sock];
    packet **at = &self->packets;
    uint32_t waiting = 0;
    for (; *at; at = &(*at)->next)
        waiting++;
    if (self->closed || waiting == WAITING_MOST) {
        free(got);
        return;
    }
    *at = got;
    sock_wake(got->to_sock);
}

void datagrams_drop(sock *self) {
    while (self->packets) {
        packet *first = self->packets;
        self->packets = first->next;
        free(first);
    }
}

/* -- clients -- */

static int open_socket(int of, int service, uint32_t who) {
    int found[64], n = 0;
    for (int i = 0; i < sock_count && n < 64; i++)
        if (socks[i].kind == KIND_DATAGRAMS && !socks[i].closed && socks[i].owner == of && socks[i].number == service
            && socks[i].port == 0 && !socks[i].copy)
            found[n++] = i;
    /* The kernel keeps a client on one of them. */
    return n ? found[who % (uint32_t)n] : NOBODY;
}

void client_step(int index) {
    client *self = &clients[index];
    uint8_t bytes[HEAD + LONGEST];
    if (self->sock != NOBODY) {
        socks[self->sock].left = true;
        sock_wake(self->sock);
        return;
    }
    if (self->left == 0)
        return;
    self->left--;
    int to = open_socket(self->of, self->service, (uint32_t)index);
    uint32_t number = self->said++ | self->salt;
    uint32_t n = say(bytes, (uint32_t)index, number, 0);
    if (to != NOBODY)
        network(to, NOBODY, (uint32_t)index, self->asked, bytes, n);
    if (self->left)
        agenda_add(now_us + 1 + self->pace_us, AGENDA_CLIENT, index);
}

/* -- calls -- */

static struct sockaddr_in address_of(uint32_t who) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(1024 + who % 5))};
    /* Some have the same address with other ports, and the other way round. */
    address.sin_addr.s_addr = htonl(0x0a000000 + who / 5);
    return address;
}

int datagrams_receive(int at, struct mmsghdr *messages, unsigned count) {
    sock *self = &socks[at];
    unsigned n = 0;
    if (self->error) {
        errno = self->error;
        self->error = 0;
        return -1;
    }
    for (; n < count && self->packets; n++) {
        packet *first = self->packets;
        struct msghdr *header = &messages[n].msg_hdr;
        self->packets = first->next;
        memcpy(header->msg_iov->iov_base, first->bytes, first->n);
        count_of(first->bytes, first->n, true);
        read_of[self->owner >= 0 && self->owner < OWNERS ? self->owner : 0]++;
        messages[n].msg_len = first->n;
        header->msg_flags = 0;
        if (self->asker >= 0) {
            header->msg_controllen = 0;
        } else if (self->port == 0) {
            struct sockaddr_in from = address_of(first->from);
            struct in_pktinfo asked = {.ipi_ifindex = 1, .ipi_spec_dst.s_addr = htonl(0x7f000001 + first->local)};
            memcpy(header->msg_name, &from, sizeof(from));
            header->msg_controllen = CMSG_SPACE(sizeof(asked));
            struct cmsghdr *item = CMSG_FIRSTHDR(header);
            item->cmsg_len = CMSG_LEN(sizeof(asked));
            item->cmsg_level = IPPROTO_IP;
            item->cmsg_type = IP_PKTINFO;
            memcpy(CMSG_DATA(item), &asked, sizeof(asked));
        } else {
            header->msg_controllen = 0;
            target_told[self->number] += first->n;
        }
        free(first);
        activity++;
    }
    if (n == 0 && self->left) {
        messages[0].msg_len = 0;
        messages[0].msg_hdr.msg_flags = 0;
        activity++;
        return 1;
    }
    if (n == 0) {
        errno = EAGAIN;
        return -1;
    }
    return (int)n;
}

/* An import's socket says it to a client. */
static void to_client(const struct msghdr *header, const uint8_t *p, uint32_t n) {
    const struct sockaddr_in *to = header->msg_name;
    struct cmsghdr *item = CMSG_FIRSTHDR((struct msghdr *)header);
    uint32_t who = (ntohl(to->sin_addr.s_addr) - 0x0a000000) * 5 + (uint32_t)(ntohs(to->sin_port) - 1024);
    struct in_pktinfo from;
    memset(&from, 0, sizeof(from));
    if (item && item->cmsg_type == IP_PKTINFO)
        memcpy(&from, CMSG_DATA(item), sizeof(from));
    if (fault_strikes(FAULT_CROSSED_ANSWER))
        who ^= 1;
    if (fault_strikes(FAULT_OTHER_ADDRESS))
        from.ipi_spec_dst.s_addr ^= htonl(4);
    if (who >= (uint32_t)client_count)
        broken("clients", "an answer goes to client %u, and there is none", who);
    else
        network(NOBODY, (int)who, 0, ntohl(from.ipi_spec_dst.s_addr) - 0x7f000001, p, n);
}

/* A socket of a pair says it to who is at the other end. */
static bool to_asker(const sock *self, const uint8_t *p, uint32_t n) {
    uint32_t who, number;
    if (self->left) {
        errno = EPIPE;
        return false;
    }
    if (!hear(p, n, 1, &who, &number) || who != (uint32_t)self->asker)
        broken("clients", "client %d, who tries an outlet, hears %u bytes that are no answer to it", self->asker, n);
    else
        clients[who].heard++;
    return true;
}

/* An association's socket says it to a target, which answers, as a rule. */
static bool to_target(int at, const uint8_t *p, uint32_t n) {
    sock *self = &socks[at];
    uint8_t answer[HEAD + LONGEST];
    uint32_t who, number;
    if (!hear(p, fault_strikes(FAULT_TORN_DATAGRAM) ? n - 1 : n, 0, &who, &number)) {
        broken("datagrams", "a target hears %u bytes that no client said", n);
        return true;
    }
    if (fault_strikes(FAULT_SHARED_PORT))
        self->client = (int)who + 1;
    if (self->client != NOBODY && self->client != (int)who)
        broken("clients", "clients %d and %u speak by one socket", self->client, who);
    if (clients[who].service != self->number % 100)
        broken("service", "client %u of service %d is led to port %d", who, clients[who].service, self->number);
    self->client = (int)who;
    target_heard[self->number] += n;
    if (targets[self->number] == REFUSES) {
        self->error = ECONNREFUSED;
        sock_wake(at);
        return true;
    }
    if (targets[self->number] == SILENT || (dumb |= fault_strikes(FAULT_UNHEARD_CLIENTS)) || (!(number & SURE) && chance() % 8 == 0))
        return true;
    network(at, NOBODY, 0, 0, answer, say(answer, who, number, 1));
    return true;
}

int datagrams_send(int at, struct mmsghdr *messages, unsigned count) {
    sock *self = &socks[at];
    if (self->error) {
        errno = self->error;
        self->error = 0;
        return -1;
    }
    for (unsigned i = 0; i < count; i++) {
        const struct msghdr *header = &messages[i].msg_hdr;
        uint32_t n = (uint32_t)header->msg_iov->iov_len;
        messages[i].msg_len = n;
        activity++;
        count_of(header->msg_iov->iov_base, n, false);
        if (self->asker >= 0 && !to_asker(self, header->msg_iov->iov_base, n))
            return i ? (int)i : -1;
        if (self->asker >= 0)
            continue;
        if (self->port == 0)
            to_client(header, header->msg_iov->iov_base, n);
        else
            to_target(at, header->msg_iov->iov_base, n);
    }
    return (int)count;
}

int datagrams_connect(int at, int port) {
    socks[at].number = port;
    socks[at].port = next_port++;
    socks[at].client = NOBODY;
    return 0;
}

/* -- for the world's owner -- */

SHOWN int virtual_datagram_socket(int of, int service) {
    int at = sock_new(KIND_DATAGRAMS);
    socks[at].owner = of;
    socks[at].number = service;
    return at + FD_BASE;
}

static int client_new(int of, int service, uint32_t says, uint32_t pace_us, bool sure) {
    if (client_count == client_size) {
        client_size = client_size ? 2 * client_size : 64;
        clients = realloc(clients, client_size * sizeof(client));
    }
    client fresh = {.of = of, .service = service, .asked = (uint32_t)(chance() % ADDRESSES), .left = says,
                    .pace_us = pace_us, .salt = sure ? SURE : 0, .sock = NOBODY,
                    .tallies = calloc(says ? says : 1, sizeof(tally))};
    clients[client_count] = fresh;
    return client_count++;
}

/* A client that says so much. sure: no network loses any of it. Answers its number. */
SHOWN int virtual_client(int of, int service, uint32_t says, uint32_t pace_us, bool sure) {
    int index = client_new(of, service, says, pace_us, sure);
    agenda_add(now_us + 1, AGENDA_CLIENT, index);
    return index;
}

/* A client that a node's control plane is, to try an outlet: it says one datagram and leaves. Answers the node's end. */
SHOWN int virtual_shadow_of_datagrams(int of, int service, uint32_t stays_us) {
    uint8_t bytes[HEAD + LONGEST];
    int who = client_new(of, service, 0, 0, true), at = sock_new(KIND_DATAGRAMS);
    socks[at].owner = of;
    socks[at].number = service;
    socks[at].copy = true;
    socks[at].asker = who;
    clients[who].said = 1;
    send_once(at, NOBODY, (uint32_t)who, 0, bytes, say(bytes, (uint32_t)who, SURE, 0));
    clients[who].sock = at;
    agenda_add(now_us + 1 + stays_us, AGENDA_CLIENT, who);
    return at + FD_BASE;
}

/* Its node is another process now. */
SHOWN void virtual_clients_of(int of, int now) {
    for (int i = 0; i < client_count; i++)
        if (clients[i].of == of)
            clients[i].of = now;
}

/* Through how many outlets a datagram may go, of which the others refuse it. */
SHOWN void virtual_datagram_outlets(int count) {
    outlets = count;
}

/* What clients and targets have said to a process of a node, and it has read. */
SHOWN uint64_t virtual_datagrams_read(int of) {
    return read_of[of];
}

SHOWN uint32_t virtual_client_heard(int index, bool surely) {
    return surely ? clients[index].surely_heard : clients[index].heard;
}

SHOWN void virtual_datagram_target(int port, int what) {
    targets[port] = (uint8_t)what;
}

SHOWN void virtual_target_sums(int port, uint64_t *heard, uint64_t *told) {
    *heard = target_heard[port];
    *told = target_told[port];
}

SHOWN void virtual_datagram_sums(uint64_t *said, uint64_t *heard) {
    *said = *heard = 0;
    for (int i = 0; i < client_count; i++) {
        *said += clients[i].said;
        *heard += clients[i].heard;
    }
}
