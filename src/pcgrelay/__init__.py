"""A secure relay gateway: applications of one organisation reach the services of another, through relays that
cannot read what they carry."""

__version__ = "0.1.0"
