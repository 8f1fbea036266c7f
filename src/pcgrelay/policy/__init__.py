"""Who may reach what: pure functions of their arguments."""
