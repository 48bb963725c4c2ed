"""Typed expressions as a graph in which equal operations are one node, so that shared ones are computed once."""

from __future__ import annotations

from dataclasses import dataclass, field

BOOL, NUMBER, ENUM = "bool", "number", "enum"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation on other nodes. Equal operations are the same object within one ``NodeTable``.

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
    """The signal's path; for a field and the track operations, the group's."""
    name: str = ""
    """The field's name within its group."""
    span_ns: int = 0
    """Length of a window or lag in nanoseconds; for a signal, a field and track operations how long a value stays
    known.
    """
    skip_nan: bool = False
    """For ``last(...)``: points that are NaN are passed over instead of making the value unknown."""
    tracked: bool = False
    """Whether each track has a value of its own, instead of the vehicle."""
    sources: frozenset[str] = field(default_factory=frozenset)
    """Signals and track groups whose instants are this node's timeline."""
    lookback_ns: int = 0
    """How far before an instant a point can affect its value, in nanoseconds, not counting how long values stay
    known.
    """


class NodeTable:
    """Creates nodes; the same operation on the same arguments gives the same object."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[object, ...], Node] = {}

    def __len__(self) -> int:
        return len(self._nodes)

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
        """The node for this operation, created at the first call."""
        key = (op, tuple(id(a) for a in args), kind, number, path, name, span_ns, skip_nan, tracked)
        known = self._nodes.get(key)
        if known is None:
            # A track's condition is evaluated at the instants of the group's lists, whatever else it reads.
            inner = () if op in ("any_track", "count_tracks") else [a.sources for a in args]
            sources = frozenset({path} if path else ()).union(*inner)
            lookback_ns = max((a.lookback_ns for a in args), default=0)
            if op not in ("signal", "field", "any_track", "count_tracks"):
                lookback_ns += span_ns
            known = Node(op, args, kind, number, path, name, span_ns, skip_nan, tracked, sources, lookback_ns)
            self._nodes[key] = known
        return known
