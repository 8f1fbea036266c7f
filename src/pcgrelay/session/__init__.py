"""Sessions between edges: their table, set-up, recovery, migration and renewal."""
