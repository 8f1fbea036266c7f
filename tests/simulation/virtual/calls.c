/* The system calls of the core, by name. A virtual descriptor is answered here, every other goes to the system. */
#include "virtual.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REAL(returns, name, ...)                                                                                      \
    static returns (*real)(__VA_ARGS__);                                                                              \
    if (!real)                                                                                                        \
        real = (returns(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name);

uint64_t accepts;

static int refuse(int error) {
    errno = error;
    return -1;
}

SHOWN int clock_gettime(clockid_t clock, struct timespec *out) {
    REAL(int, clock_gettime, clockid_t, struct timespec *)
    if (!world_on || clock != CLOCK_MONOTONIC)
        return real(clock, out);
    out->tv_sec = (time_t)(now_us / 1000000);
    out->tv_nsec = (long)(now_us % 1000000) * 1000;
    return 0;
}

SHOWN int close(int fd) {
    REAL(int, close, int)
    if (fd < FD_BASE)
        return real(fd);
    int at = fd - FD_BASE;
    if (at >= sock_count || (socks[at].closed && !socks[at].killed)) {
        broken("descriptors", "descriptor %d of node %d was closed twice", at, owner);
        return refuse(EBADF);
    }
    /* Where a worker has ended, its epoll ends too. */
    bool is_last = socks[at].kind == KIND_PACKETS && worker_has_ended(socks[at].owner);
    if (socks[at].copied && !socks[at].closed && !is_last && (socks[at].poll >= 0 || !sock_is_ended(&socks[at])))
        broken("descriptors", "descriptor %d of node %d was closed, but lives on in another process", at, owner);
    if (socks[at].kind == KIND_STREAM && fault_strikes(FAULT_FORGOTTEN_CLOSE))
        return 0;
    sock_close(at);
    return 0;
}

SHOWN ssize_t read(int fd, void *p, size_t n) {
    REAL(ssize_t, read, int, void *, size_t)
    if (fd < FD_BASE)
        return real(fd, p, n);
    sock *self = sock_at(fd);
    if (!self || self->kind != KIND_COUNTER)
        return refuse(EBADF);
    if (self->counter == 0)
        return refuse(EAGAIN);
    *(uint64_t *)p = self->counter;
    if (!self->stuck && !(self->stuck = self->poll >= 0 && fault_strikes(FAULT_STUCK_WAKE)))
        self->counter = 0;
    return 8;
}

SHOWN ssize_t write(int fd, const void *p, size_t n) {
    REAL(ssize_t, write, int, const void *, size_t)
    if (fd < FD_BASE)
        return real(fd, p, n);
    sock *self = sock_at(fd);
    if (!self || self->kind != KIND_COUNTER)
        return refuse(EBADF);
    self->counter += *(const uint64_t *)p;
    if (self->poll < 0)
        control_told();
    sock_wake(fd - FD_BASE);
    return 8;
}

SHOWN int eventfd(unsigned initial, int flags) {
    REAL(int, eventfd, unsigned, int)
    return world_on ? sock_new(KIND_COUNTER) + FD_BASE : real(initial, flags);
}

SHOWN int epoll_create1(int flags) {
    REAL(int, epoll_create1, int)
    return world_on ? sock_new(KIND_POLL) + FD_BASE : real(flags);
}

SHOWN int epoll_ctl(int poll, int op, int fd, struct epoll_event *event) {
    REAL(int, epoll_ctl, int, int, int, struct epoll_event *)
    if (poll < FD_BASE)
        return real(poll, op, fd, event);
    sock *self = sock_at(fd);
    if (!self)
        return fd >= FD_BASE && fd - FD_BASE < sock_count && socks[fd - FD_BASE].killed ? 0 : refuse(EBADF);
    if (op == EPOLL_CTL_DEL) {
        self->poll = -1;
        self->queued = false;
        return 0;
    }
    self->poll = poll - FD_BASE;
    self->mask = event->events;
    self->data = event->data.ptr;
    sock_wake(fd - FD_BASE);
    return 0;
}

SHOWN int epoll_wait(int poll, struct epoll_event *events, int most, int timeout_ms) {
    REAL(int, epoll_wait, int, struct epoll_event *, int, int)
    if (poll < FD_BASE)
        return real(poll, events, most, timeout_ms);
    int n = poll_wait(poll - FD_BASE, events, most);
    worker_polled(poll - FD_BASE, n, timeout_ms);
    return n;
}

SHOWN ssize_t readv(int fd, const struct iovec *vectors, int count) {
    REAL(ssize_t, readv, int, const struct iovec *, int)
    if (fd < FD_BASE)
        return real(fd, vectors, count);
    if (!sock_at(fd))
        return refuse(EBADF);
    ssize_t all = 0;
    for (int i = 0; i < count; i++) {
        ssize_t got = sock_take(fd - FD_BASE, vectors[i].iov_base, vectors[i].iov_len);
        if (got <= 0)
            return all ? all : got;
        all += got;
        if ((size_t)got < vectors[i].iov_len)
            return all;
    }
    return all;
}

SHOWN ssize_t recv(int fd, void *p, size_t n, int flags) {
    REAL(ssize_t, recv, int, void *, size_t, int)
    if (fd < FD_BASE)
        return real(fd, p, n, flags);
    sock *self = sock_at(fd);
    if (self && flags & MSG_PEEK && self->ready)
        return 1;
    if (self && flags & MSG_TRUNC)
        return sock_drop(fd - FD_BASE, n);
    return self ? sock_take(fd - FD_BASE, p, n) : refuse(EBADF);
}

static ssize_t sent(int fd, const struct iovec *vectors, size_t count) {
    if (!sock_at(fd))
        return refuse(fd - FD_BASE < sock_count && socks[fd - FD_BASE].killed ? EPIPE : EBADF);
    return sock_send(fd - FD_BASE, vectors, count);
}

SHOWN ssize_t send(int fd, const void *p, size_t n, int flags) {
    REAL(ssize_t, send, int, const void *, size_t, int)
    if (fd < FD_BASE)
        return real(fd, p, n, flags);
    struct iovec vector = {(void *)p, n};
    if (sock_at(fd) && sock_at(fd)->kind == KIND_DATAGRAMS) {
        struct mmsghdr one = {.msg_hdr = {.msg_iov = &vector, .msg_iovlen = 1}};
        return datagrams_send(fd - FD_BASE, &one, 1) == 1 ? (ssize_t)n : -1;
    }
    return sent(fd, &vector, 1);
}

SHOWN ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    REAL(ssize_t, sendmsg, int, const struct msghdr *, int)
    if (fd < FD_BASE)
        return real(fd, message, flags);
    return sent(fd, message->msg_iov, message->msg_iovlen);
}

SHOWN int shutdown(int fd, int how) {
    REAL(int, shutdown, int, int)
    if (fd < FD_BASE)
        return real(fd, how);
    if (!sock_at(fd))
        return refuse(EBADF);
    sock_shut(fd - FD_BASE);
    return 0;
}

SHOWN int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
    REAL(int, accept4, int, struct sockaddr *, socklen_t *, int)
    if (fd < FD_BASE)
        return real(fd, address, length, flags);
    sock *self = sock_at(fd);
    if (!self)
        return refuse(EBADF);
    if (owner_is_scarce(self->owner))
        return refuse(EMFILE);
    int at = list_take(self);
    if (at < 0)
        return refuse(EAGAIN);
    socks[at].owner = self->owner;
    socks[at].hard = self->hard;    /* as Linux has it */
    accepts++;
    activity++;
    return at + FD_BASE;
}

SHOWN int socket(int family, int kind, int protocol) {
    REAL(int, socket, int, int, int)
    if (!world_on || family != AF_INET)
        return real(family, kind, protocol);
    if (owner_is_scarce(owner))
        return refuse(EMFILE);
    return sock_new((kind & 0xf) == SOCK_DGRAM ? KIND_DATAGRAMS : KIND_STREAM) + FD_BASE;
}

SHOWN int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout) {
    REAL(int, recvmmsg, int, struct mmsghdr *, unsigned, int, struct timespec *)
    if (fd < FD_BASE)
        return real(fd, messages, count, flags, timeout);
    if (!sock_at(fd))
        return refuse(EBADF);
    return sock_at(fd)->kind == KIND_PACKETS ? packets_receive(fd - FD_BASE, messages, count)
                                             : datagrams_receive(fd - FD_BASE, messages, count);
}

SHOWN int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    REAL(int, sendmmsg, int, struct mmsghdr *, unsigned, int)
    if (fd < FD_BASE)
        return real(fd, messages, count, flags);
    if (!sock_at(fd))
        return refuse(EBADF);
    return sock_at(fd)->kind == KIND_PACKETS ? packets_send(fd - FD_BASE, messages, count)
                                             : datagrams_send(fd - FD_BASE, messages, count);
}

SHOWN int getsockname(int fd, struct sockaddr *address, socklen_t *length) {
    REAL(int, getsockname, int, struct sockaddr *, socklen_t *)
    if (fd < FD_BASE)
        return real(fd, address, length);
    struct sockaddr_in *out = (struct sockaddr_in *)address;
    if (!sock_at(fd))
        return refuse(EBADF);
    memset(out, 0, sizeof(*out));
    out->sin_family = AF_INET;
    out->sin_port = htons((uint16_t)sock_at(fd)->port);
    out->sin_addr.s_addr = htonl(sock_at(fd)->host);
    *length = sizeof(*out);
    return 0;
}

/* Of sockets, an import's alone is ever copied. */
static int copied(int fd) {
    sock *self = sock_at(fd);
    if (!self)
        return refuse(EBADF);
    if (owner_is_scarce(self->owner))
        return refuse(EMFILE);
    int of = self->owner, service = self->number, at = sock_new(KIND_DATAGRAMS);
    socks[at].owner = of;
    socks[at].number = service;
    socks[at].copy = true;
    return at + FD_BASE;
}

SHOWN int fcntl(int fd, int command, ...) {
    REAL(int, fcntl, int, int, ...)
    va_list rest;
    va_start(rest, command);
    void *value = va_arg(rest, void *);
    va_end(rest);
    if (fd >= FD_BASE && command == F_GETFD)
        return FD_CLOEXEC;
    return fd >= FD_BASE && command == F_DUPFD_CLOEXEC ? copied(fd) : real(fd, command, value);
}

SHOWN int fcntl64(int fd, int command, ...) {
    REAL(int, fcntl64, int, int, ...)
    va_list rest;
    va_start(rest, command);
    void *value = va_arg(rest, void *);
    va_end(rest);
    if (fd >= FD_BASE && command == F_GETFD)
        return FD_CLOEXEC;
    return fd >= FD_BASE && command == F_DUPFD_CLOEXEC ? copied(fd) : real(fd, command, value);
}

SHOWN int connect(int fd, const struct sockaddr *address, socklen_t length) {
    REAL(int, connect, int, const struct sockaddr *, socklen_t)
    if (fd < FD_BASE)
        return real(fd, address, length);
    if (address->sa_family == AF_UNSPEC) {
        if (sock_at(fd))
            sock_disconnect(fd - FD_BASE);
        return 0;
    }
    if (sock_at(fd) && sock_at(fd)->kind == KIND_DATAGRAMS)
        return datagrams_connect(fd - FD_BASE, ntohs(((const struct sockaddr_in *)address)->sin_port));
    return refuse(sock_connect(fd - FD_BASE, ntohs(((const struct sockaddr_in *)address)->sin_port)));
}

SHOWN int bind(int fd, const struct sockaddr *address, socklen_t length) {
    REAL(int, bind, int, const struct sockaddr *, socklen_t)
    if (fd < FD_BASE)
        return real(fd, address, length);
    if (!sock_at(fd))
        return refuse(EBADF);
    const struct sockaddr_in *to = (const struct sockaddr_in *)address;
    if (sock_at(fd)->kind == KIND_DATAGRAMS && packets_are_of(ntohl(to->sin_addr.s_addr)))
        return packets_bind(fd - FD_BASE, ntohl(to->sin_addr.s_addr), ntohs(to->sin_port));
    return 0;
}

SHOWN int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    REAL(int, setsockopt, int, int, int, const void *, socklen_t)
    if (fd < FD_BASE)
        return real(fd, level, name, value, length);
    sock *self = sock_at(fd);
    if (self && level == SOL_SOCKET && name == SO_LINGER)
        self->hard = ((const struct linger *)value)->l_onoff && !((const struct linger *)value)->l_linger;
    return 0;
}

/* What a socket holds that was not read. What is on its way to the other end counts as acknowledged. */
SHOWN int ioctl(int fd, unsigned long request, ...) {
    REAL(int, ioctl, int, unsigned long, ...)
    va_list rest;
    va_start(rest, request);
    void *value = va_arg(rest, void *);
    va_end(rest);
    if (fd < FD_BASE)
        return real(fd, request, value);
    sock *self = sock_at(fd);
    *(int *)value = self && request == FIONREAD ? (int)self->ready : 0;
    return self ? 0 : refuse(EBADF);
}

SHOWN int getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
    REAL(int, getsockopt, int, int, int, void *, socklen_t *)
    if (fd < FD_BASE)
        return real(fd, level, name, value, length);
    sock *self = sock_at(fd);
    if (!self)
        return refuse(EBADF);
    if (level == SOL_SOCKET && name == SO_TYPE)
        *(int *)value = self->asker >= 0 ? SOCK_SEQPACKET
            : self->kind == KIND_DATAGRAMS || self->kind == KIND_PACKETS
            ? SOCK_DGRAM : SOCK_STREAM;
    else
        *(int *)value = self->error ? self->error : self->reset ? ECONNRESET : 0;
    return 0;
}

/* What a world makes up is its seed's. */
SHOWN ssize_t getrandom(void *p, size_t n, unsigned flags) {
    REAL(ssize_t, getrandom, void *, size_t, unsigned)
    if (!world_on)
        return real(p, n, flags);
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)p)[i] = (uint8_t)(made_up() >> 24);
    return (ssize_t)n;
}

/* A worker's thread is no thread here: the world gives it its turns. */
SHOWN int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
    REAL(int, pthread_create, pthread_t *, const pthread_attr_t *, void *(*)(void *), void *)
    if (!world_on)
        return real(thread, attributes, body, argument);
    *thread = (pthread_t)worker_add(argument);
    return 0;
}

SHOWN int pthread_join(pthread_t thread, void **answer) {
    REAL(int, pthread_join, pthread_t, void **)
    if (!world_on)
        return real(thread, answer);
    worker_join((int)thread);
    return 0;
}

/* -- for the world's owner -- */

/* How many connections of applications nodes have accepted. */
SHOWN uint64_t virtual_accepts(void) {
    return accepts;
}
