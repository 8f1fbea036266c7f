"""Drills: a back-up, a relay or a network is put to the test on purpose (pure).

`record` is what is kept of each, `due` when one is due again; `backup` and `loss` judge one while it runs.
"""
