"""What a realm says of itself: its signed bundle."""
