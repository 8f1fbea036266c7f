"""What nodes of a realm share through a store, etcd, if `[fleet]` names one. The data path never asks it.

The store is not trusted: each value is signed by the node that wrote it (`values`), and a table takes only what is
newer by the writer's own epoch (`follower`). So a store that was wiped, or that lies, can at worst keep changes from
nodes.

Two things are told apart everywhere: that a lease has expired or a key is gone, which a majority of the store's members
says, and that the store is **silent**, which says nothing. What is silent withdraws nothing.

Below `pcg/1/REALM/` the keys are:

| key | what | who may write it |
|---|---|---|
| `nodes/ORGANISATION/NODE` | the report of a node, under its lease | that node |
| `counts/ORGANISATION/NODE/...` | what one node has counted | that node |
| `cutover/ORGANISATION/SERVICE/...` | the state of a cut-over, and who decides it | a node of that organisation |
| `bundle` | the realm's bundle, which has a signature of its own | anybody |
| `locks/ORGANISATION/NAME` | who may change something, under a lease | a node of that organisation |
| `orders/ORGANISATION/NODE/upgrade` | an order to a node | a node of that organisation |

`client` speaks to the store, `wire` has the form of its requests, `lease` keeps a lease, `lock` is a lock with a
fencing token.
"""
