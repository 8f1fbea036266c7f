"""What the face has of UDP lanes: their sockets, their numbers, and the tokens by which packets name them."""

from typing_extensions import disjoint_base

from pcgrelay._core.face.outlets import Outlets

@disjoint_base
class UdpLanes(Outlets):
    """The workers of a node, with what concerns UDP lanes (docs/protocol.md, 4.5 and 5.6).

    A UDP lane belongs to a link and a lane index i, and to the worker of that index, i mod workers: its socket must
    be one of that worker's. Of one link and index there are at most three: one that is used for sending, one that it
    replaces, and one that has been offered; a further one closes the one with the least number that is not used.
    """

    def udp_socket(self, worker: int, fd: int) -> int:
        """Give one worker a bound, non-blocking UDP socket over IPv4 or IPv6; return its number, from 1.

        The core owns fd from here on, also when CoreError says that it cannot be taken: another kind of socket, no
        such worker, or 64 sockets of that worker. After a hand-over it keeps its number in the new process.
        """
    def udp_socket_close(self, socket: int) -> None:
        """Close a socket. Its UDP lanes close too, with reason `link`. CoreError: there is no such socket."""
    def udp_lane_dial(self, link: int, index: int, socket: int) -> tuple[int, int]:
        """Use up the next lane number for a UDP lane of that index; return it and the token for packets to this side.

        From now on packets that name the token are opened; nothing is sent before `udp_lane_begin`. CoreError: no such
        link, index or socket, a link that another process made, or the socket is not of this index's worker.
        """
    def udp_lane_accept(
        self, link: int, index: int, number: int, *, token: int, host: str, port: int, socket: int
    ) -> int:
        """Take the number of an offer by the rule of a preamble (4.1); return the token for packets to this side.

        token: what packets to the peer begin with, not 0; host, port: where the peer is as long as it has sent
        nothing: a literal address of the socket's family. PROBE is sent at once. CoreError: the number was used or is
        out of range (`used-number`), or something else is not as it must be. A number in range is used up in any case.
        """
    def udp_lane_begin(self, link: int, index: int, number: int, *, token: int, host: str, port: int) -> None:
        """Begin to send on a UDP lane that was dialled, now that the acceptor has answered: as of `udp_lane_accept`.

        A UDP lane that has closed meanwhile stays closed, and its EVENT_UDP_LANE_DOWN has been told or follows.
        """
    def udp_lane_close(self, link: int, index: int, number: int) -> None:
        """Close a UDP lane, if it is there: EVENT_UDP_LANE_DOWN follows, with reason `link`."""
    def udp_lanes(self, link: int) -> list[tuple[int, int, str, int, int, int, int, int, int]]:
        """Return the figures of the newest UDP lane of each index that has or had one, in the order of indices.

        (index, number, state: closed, opening, up or broken, longest body in bytes, round trip us (0: not measured),
        loss ppm of what this side sends, packets sent, taken, and refused after they had found their lane: the last
        three since the first UDP lane of the index).
        """
