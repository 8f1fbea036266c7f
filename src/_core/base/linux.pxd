# What the worker uses of Linux, declared once.
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.queue cimport iovec


cdef extern from "errno.h" nogil:
    int errno
    int EAGAIN
    int EINTR
    int EINPROGRESS
    int EMFILE
    int ENFILE
    int ENOBUFS
    int ENOENT
    int ENOMEM
    int EACCES
    int EFAULT
    int EADDRINUSE
    int EADDRNOTAVAIL
    int ECONNREFUSED
    int ECONNRESET
    int EPERM
    int EPIPE
    int ETIMEDOUT
    int EMSGSIZE
    int EINVAL
    int EIO
    int EOPNOTSUPP
    int EAFNOSUPPORT

cdef extern from "time.h" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec* out)

cdef extern from "stdlib.h" nogil:
    void* aligned_alloc(size_t alignment, size_t size)

cdef extern from "unistd.h" nogil:
    int close(int fd)
    ssize_t read(int fd, void* p, size_t n)
    ssize_t write(int fd, const void* p, size_t n)

cdef extern from "fcntl.h" nogil:
    int F_DUPFD_CLOEXEC
    int fcntl(int fd, int command, int value)

cdef extern from "sys/uio.h" nogil:
    ssize_t readv(int fd, const iovec* vectors, int count)

cdef extern from "sys/eventfd.h" nogil:
    int EFD_CLOEXEC
    int EFD_NONBLOCK
    int eventfd(unsigned int initial, int flags)

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        void* ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int EPOLL_CLOEXEC
    int EPOLL_CTL_ADD
    int EPOLL_CTL_MOD
    int EPOLL_CTL_DEL
    uint32_t EPOLLIN
    uint32_t EPOLLOUT
    uint32_t EPOLLPRI
    uint32_t EPOLLRDHUP
    uint32_t EPOLLERR
    uint32_t EPOLLHUP
    uint32_t EPOLLET
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int op, int fd, epoll_event* event)
    int epoll_wait(int epoll, epoll_event* events, int count, int timeout_ms)

# The epoll events of an application's connection.
cdef extern from *:
    """
    #define APPLICATION_EVENTS (EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET)
    """
    const uint32_t APPLICATION_EVENTS

cdef extern from "sys/socket.h" nogil:
    struct sockaddr:
        pass
    struct msghdr:
        void* msg_name
        uint32_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    cmsghdr* CMSG_FIRSTHDR(msghdr* message)
    cmsghdr* CMSG_NXTHDR(msghdr* message, cmsghdr* item)
    unsigned char* CMSG_DATA(cmsghdr* item)
    size_t CMSG_LEN(size_t n)
    size_t CMSG_SPACE(size_t n)
    struct linger:
        int l_onoff
        int l_linger
    int SOCK_STREAM
    int SOCK_DGRAM
    int SOCK_SEQPACKET
    int SOCK_NONBLOCK
    int SOCK_CLOEXEC
    int SOL_SOCKET
    int SO_ERROR
    int SO_TYPE
    int SO_REUSEADDR
    int SO_LINGER
    int SO_KEEPALIVE
    int SO_OOBINLINE
    int SO_RCVBUF
    int SO_MEMINFO
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int MSG_PEEK
    int MSG_TRUNC
    int SHUT_RDWR
    int SHUT_WR
    int socket(int family, int kind, int protocol)
    int bind(int fd, const sockaddr* address, uint32_t length)
    int connect(int fd, const sockaddr* address, uint32_t length)
    int accept4(int fd, sockaddr* address, uint32_t* length, int flags)
    int shutdown(int fd, int how)
    int setsockopt(int fd, int level, int name, const void* value, uint32_t length)
    int getsockopt(int fd, int level, int name, void* value, uint32_t* length)
    int getsockname(int fd, sockaddr* address, uint32_t* length)
    int getpeername(int fd, sockaddr* address, uint32_t* length)
    ssize_t recv(int fd, void* p, size_t n, int flags)
    ssize_t send(int fd, const void* p, size_t n, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    int recvmmsg(int fd, mmsghdr* messages, unsigned int count, int flags, timespec* timeout)
    int sendmmsg(int fd, mmsghdr* messages, unsigned int count, int flags)

cdef extern from "sys/random.h" nogil:
    int GRND_NONBLOCK
    ssize_t getrandom(void* p, size_t n, unsigned int flags)

cdef extern from "sys/ioctl.h" nogil:
    int ioctl(int fd, unsigned long request, int* value)

cdef extern from "sys/ioctl.h" nogil:
    unsigned long FIONREAD

cdef extern from "linux/sock_diag.h" nogil:
    int SK_MEMINFO_DROPS

cdef extern from "linux/sockios.h" nogil:
    unsigned long SIOCOUTQ

cdef extern from "netinet/in.h" nogil:
    struct in_pktinfo:
        int ipi_ifindex
    struct in6_pktinfo:
        unsigned int ipi6_ifindex
    int IPPROTO_IP
    int IPPROTO_IPV6
    int IPPROTO_TCP
    int IP_BIND_ADDRESS_NO_PORT
    int IP_MTU_DISCOVER
    int IP_PMTUDISC_DONT
    int IP_PMTUDISC_PROBE
    int IP_PKTINFO
    int IPV6_MTU_DISCOVER
    int IPV6_PMTUDISC_DONT
    int IPV6_PMTUDISC_PROBE
    int IPV6_RECVPKTINFO
    int IPV6_PKTINFO

cdef extern from "netinet/tcp.h" nogil:
    int TCP_NODELAY
    int TCP_KEEPIDLE
    int TCP_KEEPINTVL
    int TCP_KEEPCNT
    int TCP_NOTSENT_LOWAT
    int TCP_USER_TIMEOUT

cdef extern from "linux/udp.h" nogil:
    int UDP_SEGMENT
    int UDP_GRO

cdef extern from *:
    """
    #include <netinet/in.h>
    #define UDP_LEVEL IPPROTO_UDP
    """
    const int UDP_LEVEL         # of socket options of UDP

cdef extern from "arpa/inet.h" nogil:
    int AF_INET
    int AF_INET6
    int AF_UNIX
    int inet_pton(int family, const char* text, void* out)

cdef extern from "signal.h" nogil:
    ctypedef struct sigset_t:
        pass
    int SIG_SETMASK
    int sigfillset(sigset_t* set)

cdef extern from "pthread.h" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t* thread, const void* attributes, void* (*body)(void*) noexcept nogil, void* argument)
    int pthread_join(pthread_t thread, void** answer)
    int pthread_sigmask(int how, const sigset_t* set, sigset_t* old)


cdef inline uint64_t monotonic_us() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000 + <uint64_t>now.tv_nsec / 1000
