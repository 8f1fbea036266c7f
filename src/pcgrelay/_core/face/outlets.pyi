"""What the face has of the outlets of imports: their figures, and connections of its own that try one.

An outlet is a way out of the edge that a new stream of an import takes. Outlet 0 is the gateway; 1 to 3 are direct
ones.
"""

from typing import Any

from pcgrelay._core.face.datagrams import Datagrams

class Outlets(Datagrams):
    """The workers of a node, with what concerns outlets."""

    def meter_open(self, outlets: int) -> int:
        """Make the figures of so many outlets, 1 to 4, of one import; answers their number for rows of `publish`."""

    def meter_close(self, meter: int) -> None:
        """Forget the number; CoreError: there is none such. Tables and streams that use the figures keep them."""

    def meter_read(self, meter: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """What set-ups came to, for each outlet: those of applications, and shadow connections.

        Counts: tried, up, refused, silent, away, denied, local, left, lost, moved, early, cut, active, sent_bytes,
        received_bytes, nudged (docs/architecture.md says what each is). Bytes are counted when a stream ends.
        Histograms: setup_us, answer_us and rate_kib_s, as {bucket: count} without empty ones; bucket b of 320 begins at
        2 ** (6 + b // 16) * (1 + b % 16 / 16).
        """

    def import_connect(self, number: int, fd: int, outlet: int, shadow: int) -> None:
        """Set a shadow connection up on one outlet of an import: fd is one end of a non-blocking socket pair.

        The core owns fd, also when CoreError says that it cannot be done. The connection takes no turn of the slots and
        is not led on; if nothing answers within the outlet's patience, it is closed. It counts for no limit of streams,
        and its figures stand apart. shadow: its number, from 1. How its set-up ended is told by one EVENT_SETUP_ENDED
        with that number, "left" if the other end of the pair is closed before. When that end is closed later, the
        target gets FIN, and what it still says is dropped.

        Of an import of datagrams the pair is of SOCK_SEQPACKET: each record is a datagram, and the set-up is "up" once
        the first answer has come. When the other end is closed, the association ends.
        """

    def streams_nudge(self, number: int, outlet: int, *, idle_us: int, most: int, hard: bool) -> int:
        """Count the streams of applications that are open on one outlet of an import, and close up to `most` of them.

        Only those are closed on which nothing moved for idle_us and nothing is under way; both sides get FIN, and what
        one of them still sends is dropped. hard: whatever they do, by a reset. How long nothing moved is known from one
        round to the next, so at first only of streams that never said anything. Answers the number of the round, which
        one EVENT_STREAMS_NUDGED has. CoreError: 64 rounds are under way. No worker looks at more than some thousand
        streams in a turn.
        """

    def import_adopt(self, number: int, fd: int) -> None:
        """Take an application's connection that the control plane has accepted, as if a listener of the import had.

        The core owns fd, a non-blocking TCP socket, also when CoreError says that it cannot be done. Of its client
        nothing is known. The workers take such connections in turn.
        """
