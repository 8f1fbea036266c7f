"""The role of an edge: admission, streams, records."""
