"""What edges offer: signed entries, their exchange with neighbours, and what a relay passes on."""
