/* One connection, and what the file that opens them and the file that moves their bytes know of each other. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "load.h"

enum side { LISTENER, CLIENT, SERVER };
enum state { CONNECTING, PROVING, PROVEN };

struct connection {
    int fd;
    enum side side;
    enum kind kind;
    enum state state;
    uint32_t watched;   /* the events that epoll looks for */
    size_t left_out;    /* of a request or answer: bytes to send, */
    size_t left_in;     /* and to receive */
    uint64_t bytes;     /* bulk, at the server, since the window began */
    double began;       /* of the request, or of the opening */
    struct connection *next; /* all of the server's bulk connections, or the free ones */
};

extern const char kind_letters[KINDS];
extern struct connection *sinks; /* the server's bulk connections, and clients that wait for connections_go */

/* connections.c */
void connection_free(struct connection *self);
void connection_watch(struct connection *self, uint32_t events);
void connection_proven(struct connection *self); /* a client had its byte back */
void server_accept(struct connection *listener);

/* traffic.c */
extern bool traffic_flows;
void traffic_begin(struct connection *client);
void traffic_event(struct connection *self, uint32_t events);

#endif
