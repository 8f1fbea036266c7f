"""The native data plane. The sources are in src/_core; the modules that are built from them land here, beside
their stubs."""
