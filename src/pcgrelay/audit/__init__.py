"""The audit log: what was decided, on record, so that a later change shows.

Records are JSON lines in segments. Each is a leaf of a Merkle tree, whose head a node signs and its neighbours sign
beside it. The formats are those of C2SP (https://c2sp.org); reading them needs the files alone and no running node.
"""
