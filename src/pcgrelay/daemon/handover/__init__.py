"""Hand-over of a running node to a new process."""
