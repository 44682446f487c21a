"""Beacons: who made whom, as a path for logs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["Node"]


class Node:
    """A place in a tree, with the object that is there as data."""

    def __init__(
        self,
        data: Any,
        *,
        root: Node | None = None,
        parent: Node | None = None,
        children: list[Any] | None = None,
    ) -> None:
        self.data = data
        self.root = root
        self.parent = parent
        self.children: list[Any] = children if children is not None else []

    def new(self, data: Any) -> Node:
        """Add a place below this one."""
        node = Node(data, root=self.root or self, parent=self)
        self.children.append(node)
        return node

    def reattach(self, parent: Node) -> Node:
        """Move to below another place."""
        self.root, self.parent = parent.root or parent, parent
        if self not in parent.children:
            parent.children.append(self)
        return self

    def walk(self) -> Iterator[Node]:
        """Yield this place and those above it."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def traverse(self) -> Iterator[Node]:
        """Yield this place and all below it, the near ones first."""
        waiting = [self]
        for node in waiting:
            yield node
            waiting += [child for child in node.children if isinstance(child, Node)]

    @property
    def depth(self) -> int:
        """How many places there are from the top to here."""
        return sum(1 for _ in self.walk())

    @property
    def path(self) -> str:
        """The labels from the top to here."""
        return "/".join(reversed([_label(node.data) for node in self.walk()]))

    def __repr__(self) -> str:
        return f"Node: {self.path}"


def _label(data: Any) -> str:
    return str(getattr(data, "shortlabel", data))
