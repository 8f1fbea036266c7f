/* What lies under the workers of a simulated world: a clock, descriptors, applications. One world at a time, one
 * thread. The library is preloaded, so the modules of the core run as they are built, and only what they ask of the
 * system is answered here. */
#ifndef PCGRELAY_VIRTUAL_H
#define PCGRELAY_VIRTUAL_H

#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>
#include <sys/uio.h>

#define SHOWN __attribute__((visibility("default")))

enum { FD_BASE = 1 << 28 };     /* descriptors from here on are virtual */
enum { PORT_DIRECT = 1000 };    /* so much above the port of an export is what its direct outlet leads to */
#define NEVER UINT64_MAX

/* -- the world (world.c) -- */

extern bool world_on;
extern uint64_t now_us;
extern int owner;               /* the node on whose behalf a descriptor is made */
extern uint64_t activity;       /* grows with whatever moves: a worker that turns without it spins */

extern uint64_t accepts;        /* connections of applications that nodes have taken */

uint64_t chance(void);          /* the world's own random numbers */
uint64_t made_up(void);         /* and those that nodes get from their systems */

/* A check failed: the first is kept, with the name of the check in front. */
void broken(const char *check, const char *text, ...) __attribute__((format(printf, 2, 3)));

/* What happens later. */
enum { AGENDA_ARRIVAL, AGENDA_RESET, AGENDA_CONNECTED, AGENDA_STEP, AGENDA_DATAGRAM, AGENDA_CLIENT, AGENDA_PACKET };
void agenda_add(uint64_t at_us, int what, int index);

int worker_add(void *self);     /* answers its number, which stands for its thread */
void worker_join(int number);
bool worker_has_ended(int of);  /* whether those of a node have */
void worker_polled(int poll, int n, int timeout_ms);
void control_told(void);        /* a core has events for its control plane */

/* -- descriptors (sockets.c, poll.c) -- */

enum { KIND_NONE, KIND_COUNTER, KIND_POLL, KIND_LISTENER, KIND_STREAM, KIND_DATAGRAMS, KIND_PACKETS };

typedef struct {
    uint64_t due_us;
    uint32_t n;
} segment;

typedef struct {
    uint8_t kind;
    bool closed;                /* by its owner, or with it */
    bool killed;                /* with its owner, who closes it once more */
    /* a stream: what comes in, in order; ready bytes of it have arrived */
    uint8_t *bytes;
    uint32_t size, head, count, ready, limit;
    segment *flight;
    uint32_t flight_size, flight_head, flight_count;
    uint64_t last_due_us, fin_due_us;
    uint32_t cut, whole;        /* how much of the last vector sent was left; how long it was, all of it sent */
    uint32_t delay_us, jitter_us, pieces;
    int peer;                   /* -1: none */
    int error;
    bool connected, connecting, shut, fin, reset, full, held, hard;
    /* where it is watched */
    int poll;                   /* -1: nowhere */
    uint32_t mask;
    void *data;
    bool pair;                  /* one of two that the system joined: who is left alone is told so at once */
    bool copied;                /* another process has or had it too */
    /* how it was watched by the process before, which may get it back */
    int old_poll;
    uint32_t old_mask;
    void *old_data;
    bool queued;
    int application;            /* -1: a node's */
    int owner;
    int number;                 /* a listener: of its import */
    uint64_t counter;
    bool stuck;
    /* a socket of datagrams: an import's, or connected to a target */
    struct packet *packets;     /* that have arrived, the oldest first */
    uint32_t port;              /* its local one; 0: an import's */
    int client;                 /* who speaks by it; -1: nobody yet */
    bool copy;                  /* of an import's: nothing is read by it */
    int asker;                  /* the client at the other end of a pair of sockets; -1: it is none */
    bool left;                  /* and that end is closed */
    /* a socket of UDP lanes: where it is bound, and where the network shows it */
    uint32_t host, shown_host, shown_port;
    struct lane_packet *arrived, *arrived_last;
    uint32_t arrived_count;
    int *list;                  /* a poll: what is ready; a listener: who waits */
    uint32_t list_size, list_head, list_count;
} sock;

extern sock *socks;
extern int sock_count;

bool owner_is_scarce(int of);  /* of descriptors */
int sock_new(int kind);
sock *sock_at(int fd);          /* NULL: no such descriptor */
void sock_join(int a, int b, uint32_t delay_us, uint32_t jitter_us, uint32_t limit, uint32_t pieces);
ssize_t sock_send(int at, const struct iovec *vectors, size_t n);
ssize_t sock_take(int at, uint8_t *p, size_t n);
ssize_t sock_drop(int at, size_t n);
void sock_shut(int at);
void sock_disconnect(int at);
bool sock_is_ended(const sock *self);
void sock_close(int at);
void sock_reset_at(int at, uint64_t due_us);
void sock_arrive(int at);
void sock_was_reset(int at);
int sock_connect(int at, int port);
void sock_connected(int at);
void sock_free_all(void);

void list_add(sock *self, int at);
int list_take(sock *self);
void list_drop(sock *self, int at);     /* take this one out, wherever it stands */
uint32_t sock_level(const sock *self);
void sock_wake(int at);
int poll_wait(int at, struct epoll_event *events, int most);

/* -- applications (applications.c) -- */

void application_step(int index);
void application_wake(int index);
void application_phantom(int index, const struct iovec *vectors, size_t n);
void application_free_all(void);

/* -- datagrams (datagrams.c) -- */

void datagrams_forget(void);
bool datagrams_are_wanted(void);
int datagrams_relayed(void *shard, void *lane, const void *frame, uint8_t *wire, void *buf);

/* -- clients and targets of datagrams (associations.c) -- */

struct mmsghdr;

void associations_forget(void);
void datagram_arrives(int index);
void client_step(int index);
int datagrams_receive(int at, struct mmsghdr *messages, unsigned count);
int datagrams_send(int at, struct mmsghdr *messages, unsigned count);
int datagrams_connect(int at, int port);
void datagrams_drop(sock *self);

/* -- packets of UDP lanes (packets.c) -- */

void packets_forget(void);
bool packets_are_of(uint32_t host);     /* whether sockets of UDP lanes are bound there */
int packets_bind(int at, uint32_t host, uint32_t port);
void packet_arrives(int place);
int packets_receive(int at, struct mmsghdr *messages, unsigned count);
int packets_send(int at, struct mmsghdr *messages, unsigned count);
void packets_drop(sock *self);

/* -- nonces (nonces.c) -- */

void nonces_forget(void);

/* -- faults on purpose (faults.c) -- */

enum {
    FAULT_DROPPED_FRAME, FAULT_DOUBLED_BUNDLE, FAULT_LEAKED_BUFFER, FAULT_REUSED_NONCE, FAULT_SWALLOWED_WRITE,
    FAULT_DOUBLED_WRITE, FAULT_LOST_WAKE, FAULT_EARLY_END, FAULT_STRAY_RESET, FAULT_PHANTOM, FAULT_WRONG_TARGET,
    FAULT_FORGOTTEN_CLOSE, FAULT_STUCK_WAKE, FAULT_SILENT_RELAY, FAULT_TWO_PLACES, FAULT_BLANKED_RECORD,
    FAULT_KEPT_DESCRIPTOR, FAULT_EARLY_MIX, FAULT_OTHER_SECRET,
    FAULT_UNHEARD_END, FAULT_MISCOUNTED, FAULT_FAILED_DIRECT, FAULT_NOT_LED_ON, FAULT_UNBOUNDED, FAULT_DOUBLED_DATAGRAMS,
    FAULT_CROSSED_ANSWER, FAULT_OTHER_ADDRESS, FAULT_TORN_DATAGRAM, FAULT_SHARED_PORT, FAULT_UNHEARD_CLIENTS,
    FAULT_OPEN_WINDOW, FAULT_BLIND_TAG, FAULT_UNHEARD_SILENCE, FAULT_SWALLOWED_PACKET, FAULT_UNCOUNTED_DROP,
    TRICK_REPEATING_RELAY,      /* no fault of ours: what a relay that lies may do */
    FAULTS,
};

void faults_forget(void);
bool fault_strikes(int fault);      /* is it this one's turn? */

#endif
