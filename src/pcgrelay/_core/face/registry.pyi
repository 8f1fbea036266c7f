"""What the face keeps of each link and session while the workers have the rest. Its contract is `entries.pxd`."""

from typing_extensions import disjoint_base

@disjoint_base
class Entry: ...

@disjoint_base
class LinkEntry(Entry): ...

@disjoint_base
class OrganisationEntry: ...

@disjoint_base
class SessionEntry(Entry): ...
