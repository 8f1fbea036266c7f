"""Frames and records as bytes, credit and pacing."""
