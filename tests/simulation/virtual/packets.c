/* The network of UDP lanes: sockets that are bound to an address of it, and what becomes of their packets on the way.
 * It loses them, brings them late, twice, changed, cut short, or long afterwards from somewhere else; it can be blocked
 * in one direction, have no room for long packets, and show a host at another address all at once, as a NAT that has
 * forgotten. The system below each node joins and cuts packets as Linux does, and refuses some.
 *
 * Whatever it does, a node takes each packet once at most, and counts all that come. */
#include "virtual.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
    PACKET_MOST = 1260, HEAD_TOKEN = 4, REPORT = 12 + 48 + 16, ROOM = 256, KEPT = 64, HOSTS = 8 /* more than nodes */, OWNERS = 1024,
    FIRST_PORT = 20000, JOINED_MOST = 32, FOREIGN = 99,
};
#define NETWORK 0x0a090000u     /* 10.9.0.0/24: one host each node; 10.9.1.0/24 and on: how NATs show them */
#define NETWORK_MASK 0xffff0000u
#define KEY_US 180000000u       /* from the first packet of a UDP lane to the last */

typedef struct lane_packet {
    struct lane_packet *next;
    uint64_t genuine;           /* which one it is a copy of; 0: it was changed */
    uint32_t from_host, from_port, to_host, to_port, n;
    bool cut;
    uint8_t bytes[PACKET_MOST];
} lane_packet;

/* Of one process of a node. */
typedef struct {
    uint64_t sent, refused;     /* packets that its system took, and did not */
    uint64_t read, first, again, changed, cut;  /* that it has read: of these the first and further copies, and the others */
    uint64_t datagrams;         /* of those that were sent, all that are neither PROBE nor REPORT */
} process;

typedef struct {
    uint32_t token;
    uint64_t first_us;
} lane_token;

static process processes[OWNERS];
static lane_packet **flying;
static int *spare;              /* places in flying that are free */
static int flying_size, flying_count, spare_count;
static uint8_t *was_read;       /* by the number of a packet */
static uint64_t genuine, genuine_size, lost;
static lane_token *tokens;
static int token_size, token_count;
static lane_packet kept[KEPT];
static uint32_t next_port, shown_hosts;
static int *ours;               /* the sockets of UDP lanes */
static int our_count, our_size;
static bool blocked[HOSTS][HOSTS];
/* How it is: what of a thousand packets meets each fate, the longest that gets through, whether its system says so and
 * cuts and joins messages, and how long packets take. */
static uint32_t wild, longest, delay_us, jitter_us;
static bool tells, cuts;

void packets_forget(void) {
    for (int i = 0; i < flying_count; i++)
        free(flying[i]);
    free(flying);
    free(spare);
    free(was_read);
    free(tokens);
    free(ours);
    ours = NULL;
    our_count = our_size = 0;
    flying = NULL;
    spare = NULL;
    was_read = NULL;
    tokens = NULL;
    flying_size = flying_count = spare_count = token_size = token_count = 0;
    genuine = genuine_size = lost = 0;
    next_port = FIRST_PORT;
    shown_hosts = 0;
    memset(processes, 0, sizeof(processes));
    memset(kept, 0, sizeof(kept));
    memset(blocked, 0, sizeof(blocked));
    wild = 0;
    longest = PACKET_MOST;
    tells = cuts = false;
}

static process *process_of(const sock *self) {
    return &processes[self->owner >= 0 && self->owner < OWNERS ? self->owner : 0];
}

/* -- sockets -- */

bool packets_are_of(uint32_t host) {
    return (host & NETWORK_MASK) == NETWORK;
}

int packets_bind(int at, uint32_t host, uint32_t port) {
    for (int i = 0; port && i < our_count; i++) {
        const sock *other = &socks[ours[i]];
        if (!other->closed && other->host == host && other->port == port) {
            errno = EADDRINUSE;
            return -1;
        }
    }
    if (our_count == our_size) {
        our_size = our_size ? 2 * our_size : 64;
        ours = realloc(ours, our_size * sizeof(int));
    }
    ours[our_count++] = at;
    socks[at].kind = KIND_PACKETS;
    socks[at].host = socks[at].shown_host = host;
    socks[at].port = socks[at].shown_port = port ? port : next_port++;
    return 0;
}

void packets_drop(sock *self) {
    while (self->arrived) {
        lane_packet *first = self->arrived;
        self->arrived = first->next;
        free(first);
    }
    self->arrived_last = NULL;
    self->arrived_count = 0;
}

/* A NAT shows a host with its number at another network. */
static uint32_t host_of(uint32_t shown) {
    return (shown & 0xff) % HOSTS;
}

/* By its length it is no REPORT and no PROBE; what is as long as these is not known. */
static bool carries_datagrams(uint32_t n) {
    return n != REPORT && n != 12 + 48 + 1200 && n != 12 + 48 + 1000 && n != 12 + 48 + 500;
}

/* -- on the way -- */

static void fly(const lane_packet *packet, uint64_t late_us) {
    lane_packet *fresh = malloc(sizeof(lane_packet));
    int place;
    memcpy(fresh, packet, sizeof(lane_packet));
    fresh->next = NULL;
    if (spare_count) {
        place = spare[--spare_count];
    } else {
        if (flying_count == flying_size) {
            flying_size = flying_size ? 2 * flying_size : 256;
            flying = realloc(flying, flying_size * sizeof(lane_packet *));
            spare = realloc(spare, flying_size * sizeof(int));
        }
        place = flying_count++;
    }
    flying[place] = fresh;
    agenda_add(now_us + delay_us + late_us + (jitter_us ? chance() % jitter_us : 0), AGENDA_PACKET, place);
}

void packet_arrives(int place) {
    lane_packet *packet = flying[place];
    flying[place] = NULL;
    spare[spare_count++] = place;
    for (int i = our_count - 1; i >= 0; i--) {
        sock *self = &socks[ours[i]];
        if (self->closed || self->shown_host != packet->to_host || self->shown_port != packet->to_port)
            continue;
        if (self->arrived_count == ROOM)
            break;
        if (self->arrived_last)
            self->arrived_last->next = packet;
        else
            self->arrived = packet;
        self->arrived_last = packet;
        self->arrived_count++;
        sock_wake(ours[i]);
        return;
    }
    lost += packet->genuine && carries_datagrams(packet->n);
    free(packet);
}

static bool meets(uint32_t weight) {
    return wild && chance() % 1000 < wild * weight;
}

static void change(lane_packet *packet) {
    packet->genuine = 0;
    switch (chance() % 4) {
    case 0:
        packet->n = (uint32_t)(chance() % packet->n);
        packet->cut = true;
        break;
    case 1:
        /* The hop number, or the token. */
        packet->bytes[chance() % 12] ^= (uint8_t)(1 << chance() % 8);
        break;
    case 2:
        packet->bytes[packet->n - 1 - chance() % 4] ^= 0x80;
        break;
    default:
        packet->bytes[chance() % packet->n] ^= (uint8_t)(1 << chance() % 8);
    }
}

/* One that passed long ago comes once more, as it was, or from somebody else. */
static void replay(void) {
    lane_packet *old = &kept[chance() % KEPT];
    if (old->n == 0)
        return;
    lane_packet again = *old;
    if (chance() % 2) {
        again.from_host = NETWORK | FOREIGN;
        again.from_port = 1 + (uint32_t)(chance() % 60000);
    }
    fly(&again, 0);
}

static void pass(const lane_packet *packet) {
    lane_packet other = *packet;
    if (blocked[host_of(packet->from_host)][host_of(packet->to_host)] || packet->n > longest || meets(4)) {
        lost += carries_datagrams(packet->n);
        return;
    }
    if (meets(2)) {
        /* A changed one comes first. */
        change(&other);
        fly(&other, 0);
    }
    if (meets(1)) {
        other = *packet;
        change(&other);
        fly(&other, 0);
        lost += carries_datagrams(packet->n);
        return;
    }
    if (meets(1)) {
        /* It arrives, and seems to come from somebody else, to whom the answer goes. */
        other = *packet;
        other.from_host = NETWORK | FOREIGN;
        fly(&other, 0);
        return;
    }
    fly(packet, meets(20) ? chance() % 60000 : 0);
    if (meets(4))
        fly(packet, chance() % 60000);
    if (meets(4))
        kept[chance() % KEPT] = *packet;
    if (meets(4))
        replay();
}

/* -- calls -- */

static void note_token(const uint8_t *bytes) {
    uint32_t token;
    memcpy(&token, bytes, HEAD_TOKEN);
    for (int i = token_count - 1; i >= 0; i--)
        if (tokens[i].token == token) {
            if (now_us - tokens[i].first_us > KEY_US)
                broken("keys", "node %d sends by a UDP lane whose first packet left %llu s ago", owner,
                       (unsigned long long)((now_us - tokens[i].first_us) / 1000000));
            return;
        }
    if (token_count == token_size) {
        token_size = token_size ? 2 * token_size : 64;
        tokens = realloc(tokens, token_size * sizeof(lane_token));
    }
    tokens[token_count++] = (lane_token){token, now_us};
}

static void send_one(const sock *self, const struct sockaddr_in *to, const uint8_t *bytes, uint32_t n) {
    lane_packet packet = {
        .from_host = self->shown_host, .from_port = self->shown_port, .to_host = ntohl(to->sin_addr.s_addr),
        .to_port = ntohs(to->sin_port), .n = n, .genuine = ++genuine,
    };
    if (genuine >= genuine_size) {
        uint64_t size = genuine_size ? 2 * genuine_size : 4096;
        was_read = realloc(was_read, size);
        memset(was_read + genuine_size, 0, size - genuine_size);
        genuine_size = size;
    }
    memcpy(packet.bytes, bytes, n);
    note_token(bytes);
    process_of(self)->sent++;
    process_of(self)->datagrams += carries_datagrams(n);
    pass(&packet);
}

/* How long each packet of a message is. */
static uint32_t segment_of(const struct msghdr *message) {
    struct cmsghdr *item = message->msg_controllen ? CMSG_FIRSTHDR((struct msghdr *)message) : NULL;
    uint16_t length;
    if (!item || item->cmsg_level != IPPROTO_UDP || item->cmsg_type != UDP_SEGMENT)
        return (uint32_t)message->msg_iov->iov_len;
    memcpy(&length, CMSG_DATA(item), sizeof(length));
    return length;
}

/* Why the system does not take a message of so many packets; 0: it does. */
static int refusal(const sock *self, uint32_t n, uint32_t segment, uint32_t count) {
    if (segment > PACKET_MOST || n > 65507) {
        broken("packets", "node %d sends %u bytes in packets of %u", self->owner, n, segment);
        return EINVAL;
    }
    if (count > 1 && (!cuts || (tells && segment > longest)))
        return EINVAL;
    if (tells && n > longest && count == 1)
        return EMSGSIZE;
    return meets(1) ? EAGAIN : 0;
}

int packets_send(int at, struct mmsghdr *messages, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        const struct msghdr *message = &messages[i].msg_hdr;
        const uint8_t *p = message->msg_iov->iov_base;
        uint32_t left = (uint32_t)message->msg_iov->iov_len, segment = segment_of(message);
        uint32_t packets = segment ? (left + segment - 1) / segment : 1;
        int error = refusal(&socks[at], left, segment, packets);
        if (error && i)
            return (int)i;
        if (error) {
            /* In other cases they come once more, one by one. */
            process_of(&socks[at])->refused += error == EINVAL ? 0 : packets;
            errno = error;
            return -1;
        }
        messages[i].msg_len = left;
        activity++;
        while (left) {
            uint32_t part = segment < left ? segment : left;
            send_one(&socks[at], message->msg_name, p, part);
            p += part;
            left -= part;
        }
    }
    return (int)count;
}

static lane_packet *take(sock *self) {
    lane_packet *first = self->arrived;
    process *of = process_of(self);
    self->arrived = first->next;
    if (!self->arrived)
        self->arrived_last = NULL;
    self->arrived_count--;
    of->read++;
    of->changed += first->genuine == 0;
    of->cut += first->cut;
    of->first += first->genuine && !was_read[first->genuine];
    of->again += first->genuine && was_read[first->genuine];
    if (first->genuine)
        was_read[first->genuine] = 1;
    return first;
}

/* Whether the next one may be joined to a message of packets of that length. */
static bool goes_with(const lane_packet *next, const lane_packet *first, uint32_t last) {
    return next && next->from_host == first->from_host && next->from_port == first->from_port && last == first->n
        && next->n <= first->n && next->n != 0;
}

static void receive_one(sock *self, struct mmsghdr *message) {
    struct msghdr *header = &message->msg_hdr;
    uint8_t *p = header->msg_iov->iov_base;
    lane_packet *first = take(self);
    struct sockaddr_in from = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)first->from_port), .sin_addr.s_addr = htonl(first->from_host),
    };
    bool joins = cuts && chance() % 2;
    uint32_t count = 1, last = first->n;
    memcpy(p, first->bytes, first->n);
    p += first->n;
    while (joins && count < JOINED_MOST && goes_with(self->arrived, first, last)) {
        lane_packet *next = take(self);
        memcpy(p, next->bytes, next->n);
        p += next->n;
        last = next->n;
        free(next);
        count++;
    }
    message->msg_len = (uint32_t)(p - (uint8_t *)header->msg_iov->iov_base);
    header->msg_flags = 0;
    memcpy(header->msg_name, &from, sizeof(from));
    header->msg_namelen = sizeof(from);
    if (count == 1) {
        header->msg_controllen = 0;
    } else {
        int length = (int)first->n;
        header->msg_controllen = CMSG_SPACE(sizeof(length));
        struct cmsghdr *item = CMSG_FIRSTHDR(header);
        item->cmsg_len = CMSG_LEN(sizeof(length));
        item->cmsg_level = IPPROTO_UDP;
        item->cmsg_type = UDP_GRO;
        memcpy(CMSG_DATA(item), &length, sizeof(length));
    }
    free(first);
}

int packets_receive(int at, struct mmsghdr *messages, unsigned count) {
    sock *self = &socks[at];
    unsigned n = 0;
    for (; n < count && self->arrived; n++) {
        receive_one(self, &messages[n]);
        activity++;
    }
    if (n == 0) {
        errno = EAGAIN;
        return -1;
    }
    return (int)n;
}

/* -- for the world's owner -- */

/* How the network is from now on. */
SHOWN void virtual_packets(uint32_t how_wild, uint32_t are_longest, bool system_tells, bool system_cuts,
                           uint32_t delay, uint32_t jitter) {
    wild = how_wild;
    longest = are_longest;
    tells = system_tells;
    cuts = system_cuts;
    delay_us = delay;
    jitter_us = jitter;
}

SHOWN void virtual_packets_block(uint32_t from, uint32_t to, bool are_blocked) {
    blocked[from % HOSTS][to % HOSTS] = are_blocked;
}

/* The NAT before a host forgets: from now on its sockets are seen at other ports, or at another address too, and what
 * comes to the ones before is lost. */
SHOWN void virtual_packets_moved(uint32_t host, bool another_address) {
    shown_hosts += another_address;
    for (int i = 0; i < our_count; i++) {
        sock *self = &socks[ours[i]];
        if (self->closed || (self->host & 0xff) != host)
            continue;
        if (another_address)
            self->shown_host = NETWORK | (1 + shown_hosts % 200) << 8 | host;
        self->shown_port = next_port++;
    }
}

/* What a process of a node has sent and read: as the structure above has it. */
SHOWN void virtual_packet_sums(int of, uint64_t *out) {
    memcpy(out, &processes[of], sizeof(process));
}

/* So many with datagrams were lost. */
SHOWN uint64_t virtual_packets_lost(void) {
    return lost;
}
