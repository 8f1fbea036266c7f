"""Typed log lines that name organisations and services, and never a person, an address or a payload."""
