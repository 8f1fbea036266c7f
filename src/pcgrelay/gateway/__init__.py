"""One node put together: what edge and relay have in common, and the two roles."""
