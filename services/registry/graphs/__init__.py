"""Composed versions: the rules of their graphs, and the signature and bindings that follow from them.

`composing` runs the rules, each on what those before it let pass: members, structure, wiring, presence, types, asking.
"""

from __future__ import annotations

from services.registry.graphs.composing import check_composed, compose
from services.registry.graphs.members import model_nodes, node_versions, nodes_with

__all__ = ["check_composed", "compose", "model_nodes", "node_versions", "nodes_with"]
