"""What an edge serves and what it imports: targets, tables for the core, counts."""
