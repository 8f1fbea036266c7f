"""What the face has of imports of datagrams: their sockets."""

from pcgrelay._core.face.workers import Workers

class Datagrams(Workers):
    """The workers of a node, with what concerns datagrams."""

    def listen_datagrams(self, worker: int, number: int, fd: int, listener: int = 0) -> None:
        """Give one worker a socket of an import of datagrams: bound, non-blocking, one of UDP over IPv4 or IPv6.

        Several workers may have one each, bound to the same address with SO_REUSEPORT: the system then keeps a client
        on one of them. Only a worker that has a flow of each route can serve it: those below the least number of flows.
        The core owns fd, also when CoreError says that it cannot be done, and `import_unlisten` closes it with the
        associations that came by it. listener: as of `import_listen`; an association counts as a connection.
        """
