"""What is known of a batch's rows at each node of a composed version, and the answers that are made of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from services.gateway.assembly import input_errors, unpacked, zeros
from services.gateway.errors import InvalidOutput
from services.gateway.graph.combining import combine
from services.gateway.graph.nodes import EnsembleNode, ModelNode, Port
from services.gateway.graph.outcome import outcome_at
from services.gateway.prediction import Inference, NodeState, RuntimeSource
from services.gateway.slices import row_error, starts
from services.mesh.errors import Code, MeshError

if TYPE_CHECKING:
    from services.gateway.batch import Batch
    from services.gateway.graph.parts import Part
    from services.gateway.request import Member
    from services.gateway.target import Target
    from services.mesh.coalescing import Coalescer

Array = npt.NDArray[Any]
# Places of rows in the batch, ascending.
Index = npt.NDArray[np.intp]
# Of rows that a node has not been asked about, or that it has failed; the other states are NodeState's.
UNASKED, FAILED = 0, 255
# A cascade's stage before any has answered.
NO_STAGE = -1
# Hears of a node's place, what became of rows there, and of how many.
Counted = Callable[[int, str, int], None]


class GraphBatch:
    """A batch in a graph. Rows are closed when they are answered or failed; a member is answered with its last row.

    By node: `values` are its outputs, arrays [rows, width]; `state`, `duration_us`, `batch_rows` and `source` are arrays
    [nodes, rows], the last of places in `sources`. `chosen` is the stage of the cascade whose answer stands so far.
    `travelling` are the parts that wait for a later segment, or are under way in it, with what has taken them up.
    """

    def __init__(self, target: Target, batch: Batch, counted: Counted) -> None:
        assert target.graph is not None
        self.target, self.graph, self.batch = target, target.graph, batch
        self._counted = counted
        counts = [member.rows for member in batch.members]
        shape = (len(self.graph.nodes), batch.rows)
        self.starts = starts(batch.members)
        self.owner = np.repeat(np.arange(len(counts)), counts)
        self.until = np.repeat([member.deadline.at for member in batch.members], counts)
        self.values: list[list[Array] | None] = [None] * shape[0]
        self.state = np.zeros(shape, np.uint8)
        self.duration_us = np.zeros(shape, np.uint32)
        self.batch_rows = np.zeros(shape, np.uint32)
        self.source = np.zeros(shape, np.uint32)
        self.sources: list[RuntimeSource] = []
        self.chosen = np.full(batch.rows, NO_STAGE, np.int16)
        self.errors: dict[int, MeshError] = {}
        self.causes: dict[tuple[int, int], MeshError] = {}
        self.travelling: dict[Part, Coalescer[Part]] = {}
        self._open = np.ones(batch.rows, np.bool_)
        self._open_rows = counts
        self._inputs: dict[int, Array] = {}
        # Whether any node has no answer for any row.
        self._any_left_out = False
        self._lacking = self._errors_by_input()

    @property
    def all_rows(self) -> Index:
        """Every row."""
        return np.arange(self.batch.rows)

    def opened(self, index: Index) -> Index:
        """Return those of the rows that are neither answered nor failed, and whose caller waits."""
        return index if len(self._open) == len(index) and self._open.all() else index[self._open[index]]

    def waiting(self, index: Index) -> list[Member]:
        """Return the members who wait for any of the rows."""
        return [self.batch.members[place] for place in dict.fromkeys(self.owner[self.opened(index)].tolist())]

    def leave(self, member: Member) -> None:
        """Close the rows of a member that nobody waits for any more, and end the calls that are for no other's."""
        place = self.batch.members.index(member)
        self._open[self.starts[place] : self.starts[place] + member.rows] = False
        self._open_rows[place] = 0
        for part in [part for part in self.travelling if part.done()]:
            self.travelling.pop(part).left(part)

    def fed(self, feed: int | tuple[Port, ...], index: Index) -> bytes | Array:
        """Return what a node's input is given for rows: as packed bytes, where those of the whole batch can pass as they are."""
        if isinstance(feed, int):
            return self.batch.tensors[feed] if len(index) == self.batch.rows else self._input(feed)[index]
        parts = [self.port(port, index) for port in feed]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def port(self, port: Port, index: Index) -> Array:
        """Return rows of a node's output."""
        values = self.values[port.node]
        assert values is not None
        return values[port.output][index]

    def askable(self, place: int, node: ModelNode, index: Index) -> Index:
        """Return the open rows that have all that a node takes; the others are failures of the node."""
        if not self._lacking and not self._any_left_out:
            return self.opened(index)
        for feed in node.feeds:
            lacking = self._lacking.get(feed, {}) if isinstance(feed, int) else self._absent(feed, index)
            for row in index.tolist() if lacking else ():
                if row in lacking and self._open[row] and self.state[place, row] == UNASKED:
                    self.fail_node(place, np.array([row]), lacking[row])
        index = self.opened(index)
        unasked: Index = index[self.state[place, index] == UNASKED]
        return unasked

    def take(self, place: int, index: Index, inference: Inference, first: int) -> int:
        """Take a node's answer for rows, which begins at row `first` of the inference; return how many it fails."""
        end = first + len(index)
        outputs = [output[first:end] for output in inference.outputs]
        self.put(place, index, outputs, NodeState.COMPUTED)
        self.batch.note("model", inference.effort)
        self.source[place, index] = len(self.sources)
        if inference.row_source is not None:
            self.source[place, index] += inference.row_source[first:end]
        self.sources += inference.sources
        failed = 0
        for row, code in inference.failed_rows.items():
            if first <= row < end:
                failed += 1
                self.fail_node(place, index[row - first : row - first + 1], row_error(code))
        failed += self._fail_broken(place, index, outputs)
        self._counted(place, "computed", len(index) - failed)
        return failed

    def _fail_broken(self, place: int, index: Index, outputs: Sequence[Array]) -> int:
        """Fail the node in rows that it has answered with NaN or infinity where numbers are needed; return how many."""
        node, count = self._model_node(place), 0
        for output in node.finite_outputs:
            finite = np.isfinite(outputs[output])
            if finite.all():
                continue
            broken = index[~finite.all(axis=1)]
            broken = broken[self.state[place, broken] == NodeState.COMPUTED.value]
            if len(broken):
                name = node.outputs[output].name
                count += len(broken)
                self.fail_node(place, broken, InvalidOutput(f"answered NaN or infinity as {name}", output=name))
        return count

    def note_call(self, place: int, index: Index, duration_us: int, rows: int) -> None:
        """Note how long a node's call took, and how many rows travelled in it."""
        self.duration_us[place, index] = duration_us
        self.batch_rows[place, index] = rows

    def fail_node(self, place: int, index: Index, error: MeshError) -> None:
        """Do what is declared for the failure of a node in some rows."""
        node = self._model_node(place)
        message = f"node {node.name}: {error.message}"
        if error.code is Code.INVALID_ARGUMENT and not any(isinstance(feed, int) for feed in node.feeds):
            # What other nodes have answered is no fault of the caller's.
            error = InvalidOutput(message, node=node.name)
        else:
            error = error.reworded(message, node=node.name)
        if not node.optional:
            self._counted(place, "failed", len(index))
            self.state[place, index] = FAILED
            self.fail(index, error)
            return
        for row in index.tolist():
            self.causes[place, row] = error
        state = NodeState.LEFT_OUT if node.defaults is None else NodeState.DEFAULTED
        self._any_left_out |= state is NodeState.LEFT_OUT
        self._counted(place, state.name.lower(), len(index))
        self.put(place, index, node.defaults, state)

    def combine(self, place: int, node: EnsembleNode, index: Index) -> None:
        """Compute an ensemble's rows."""
        if not len(index):
            return
        present = [self.present(port.node, index) for port in node.members]
        values, anybody = combine(node.method, [self.port(port, index) for port in node.members], present, node.weights)
        self.put(place, index, [values], NodeState.COMPUTED)
        if anybody is not None:
            self.state[place, index[~anybody]] = NodeState.LEFT_OUT.value

    def finish(self, index: Index) -> None:
        """Answer rows for which everything has been computed."""
        if self._any_left_out:
            self._fail_left_out(index)
        index = self.opened(index)
        for place, node in enumerate(self.graph.nodes):
            if node.segment and isinstance(node, ModelNode):
                skipped = index[self.state[place, index] == UNASKED]
                if len(skipped):
                    self.state[place, skipped] = NodeState.SKIPPED.value
                    self._counted(place, "skipped", len(skipped))
        self._close(index)

    def _fail_left_out(self, index: Index) -> None:
        """Fail rows of which an output has no value."""
        for row, error in self._absent(self.graph.outputs, index).items():
            self.fail(np.array([row]), error)

    def fail(self, index: Index, error: MeshError) -> None:
        """Fail rows."""
        index = self.opened(index)
        for row in index.tolist():
            self.errors[row] = error
        self._close(index)

    def put(self, place: int, index: Index, outputs: Sequence[Array] | None, state: NodeState) -> None:
        """Set rows of a node's outputs, of `outputs` None to zero; an output of one row stands for all."""
        self.state[place, index] = state.value
        values = self.values[place]
        if values is None and outputs and len(index) == self.batch.rows and state is not NodeState.DEFAULTED:
            self.values[place] = list(outputs)
            return
        if values is None:
            values = self.values[place] = [
                zeros(spec.dtype, self.batch.rows * spec.width).reshape(self.batch.rows, spec.width)
                for spec in self.graph.nodes[place].outputs
            ]
        for known, output in zip(values, outputs or (), strict=False):
            known[index] = output

    def present(self, place: int, index: Index) -> npt.NDArray[np.bool_] | None:
        """Return which rows a node has an answer for; None: all."""
        if not self._any_left_out:
            return None
        present: npt.NDArray[np.bool_] = self.state[place, index] != NodeState.LEFT_OUT.value
        return None if present.all() else present

    def cause(self, place: int, row: int) -> MeshError:
        """Return why a node has no answer for a row: an ensemble has none as its members have none."""
        node = self.graph.nodes[place]
        if isinstance(node, EnsembleNode):
            return self.cause(node.members[0].node, row)
        return self.causes[place, row]

    def _model_node(self, place: int) -> ModelNode:
        node = self.graph.nodes[place]
        assert isinstance(node, ModelNode)
        return node

    def _input(self, place: int) -> Array:
        """Return the composed version's input at a place, [rows, width]."""
        found = self._inputs.get(place)
        if found is None:
            feed = self.target.inputs[place]
            found = self._inputs[place] = unpacked(self.batch.tensors[place], feed.dtype, feed.width)
        return found

    def _errors_by_input(self) -> dict[int, dict[int, MeshError]]:
        """Return by place of an input, by row, why there is no value that may be taken."""
        features = self.batch.features
        found: dict[int, dict[int, MeshError]] = {}
        for member, start in zip(self.batch.members, self.starts, strict=True):
            if member.overrides or (features is not None and (features.statuses or features.missing)):
                for row, places, error in input_errors(self.target, member, start, features):
                    for place in places:
                        found.setdefault(place, {}).setdefault(start + row, error)
        return found

    def _absent(self, ports: Iterable[Port], index: Index) -> dict[int, MeshError]:
        """Return by row the cause for which one of the ports has no value."""
        return {
            row: self.cause(port.node, row)
            for port in ports
            if (present := self.present(port.node, index)) is not None
            for row in index[~present].tolist()
        }

    def _close(self, index: Index) -> None:
        """Take rows for done, and answer the members that have no other open."""
        self._open[index] = False
        for place in self.owner[index].tolist():
            self._open_rows[place] -= 1
            if self._open_rows[place] == 0:
                self._answer(place)

    def _answer(self, place: int) -> None:
        member, start = self.batch.members[place], self.starts[place]
        if member.done():
            return
        errors = {row - start: self.errors[row] for row in range(start, start + member.rows) if row in self.errors}
        if len(errors) == member.rows:
            member.failed = errors
            member.answer.set_exception(errors[0])
        else:
            self.batch.hand_over(member, outcome_at(self, member, start, errors), time.perf_counter_ns())
