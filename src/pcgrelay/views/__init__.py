"""Views of a node: status, explanations, routes."""
