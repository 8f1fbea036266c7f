"""What happens in one world: its shape, and operations one after another. Whoever makes a list makes a scenario.

An operation is a name and three numbers, which the world reads modulo what there is; so every list of numbers means
something, and a shorter list is a scenario too. A new kind of operation needs a line in KINDS and a method of the same
name in operations.py.
"""

import json
import random
from dataclasses import asdict, dataclass, field, replace

# name: how often, in a random list
KINDS = {
    "connect": 60,  # an application connects to an import
    "wait": 40,
    "cut_lane": 8,
    "hold_lane": 6,
    "hold_link": 4,  # a black hole for a while
    "repeat": 6,  # a frame under way in a lane comes twice
    "splice": 2,  # bytes under way come twice, perhaps in the middle of a frame
    "corrupt": 3,
    "cut_control": 4,
    "kill_relay": 6,  # and it comes back
    "kill_edge": 2,
    "stop_relay": 2,  # in order, and it comes back
    "reset_application": 4,
    "withdraw": 3,  # a service is not exported any more, for a while
    "forbid": 2,  # an edge may not use a service, for a while
    "forget": 2,  # a service is not imported any more, for a while
    "move": 5,  # sessions are led another way without need
    "stray_resume": 6,  # somebody who knows a session asks for a path of it, again and again
    "drain": 3,  # a relay says that it leaves, and later stays
    "close_session": 1,
    "freeze": 5,  # a node does nothing for a while
    "relay_repeats": 5,  # a relay that lies forwards a frame twice
    "squeeze": 3,  # a node has little memory for a while
    "scarce": 1,  # an edge gets no new descriptor for a while
    "hand_over": 10,  # another process takes the place of a node, or gives up before its turn
    "renew": 10,  # a link or session, by both ends or by one only
    "target": 2,  # what an export leads to refuses, or says nothing, for a while
}
# The same, of worlds whose imports have outlets; in others they do nothing.
OUTLET_KINDS = {
    "share": 8,  # of new streams, another part goes to the direct outlet
    "direct_target": 8,  # what a direct outlet leads to refuses, or says nothing, for a while
    "direct_away": 4,  # a direct outlet has no address, or is no outlet any more, for a while
    "direct_forbidden": 1,  # it is below the marking of its service, or its rule has ended, for a while
    "gateway_away": 4,  # an import has no way over the gateway, for a while
    "shadow": 12,  # the control plane tries an outlet
    "nudge": 3,  # streams that are idle are closed in order, or whatever they do
}
# The same, of worlds with clients of datagrams; in others they do nothing.
CLIENT_KINDS = {
    "ask": 30,  # some clients say datagrams
    "datagram_target": 2,  # what their service leads to refuses, or says nothing, for a while
}
# The same, of worlds with UDP lanes; in others they do nothing.
UDP_KINDS = {
    "udp_block": 8,  # nothing comes through between two neighbours, in one direction or both, for a while
    "udp_forget": 8,  # the NAT before an edge shows it at other ports, or at another address
    "udp_lanes": 3,  # a node's file wants UDP lanes, or no more, for a while
    "udp_rest": 3,  # time passes, in which keys grow old
}
# What loses no frame on a lane of TCP, nor a node.
CALM = {"connect", "wait", "ask", "renew", *UDP_KINDS} - {"udp_lanes"}
# What none of these does, a stream must outlive: it ends whole.
HARSH = set("corrupt splice kill_edge withdraw forbid forget close_session squeeze scarce target".split())
HARSH |= set("direct_forbidden nudge".split())


@dataclass(frozen=True)
class Operation:
    kind: str
    a: int = 0
    b: int = 0
    c: int = 0


@dataclass(frozen=True)
class Scenario:
    seed: int
    lanes: int = 2
    workers: int = 1
    delay_us: int = 1000
    jitter_us: int = 500
    room: int = 262_144  # bytes that a wire holds
    rekey_frames: int = 0
    rekey_bytes: int = 0
    rekey_ms: int = 0
    cap: int = 1_048_576
    budget: int = 0  # of each node; 0: plenty
    control_us: int = 500  # by how much control messages differ
    both_begin: bool = False  # both edges keep a session
    relays_linked: bool = False
    suite: int = 1
    outlets: bool = False  # imports have a direct outlet beside the gateway
    share: int = 50  # of it, in percent
    careful: bool = True  # nothing is sent before the far side accepts
    leads_denied: bool = True  # what the exporter's rules deny goes to the next outlet
    patience_ms: int = 300  # so long each outlet has
    datagrams: bool = False  # edges say datagrams beside their bundles, and relays treat them as networks do
    clients: bool = False  # of a service of datagrams, at both edges
    udp: int = 0  # the nodes whose files want UDP lanes, a bit each
    wild: int = 0  # what becomes of packets, of 16: 0, they arrive
    longest: int = 1_260  # packet that gets through
    tells: bool = False  # the system below a node knows that,
    cuts: bool = True  # and cuts messages into packets
    quota: int = 0  # streams of each export that may be open; 0: any number
    quota_each: int = 0  # of these, of the other edge's organisation
    operations: list[Operation] = field(default_factory=list)

    @property
    def is_gentle(self) -> bool:
        # A wire so slow that it needs longer for what a flow retains than a session waits for a way is harsh by itself.
        bytes_a_second = self.room * 1_000_000 // (6 * self.delay_us)
        slow = self.cap > 10 * bytes_a_second
        return not slow and not self.budget and not any(operation.kind in HARSH for operation in self.operations)

    @property
    def is_calm(self) -> bool:
        return not self.budget and not self.outlets and all(operation.kind in CALM for operation in self.operations)

    def text(self) -> str:
        """As the command line takes it."""
        fields = asdict(self)
        fields["operations"] = [[o.kind, o.a, o.b, o.c] for o in self.operations]
        return json.dumps(fields, separators=(",", ":"))


def scenario_read(text: str) -> Scenario:
    fields = json.loads(text)
    fields["operations"] = [Operation(*each) for each in fields["operations"]]
    return Scenario(**fields)


def scenario_of(seed: int, *, outlets: bool = False, udp: bool = False) -> Scenario:
    """The scenario of a seed. outlets: its imports have outlets, udp: it has UDP lanes; those of others may."""
    plain = _limited(_scenario_of(seed))
    plain = replace(plain, datagrams=random.Random(f"datagrams of {seed}").random() < 0.3 and not udp)
    plain = _joined(_asked(plain, always=udp), always=udp)
    dice = random.Random(f"outlets of {seed}")
    if dice.random() > 0.4 and not outlets:
        return plain
    kinds = {kind: weight for kind, weight in OUTLET_KINDS.items() if not (plain.is_gentle and kind in HARSH)}
    operations = _among(plain, kinds, len(plain.operations) // 2, dice)
    return replace(
        plain, outlets=True, share=dice.choice([0, 1, 25, 50, 99, 100]), careful=dice.random() < 0.8,
        leads_denied=dice.random() < 0.7, patience_ms=dice.choice([60, 300, 300, 1_500]), operations=operations,
    )  # fmt: skip


def _among(scenario: Scenario, kinds: dict[str, int], count: int, dice: random.Random) -> list[Operation]:
    """The operations of a scenario, with so many of these kinds among them."""
    operations = list(scenario.operations)
    for name in dice.choices(list(kinds), list(kinds.values()), k=count):
        operation = Operation(name, *(dice.getrandbits(24) for _ in range(3)))
        operations.insert(dice.randint(0, len(operations)), operation)
    return operations


def _asked(scenario: Scenario, *, always: bool) -> Scenario:
    """Some worlds have clients of datagrams, if not those that edges make up."""
    dice = random.Random(f"clients of {scenario.seed}")
    if scenario.datagrams or (dice.random() > 0.5 and not always):
        return scenario
    operations = _among(scenario, CLIENT_KINDS, 1 + len(scenario.operations) // 2, dice)
    return replace(scenario, clients=True, operations=operations)


def _joined(scenario: Scenario, *, always: bool) -> Scenario:
    """A few worlds with clients of datagrams have UDP lanes too, which take a hundred times as long as others."""
    dice = random.Random(f"UDP lanes of {scenario.seed}")
    if not always and (not scenario.clients or dice.random() > 0.05):
        return scenario
    operations = _among(scenario, UDP_KINDS, 1 + len(scenario.operations) // 4, dice)
    return replace(
        scenario, operations=operations, udp=dice.choice([31, 31, 31, 31, dice.randrange(1, 32)]),
        wild=dice.choice([0, 0, 1, 4, 16]), longest=dice.choice([1_260, 1_260, 1_260, 1_259, 1_060, 700]),
        tells=dice.random() < 0.5, cuts=dice.random() < 0.7,
    )  # fmt: skip


def _limited(scenario: Scenario) -> Scenario:
    """Some worlds have limits of streams."""
    dice = random.Random(f"limits of {scenario.seed}")
    if dice.random() > 0.15:
        return scenario
    quota = dice.choice([0, 1, 2, 4, 8])
    return replace(scenario, quota=quota, quota_each=dice.choice([1, 2, 5]) if not quota or dice.random() < 0.5 else 0)


def _scenario_of(seed: int) -> Scenario:
    dice = random.Random(seed)
    gentle = dice.random() < 0.5
    kinds = {kind: weight for kind, weight in KINDS.items() if not (gentle and kind in HARSH)}
    count = dice.choice([5, 20, 40, 60])
    names = dice.choices(list(kinds), list(kinds.values()), k=count)
    operations = [Operation(name, *(dice.getrandbits(24) for _ in range(3))) for name in names]
    return Scenario(
        seed=seed,
        lanes=dice.choice([1, 2, 2, 3]),
        workers=dice.choice([1, 1, 2]),
        delay_us=dice.choice([50, 500, 5_000, 30_000]),
        jitter_us=dice.choice([0, 100, 3_000, 20_000]),
        room=dice.choice([3_000, 20_000, 262_144]),
        rekey_frames=dice.choice([0, 0, 5, 40]),
        rekey_bytes=dice.choice([0, 0, 100_000]),
        rekey_ms=dice.choice([0, 0, 700]),
        cap=dice.choice([131_072, 262_144, 1_048_576]),
        budget=0 if gentle else dice.choice([0, 0, 0, 400_000, 1_000_000, 3_000_000]),
        control_us=dice.choice([0, 3_000, 100_000]),
        both_begin=dice.random() < 0.2,
        relays_linked=dice.random() < 0.4,
        suite=dice.choice([1, 1, 2, 3]),
        operations=[Operation("connect", 0, 5), *operations],
    )
