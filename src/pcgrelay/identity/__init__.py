"""Who a node is, and how two of them come to share keys."""
