"""Links to neighbours: a link, their table, and how they are dialled, accepted, renewed and ended."""
