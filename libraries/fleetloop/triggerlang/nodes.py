"""The typed form of expressions: nodes that exist once, so that what several triggers share is computed once."""

from __future__ import annotations

from dataclasses import dataclass, field

BOOL, NUMBER, ENUM = "bool", "number", "enum"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation over others. Equal operations are the same object within one ``NodeTable``.

    Operations: ``const signal field neg abs add sub mul div lower_of higher_of lt le eq and or not exists lag
    min max mean first slope any all count any_track count_tracks``.
    """

    op: str
    args: tuple[Node, ...]
    kind: str
    """``BOOL``, ``NUMBER`` or ``ENUM``."""
    number: float = 0.0
    """A constant's value (0 false, 1 unknown, 2 true for a bool)."""
    path: str = ""
    """Signal path; for a field and the track operations, the group."""
    name: str = ""
    """A field's own name."""
    span_ns: int = 0
    """Window or lag in nanoseconds; for a signal, a field and track operations, how long a value stays known.
    """
    skip_nan: bool = False
    """``last(...)``: NaN points are passed over instead of making the value unknown."""
    tracked: bool = False
    """Its value belongs to a track, not to the vehicle."""
    sources: frozenset[str] = field(default_factory=frozenset)
    """Signals and track groups whose instants make up this node's timeline."""
    lookback_ns: int = 0
    """How far before an instant its value can depend on points, how long they stay known aside."""


class NodeTable:
    """Makes nodes; the same operation on the same arguments gives the same object."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], Node] = {}

    def __len__(self) -> int:
        return len(self._made)

    def make(
        self,
        op: str,
        args: tuple[Node, ...] = (),
        kind: str = NUMBER,
        *,
        number: float = 0.0,
        path: str = "",
        name: str = "",
        span_ns: int = 0,
        skip_nan: bool = False,
        tracked: bool = False,
    ) -> Node:
        """The node for this operation, made at the first call."""
        key = (op, tuple(id(a) for a in args), kind, number, path, name, span_ns, skip_nan, tracked)
        known = self._made.get(key)
        if known is None:
            # What a track's condition reads besides its group does not make instants: the list's own do.
            inner = () if op in ("any_track", "count_tracks") else [a.sources for a in args]
            sources = frozenset({path} if path else ()).union(*inner)
            lookback_ns = max((a.lookback_ns for a in args), default=0)
            if op not in ("signal", "field", "any_track", "count_tracks"):
                lookback_ns += span_ns
            known = Node(op, args, kind, number, path, name, span_ns, skip_nan, tracked, sources, lookback_ns)
            self._made[key] = known
        return known
