"""The examination of a node with its network: `check`, and whatever a node meets when it runs.

Neighbours and targets are examined by the code that a node uses for them, at the same time and within one deadline,
so that a network that drops everything costs no more than one that refuses. A running node is not disturbed: a link is
shaken hands over and closed before it has a lane, and a target is probed once.
"""
