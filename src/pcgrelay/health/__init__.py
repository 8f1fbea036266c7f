"""How well something is, judged from single looks at it (pure)."""
