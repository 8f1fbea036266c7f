"""What is shown of a node: status, explanations, routes."""
