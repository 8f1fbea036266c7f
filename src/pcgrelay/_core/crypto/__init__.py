"""Keys, epochs, renewals and the AEAD."""
