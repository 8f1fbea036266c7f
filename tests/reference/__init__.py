"""A slow second implementation of docs/protocol.md, written from that page alone.

It shares nothing with the core. The core is compared with it, and the vectors in tests/vectors are made by it.
Every refusal raises Refused with the reason that section 10 names.
"""
