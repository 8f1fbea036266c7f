/* A distance in user space: two tun devices, one in each of two network namespaces; what comes out of one goes into the
 * other so many milliseconds later. Nothing is reordered, and nothing is lost while the queue has room.
 *
 *   distance NEAR FAR DEVICE MILLISECONDS      (paths of namespaces; it runs until it is ended)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { PACKET = 2048, PACKETS = 1 << 16, AT_ONCE = 64 };

struct packet {
    uint64_t due_ns;
    uint32_t length;
    uint8_t bytes[PACKET];
};

/* One direction: a ring of packets in the order in which they came. */
struct way {
    int from, to;
    struct packet *ring;
    uint32_t first, count;
};

static void stop(const char *what)
{
    fprintf(stderr, "distance: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int tun_in(const char *namespace, const char *name)
{
    int net = open(namespace, O_RDONLY | O_CLOEXEC);
    if (net < 0 || setns(net, CLONE_NEWNET))
        stop(namespace);
    close(net);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct ifreq wanted = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    strncpy(wanted.ifr_name, name, IFNAMSIZ - 1);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &wanted))
        stop("tun");
    return fd;
}

static struct way way_new(int from, int to)
{
    struct way way = {.from = from, .to = to, .ring = malloc(PACKETS * sizeof(struct packet))};
    if (!way.ring)
        stop("memory");
    return way;
}

static void way_take(struct way *way, uint64_t delay_ns)
{
    for (int i = 0; i < AT_ONCE && way->count < PACKETS; i++) {
        struct packet *packet = &way->ring[(way->first + way->count) % PACKETS];
        ssize_t got = read(way->from, packet->bytes, PACKET);
        if (got <= 0)
            return;
        packet->length = (uint32_t)got;
        packet->due_ns = now_ns() + delay_ns;
        way->count++;
    }
}

/* Hand over what is due; answer when the next one is, or 0. */
static uint64_t way_give(struct way *way)
{
    uint64_t now = now_ns();
    while (way->count) {
        struct packet *packet = &way->ring[way->first];
        if (packet->due_ns > now)
            return packet->due_ns;
        /* A device that takes nothing loses the packet, as a router would. */
        if (write(way->to, packet->bytes, packet->length) < 0 && errno != EAGAIN && errno != EIO && errno != ENOBUFS)
            stop("write");
        way->first = (way->first + 1) % PACKETS;
        way->count--;
    }
    return 0;
}

int main(int count, char **words)
{
    if (count != 5) {
        fputs("usage: distance NEAR FAR DEVICE MILLISECONDS\n", stderr);
        return 2;
    }
    uint64_t delay_ns = (uint64_t)(atof(words[4]) * 1e6);
    int near = tun_in(words[1], words[3]), far = tun_in(words[2], words[3]);
    struct way ways[2] = {way_new(near, far), way_new(far, near)};
    puts("ready");
    fflush(stdout);
    for (;;) {
        uint64_t next = 0;
        struct pollfd wait[2];
        for (int i = 0; i < 2; i++) {
            uint64_t due = way_give(&ways[i]);
            if (due && (!next || due < next))
                next = due;
            wait[i] = (struct pollfd){.fd = ways[i].from, .events = ways[i].count < PACKETS ? POLLIN : 0};
        }
        uint64_t now = now_ns(), left = next > now ? next - now : 0;
        struct timespec timeout = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
        if (ppoll(wait, 2, next ? &timeout : NULL, NULL) < 0 && errno != EINTR)
            stop("poll");
        for (int i = 0; i < 2; i++)
            if (wait[i].revents)
                way_take(&ways[i], delay_ns);
    }
}
