"""The catalogue of services: signed entries, their exchange with neighbours, and their propagation by relays."""
