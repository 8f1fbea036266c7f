"""What the interface keeps of each link and session; the workers have the rest. Its contract is `registry.pxd`."""

from typing_extensions import disjoint_base

@disjoint_base
class Entry: ...

@disjoint_base
class LinkEntry(Entry): ...

@disjoint_base
class OrganisationEntry: ...

@disjoint_base
class SessionEntry(Entry): ...

@disjoint_base
class MeterEntry: ...
