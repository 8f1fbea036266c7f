"""The ladder of benchmarks: from one AEAD call up to gateways on loopback beside their peers, and over a distance."""
