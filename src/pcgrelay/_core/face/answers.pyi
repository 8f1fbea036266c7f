"""Known answers of the core's cryptography. Only `pcgrelay.dataplane` imports it."""

def known_answers() -> dict[str, bool]:
    """Whether each cipher and the derivation of keys give the published answers, by name."""
