"""Links to neighbours: one of them, their table, and how they begin, are renewed and end."""
