"""Evidence by command: controls as data, each with a live test, and packs that others can verify without a node.

A control names a test. The test has two halves: a *reader* asks the machine, the files and the running node, and fills
a Struct of `facts`; a *judge* is pure, and says of these facts and the profile's parameters what was expected, what was
seen, and whether that is good. So every fault can be shown to a judge without being made on a machine.
"""
