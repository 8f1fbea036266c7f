# Frames of datagrams for UDP lanes, from what the associations of a flow have. Nothing waits there, and no frame is
# longer than a packet may be: what is goes by the lane (frame_builder).
from pcgrelay._core.link.shard cimport UdpLane
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.worker.worker cimport Worker


# Send what may go by this UDP lane; *sent: there was some. False: the session has ended, and the flow with it.
cdef bint packet_builder_serve(Worker* self, Flow* flow, UdpLane* lane, bint* sent) noexcept nogil
