"""Sessions from edge to edge: their table, set-up, recovery, migration and renewal."""
