"""A service's move from an old network to the gateway: what is decided, by pure functions.

Nothing here reads a clock, a file or a socket, and nothing waits. Time is an argument, chance is an argument, and what
was counted comes in as values. Whoever holds the sockets asks these modules and carries out what they answer.

`plan` is the file that people approve; `windows` says when a step forward may be; `forecast` when it will be done.
`slots` turns shares into the table that the core reads. `odds` and `alarm` judge when to fall back, `gate` when to go
on; `binomial` and `ranks` are the statistics below them, on `histogram`. Every verdict is a value that carries what it
rests on, so that anybody can compute it again. `canary` puts all of it together: plan, progress, facts and time in;
progress, shares and decisions out. `quiet` says since when nothing uses the old outlet.
"""
