"""Who may reach what, who offers what, and which way leads there: pure functions of their arguments."""
