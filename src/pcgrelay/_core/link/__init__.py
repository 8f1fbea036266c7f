"""What a worker owns, links, lanes and what a relay forwards."""
