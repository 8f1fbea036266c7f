# The header of the PROXY protocol, version 2, that tells a target who calls (proxy-protocol.txt of haproxy, 2.2).
#
# The command is PROXY: receivers have to discard what stands behind LOCAL. The addresses are those of the edge's own
# connection, as the target sees it: a caller's address is personal data, and no other edge knows it. A unix socket has
# no addresses; 127.0.0.1 with port 0 stands for both, because haproxy refuses the families UNSPEC and UNIX where TLVs
# follow.
from libc.stdint cimport uint8_t, uint16_t, uint32_t


cdef enum:
    PROXY_MOST = 1280           # its greatest length
    PROXY_CALLER_MOST = 1024    # of the TLVs that name the caller
    PROXY_UNIQUE_ID = 5         # PP2_TYPE_UNIQUE_ID: the stream's id, as both edges' logs have it

cdef enum ProxyFamily:
    PROXY_LOCAL = 0             # a unix socket; its addresses are not read
    PROXY_TCP4 = 0x11
    PROXY_TCP6 = 0x21

# Write the header into out, which has PROXY_MOST bytes; its length, or 0 if caller is too long. source, destination:
# the socket addresses of the connection, of this family. caller: TLVs.
cdef uint32_t proxy_header(uint8_t* out, ProxyFamily family, const uint8_t* source, const uint8_t* destination,
                           const uint8_t* caller, uint32_t caller_length, uint32_t id_head, uint16_t flow,
                           uint32_t stream) noexcept nogil
