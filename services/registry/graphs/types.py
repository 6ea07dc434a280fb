"""The rules of types and shapes: what each node gives, and whether what takes from it can take that."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.registry.definitions import (
    Cascade,
    ConfidenceMeasure,
    DataType,
    EnsembleMethod,
    Graph,
    ModelNode,
    Node,
    TensorSpec,
    Version,
)
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.graphs.edges import Edge, Outputs, Use, find_output, input_path, stage_path
from services.registry.names import shown
from services.registry.rows import check_row

_UNCOUNTABLE = frozenset({DataType.BOOL, DataType.BYTES})


def check_types(
    graph: Graph,
    versions: Mapping[str, Version],
    edges: Sequence[Edge],
    order: Sequence[str],
    path: str,
    faults: Faults,
) -> Outputs:
    """What the nodes of the graph at `path` give; `versions` are those of its model nodes, `order` is of computation."""
    typing = _Typing(versions, edges, faults, {})
    places = {node.name: (node, f"{path}.nodes[{index}]") for index, node in enumerate(graph.nodes)}
    for name in order:
        typing.node(*places[name])
    for edge in edges:
        if edge.use is Use.OUTPUT:
            typing.take(edge)
    return typing.outputs


@dataclass(frozen=True, slots=True)
class _Typing:
    versions: Mapping[str, Version]
    edges: Sequence[Edge]
    faults: Faults
    outputs: dict[str, tuple[TensorSpec, ...]]

    def node(self, node: Node, path: str) -> None:
        """Check one of which all that it takes from has been."""
        if node.model:
            self._model(node.name, node.model, path)
        elif node.ensemble:
            self._ensemble(node.name, node.ensemble.method)
        elif node.cascade:
            self._cascade(node.name, node.cascade, path)

    def take(self, edge: Edge) -> TensorSpec | None:
        """The output that the edge takes; None where it is not known."""
        outputs = self.outputs.get(edge.source.node)
        if outputs is None:
            return None
        named = edge.source.output
        found = find_output(self.outputs, edge.source)
        if found:
            return found
        known = ", ".join(spec.name for spec in outputs)
        why = f"has no output {shown(named)}, but {known}" if named else f"has several outputs: name one of {known}"
        self._add(edge, f"{edge.source.node} {why}")
        return None

    def _model(self, name: str, node: ModelNode, path: str) -> None:
        version = self.versions.get(name)
        if version is None:
            return
        self.outputs[name] = version.signature.outputs
        specs = {spec.name: spec for spec in version.signature.inputs}
        into = self._by_input(name)
        for index, fed in enumerate(node.inputs):
            at = input_path(path, index)
            if fed.input in specs:
                self._input(specs[fed.input], into[at], at)
            else:
                why = f"{node.model}@{node.version} has no input {shown(fed.input)}, but {', '.join(specs)}"
                self.faults.add(InvalidDefinition, f"{at}.input", why)
        if node.defaults:
            check_row(node.defaults, version.signature.outputs, f"{path}.model.defaults", self.faults)

    def _by_input(self, name: str) -> dict[str, list[Edge]]:
        """The edges into a model node, by the paths of its inputs."""
        found: dict[str, list[Edge]] = defaultdict(list)
        for edge in self.edges:
            if edge.taker == name:
                found[edge.at.rpartition(".")[0]].append(edge)
        return found

    def _input(self, spec: TensorSpec, edges: Sequence[Edge], path: str) -> None:
        given = [found for edge in edges if (found := self._fed(edge, spec))]
        count, wanted = sum(math.prod(each.shape) for each in given), math.prod(spec.shape)
        if len(given) == len(edges) and given and count != wanted:
            sources = ", ".join(str(edge.source) for edge in edges)
            why = f"gives {count} elements, and a row of {spec.name} {list(spec.shape)} takes {wanted}"
            self.faults.add(InvalidDefinition, f"{path}.sources", f"{sources} -> {edges[0].into}: {why}")
        elif len(given) == len(edges) == 1 and not _alike(given[0].shape, spec.shape):
            self._add(edges[0], f"gives {list(given[0].shape)} a row, and {spec.name} takes {list(spec.shape)}")

    def _fed(self, edge: Edge, spec: TensorSpec) -> TensorSpec | None:
        found = self.take(edge)
        if found and found.data_type is not spec.data_type:
            self._add(edge, f"gives {found.data_type}, and {edge.into} takes {spec.data_type}")
            return None
        return found

    def _ensemble(self, name: str, method: EnsembleMethod) -> None:
        edges = [edge for edge in self.edges if edge.taker == name]
        members = [(edge, found) for edge in edges if (found := self.take(edge))]
        if not members:
            return
        first, spec = members[0]
        seen: set[tuple[str, str]] = set()
        for edge, found in members:
            if _kind(found) != _kind(spec):
                self._add(edge, f"gives {_shown(found)}, and {first.source}, the first member, {_shown(spec)}")
            if (edge.source.node, found.name) in seen:
                self._add(edge, "is a member already: every output counts once")
            seen.add((edge.source.node, found.name))
        unfit = _unfit(method, spec)
        if unfit:
            self._add(first, f"gives {_shown(spec)}, and {unfit}")
        # The gateway takes a member that is not finite for one that failed.
        self.outputs[name] = (replace(spec, finite=spec.data_type.is_float),)

    def _cascade(self, name: str, cascade: Cascade, path: str) -> None:
        edges = [edge for edge in self.edges if edge.taker == name]
        stages = [edge for edge in edges if edge.use is Use.STAGE]
        first = self.outputs.get(cascade.stages[0].node) if cascade.stages else None
        if first:
            finite = {spec.name: spec.finite for spec in first}
            for edge in stages[1:]:
                self._stage(edge, first, stages[0], finite)
            self.outputs[name] = tuple(replace(spec, finite=finite[spec.name]) for spec in first)
        for edge in edges:
            if edge.use is Use.CONFIDENCE:
                self._confidence(edge, cascade, stage_path(path, edge.stage))

    def _stage(self, edge: Edge, wanted: Sequence[TensorSpec], first: Edge, finite: dict[str, bool]) -> None:
        """A stage gives all that the first does. `finite` says of each output whether all stages so far give it finite."""
        outputs = self.outputs.get(edge.source.node)
        given = {spec.name: spec for spec in outputs or ()}
        for spec in wanted if outputs else ():
            found = given.get(spec.name)
            if found is None:
                self._add(edge, f"gives no output {spec.name}, which {first.source}, the first stage, does")
            elif _kind(found) != _kind(spec):
                self._add(edge, f"gives {spec.name} as {_shown(found)}, and {first.source} as {_shown(spec)}")
            else:
                finite[spec.name] &= found.finite

    def _confidence(self, edge: Edge, cascade: Cascade, path: str) -> None:
        found, stage = self.take(edge), cascade.stages[edge.stage]
        if found is None:
            return
        count = math.prod(found.shape)
        if not found.data_type.is_float:
            self._add(edge, f"gives {found.data_type}, and a confidence is FP16, FP32 or FP64")
        if stage.measure is not ConfidenceMeasure.VALUE:
            least = 0.5 if count == 1 else 1 / count
            if not least < stage.threshold <= 1:
                why = f"{stage.threshold:g} is no threshold of {found.name}: more than {least:g}, at most 1"
                self.faults.add(InvalidDefinition, f"{path}.threshold", f"{edge}: {why}")
            return
        if count != 1:
            self._add(edge, f"gives {count} elements, and a VALUE is one")
        if not math.isfinite(stage.threshold):
            self.faults.add(InvalidDefinition, f"{path}.threshold", f"{edge}: {stage.threshold} is no threshold")

    def _add(self, edge: Edge, why: str) -> None:
        self.faults.add(InvalidDefinition, edge.at, f"{edge}: {why}")


def _unfit(method: EnsembleMethod, spec: TensorSpec) -> str:
    """What keeps an ensemble from being made of such outputs; empty if nothing does."""
    match method:
        case EnsembleMethod.VOTE if spec.data_type.is_float or math.prod(spec.shape) != 1:
            return "a VOTE is of labels: one element of an integer type, BOOL or BYTES"
        case EnsembleMethod.MEAN | EnsembleMethod.WEIGHTED_MEAN if not spec.data_type.is_float:
            return f"a {method} is of FP16, FP32 or FP64"
        case EnsembleMethod.MAX if spec.data_type in _UNCOUNTABLE:
            return "a MAX is of numbers"
        case _:
            return ""


def _kind(spec: TensorSpec) -> tuple[DataType, tuple[int, ...]]:
    return spec.data_type, spec.shape


def _shown(spec: TensorSpec) -> str:
    return f"{spec.data_type}{list(spec.shape)}"


def _alike(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether elements in row-major order mean the same in both: a flat shape says nothing of how they stand."""
    long, other = (tuple(size for size in shape if size != 1) for shape in (given, wanted))
    return long == other or min(len(long), len(other)) < 2
