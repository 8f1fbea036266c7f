/* The load of the benchmarks: one program, one thread, one epoll, which is client and server at once.
 *
 * The client's connections go to the gateway under test, the gateway brings them to the server's port here. Each one
 * begins with a byte that says its kind, which the server sends back: so every path is proven before it is measured.
 *
 *   b  bulk      the client sends without end; the server throws away and counts
 *   r  request   a closed loop: the client sends SIZE bytes, the server answers with SIZE bytes when it has them all
 *   c  churn     open, the one byte there and back, close, and again: at once, or at an even pace
 *   i  idle      nothing more happens
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { PIDS_MAX = 64, KINDS = 4 };
enum kind { BULK, REQUEST, CHURN, IDLE };

struct options {
    const char *host; /* numeric, where the clients connect */
    int port;
    const char *bind_host; /* numeric, where the server listens */
    int bind_port;         /* 0: no server here, another process is it */
    const char *server_net; /* a network namespace for the server, as a path, or NULL */
    int cpu;                /* -1: any */
    int many[KINDS];        /* connections of each kind; for churn: in flight */
    size_t size;            /* of a request and its answer */
    double pace;            /* openings of churn in a second while traffic flows; 0: as fast as they go */
    double warm, seconds;
    double patience; /* seconds until all connections must be proven */
    bool hold;       /* when all are proven, say so and wait for the end of standard input instead of measuring */
    bool spread;     /* clients bind to many addresses of 127.0.0.0/8, so that ports do not run out */
    int pids[PIDS_MAX];
    int pid_count;
    bool with_children; /* what these processes start meanwhile is watched too */
};

/* What was counted since the window began. */
struct tally {
    uint64_t bytes;    /* bulk, at the server */
    uint64_t requests; /* answered */
    uint64_t opens;    /* opened, echoed and closed */
};

struct samples {
    uint32_t *tenths_us;
    size_t count, room;
};

/* Processor time in seconds: what the gateways, this program and the whole machine have used so far. */
struct usage {
    double of_pid[PIDS_MAX];
    double own, busy, stolen;
};

struct shares {
    double jain, least, most;
};

extern struct options options;
extern struct tally tally;
extern struct samples request_times, open_times;

/* connections.c */
void connections_start(void);      /* the server listens, the clients begin to connect */
bool connections_proven(void);     /* have all of them had their byte back? */
void connections_go(void);         /* let the traffic flow */
void connections_mark(void);       /* the window begins: forget what was counted */
void connections_turn(int wait_ms); /* one turn of the event loop */
struct shares connections_shares(void); /* how evenly the bulk streams shared the window */

/* figures.c */
double now_s(void);
void samples_add(struct samples *samples, double seconds);
double samples_us(struct samples *samples, double quantile); /* sorts; NaN-free: 0 without samples */
struct usage usage_now(void);
/* The rest of the object of JSON: processor time by process, and cores of this program, of others, and of the host. */
void usage_print(const struct usage *before, const struct usage *after, double seconds);
void options_watch(int pid);
void run_on_cpu(int cpu); /* -1: any */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
