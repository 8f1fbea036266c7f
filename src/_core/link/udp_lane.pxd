# A UDP lane carries DATAGRAMS of one lane index between two neighbours, beside the lane of that index (docs/protocol.md
# 4.5 and 5.6). What is on its way by it waits for nothing and holds nothing up; whoever changes, repeats or invents
# packets changes nothing here but counts.
#
# A packet names the UDP lane by a token, and has its hop number in clear. Nothing is believed of it, and its number not
# taken, before its header opens; then the address that it came from is the peer's, if its number is the greatest.
#
# It has one key in each direction, made of the secret of a lane number, and no epochs: before the key is spent the
# dialler opens the next UDP lane of the index, which takes its place at the first answer (REPORT). Of one that has lost
# its place packets are opened for UDP_LINGER_US more.
#
# Packets are sealed when they are put, into buffers that leave at the end of the turn (worker/udp_io); what the system
# does not take then is dropped.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.frame.packet cimport PACKET_MOST
from pcgrelay._core.link.shard cimport Link, Shard, UdpLane, UdpSocket
from pcgrelay._core.base.buf cimport Buf, buf_data


cdef enum:
    UDP_OF_INDEX = 3            # UDP lanes of one link and index: used, about to be replaced, and offered
    UDP_REPORTS = 100           # REPORTs that are sent at once,
    UDP_REPORT_US = 50000       # and one more each so long
    UDP_SPENT_PACKETS = 3145728  # 2^22 - 2^20, either way: the next one is due
    UDP_HARD_PACKETS = 16777216  # 2^24: none is sealed any more, nor opened
    UDP_HARD_US = 180000000
    UDP_LINGER_US = 2000000
    UDP_PACKETS = 64            # in one buffer
    UDP_PLACES = 2 * UDP_PACKETS  # bytes at the start of a buffer: the length of each of its packets
    UDP_OUT_MOST = 1024         # packets of one UDP lane that leave in one turn

# Why one is not used, or is closed; the names of the numbers are in `counters`.
cdef enum UdpReason:
    UDP_SILENT
    UDP_LOSS
    UDP_SPENT
    UDP_REPLACED
    UDP_LINK
    UDP_REFUSED
    UDP_REASONS


# Make a UDP lane whose packets are opened from now on; nothing is sent before udp_lane_begin. NULL: no memory, a
# token that is in use, or libcrypto failed. The caller wipes secret.
cdef UdpLane* udp_lane_start(Shard* shard, Link* link, UdpSocket* socket, uint32_t index, uint32_t number,
                             uint32_t token, const uint8_t* secret) noexcept nogil

# Begin to send to this socket address. Packets of the peer may have told of another one since.
cdef void udp_lane_begin(Shard* shard, UdpLane* lane, uint32_t peer_token, const uint8_t* address,
                         uint32_t length) noexcept nogil

# Find one by what the control plane calls it. NULL: it is not there.
cdef UdpLane* udp_lane_find(Shard* shard, uint32_t link, uint32_t number) noexcept nogil

# Close and free one, and report it.
cdef void udp_lane_end(Shard* shard, UdpLane* lane, UdpReason reason) noexcept nogil

# The same for all of a link, or of a socket; NULL: of any.
cdef void udp_lane_end_all(Shard* shard, const Link* link, const UdpSocket* socket, UdpReason reason) noexcept nogil

# Report that one could not be made.
cdef void udp_lane_tell_refused(Shard* shard, uint32_t link, uint32_t index, uint32_t number) noexcept nogil

# Whether a frame with so long a body goes by this one, which is used. False: it goes by the lane; that is counted.
cdef bint udp_lane_bears(Shard* shard, const UdpLane* lane, uint32_t length) noexcept nogil

# Seal a frame whose header lies in clear at wire, behind which length bytes of sealed body lie, and send it with the
# others of the turn. The bytes are copied. Without room it is dropped, and counted.
cdef void udp_lane_push(Shard* shard, UdpLane* lane, const uint8_t* wire, uint32_t length) noexcept nogil

# Handle a packet of n bytes at p that came from this socket address. Not NULL: a frame of DATAGRAMS lies at
# p + WIRE_UDP_HEAD, its header in clear and in *frame, its body sealed end to end. NULL: it was handled, or dropped and
# counted.
cdef UdpLane* udp_lane_rx(Shard* shard, uint8_t* p, uint32_t n, const uint8_t* address, uint32_t length,
                          Frame* frame) noexcept nogil

# The tick of all of them: PROBE, silence, the end of keys.
cdef void udp_lane_ticks(Shard* shard, uint64_t away_us) noexcept nogil

# Drop what waits to leave.
cdef void udp_lane_drop_out(Shard* shard, UdpLane* lane) noexcept nogil

# Count packets that did not leave.
cdef void udp_lane_count_not_sent(Shard* shard, uint32_t n) noexcept nogil

# The lengths of the packets in a buffer of `out`, of which there are buf.number.
cdef inline uint16_t* udp_lane_lengths(Buf* buf) noexcept nogil:
    return <uint16_t*>buf_data(buf)
