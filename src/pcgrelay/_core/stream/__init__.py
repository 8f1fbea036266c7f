"""Streams, flows and the tables of services."""
