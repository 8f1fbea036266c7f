"""What an edge exports and imports: targets, tables for the core, counts."""
