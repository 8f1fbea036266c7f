"""Lines of the audit log for streams that are told in one event. Only `pcgrelay.dataplane` imports it."""

def end_bodies(
    parts: tuple[bytes, ...], details: bytes, wall_us: int, id_head: int, own: bytes, own_first: int
) -> list[bytes]:
    """The bodies of lines, one for each of the details of a STREAMS_DONE.

    parts: what stands before the time, before the id, before the time it was opened, before the bytes sent, before
    those received, before its milliseconds, behind these, and its outlet with the name of the next number (empty: its
    import has one alone). wall_us: when they ended, in microseconds since 1970. id_head: of the session, where the
    details have none. own: what the ids of those begin with that had no session, and own_first the number of the first.
    ValueError: the details are cut off, or a part is missing.
    """
