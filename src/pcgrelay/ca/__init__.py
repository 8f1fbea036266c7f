"""A small certificate authority for one realm: for demonstrations, small realms and the tests.

Keys need not travel: a node makes its key and a request (`request`), the CA signs that (`authority`), and the node puts
what came into place (`renewal`). Larger realms use a CA of their own; pcgrelay only needs the SPIFFE name in the leaf.
"""

from pcgrelay.ca.authority import Authority
from pcgrelay.ca.index import Issued

__all__ = ["Authority", "Issued"]
