/* Preloaded into a gateway: how long each connect() of TCP takes. They are in the file that TIMED_CONNECT names: pairs of
 * 32-bit numbers, nanoseconds of the wall and of the processor for the calling thread; zeros are none. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1 << 20 };

struct taken {
    uint32_t wall_ns, cpu_ns;
};
static struct taken *taken;
static atomic_uint count;
static int (*next)(int, const struct sockaddr *, socklen_t);

__attribute__((constructor)) static void begin(void)
{
    *(void **)&next = dlsym(RTLD_NEXT, "connect");
    const char *path = getenv("TIMED_CONNECT");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0 || ftruncate(fd, MOST * sizeof *taken))
        return;
    void *at = mmap(NULL, MOST * sizeof *taken, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    taken = at == MAP_FAILED ? NULL : at;
    close(fd);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int connect(int fd, const struct sockaddr *to, socklen_t length)
{
    if (!taken || (to->sa_family != AF_INET && to->sa_family != AF_INET6))
        return next(fd, to, length);
    uint64_t wall = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
    int answer = next(fd, to, length);
    cpu = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    wall = now_ns(CLOCK_MONOTONIC) - wall;
    unsigned at = atomic_fetch_add(&count, 1);
    if (at < MOST)
        taken[at] = (struct taken){(uint32_t)wall, (uint32_t)cpu};
    return answer;
}
