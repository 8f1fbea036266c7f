"""Health judged from single observations (pure)."""
