"""Identities: certificates, TLS, the handshake in which two nodes agree on a secret, and its renewal."""
