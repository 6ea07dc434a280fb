"""One answer out of what the steps of a ladder gave, each for some of the rows, and the account of how it came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from services.gateway.assembly import zeros
from services.gateway.errors import FAILURES, InvalidOutput
from services.gateway.prediction import Degradation, DegradationReason, LadderStep, Outcome
from services.mesh.errors import MeshError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from services.gateway.prediction import NodeStep
    from services.gateway.target import Target


@dataclass(slots=True, eq=False)
class _Part:
    """What a step gave: the rows that it was asked for, those that it answered, and where the wanted outputs are in it.

    `subject` is "" for the route's version.
    """

    subject: str
    asked: Sequence[int]
    answered: Sequence[int]
    outcome: Outcome
    places: Sequence[int]


class Merging:
    """The rows of a request on their way down a ladder. `open` are those that the next step is to answer, from 0.

    They begin with what the route's version, the `target`, made of them: its outcome, or the errors of all rows. What is the
    caller's fault there is not open.
    """

    def __init__(
        self, target: Target, rows: int, outcome: Outcome | None, errors: Mapping[int, MeshError], step: LadderStep
    ) -> None:
        self.rows = rows
        self.open = sorted(row for row, error in errors.items() if error.code in FAILURES)
        self._target = target
        self._errors = dict(errors)
        self._parts: list[_Part] = []
        self._tried: list[str] = []
        step.answered = [row for row in range(rows) if row not in errors]
        step.left = errors[self.open[0]] if self.open else None
        self.steps = [step]
        if outcome is not None and step.answered:
            self._parts.append(_Part("", range(rows), step.answered, outcome, range(len(target.outputs))))

    def add(
        self, subject: str, step: LadderStep, found: Outcome | MeshError, places: Sequence[int] | None = None
    ) -> None:
        """Take what a step found for the open rows; another version's has the wanted outputs at `places`."""
        asked, places = self.open, places or range(len(self._target.outputs))
        if isinstance(found, MeshError):
            errors: Mapping[int, MeshError] = dict.fromkeys(range(len(asked)), found)
        else:
            errors = {**self._broken(found, places), **found.row_errors}
        step.answered = [row for index, row in enumerate(asked) if index not in errors]
        step.left = errors[min(errors)] if errors else None
        self.steps.append(step)
        self.open = [row for index, row in enumerate(asked) if index in errors]
        if step.left is not None:
            self._tried.append(f"{subject} ({step.left.reason})")
        if isinstance(found, Outcome) and step.answered:
            self._parts.append(_Part(subject, asked, step.answered, found, places))
            for row in step.answered:
                del self._errors[row]

    def _broken(self, found: Outcome, places: Sequence[int]) -> dict[int, MeshError]:
        """Return the rows that break what callers rely on: an output that is finite need not be that in another version."""
        errors: dict[int, MeshError] = {}
        for spec, place in zip(self._target.outputs, places, strict=True):
            if spec.finite and spec.dtype.is_float:
                rows = np.flatnonzero(~np.isfinite(found.outputs[place]).all(axis=1))
                error = InvalidOutput(f"answered NaN or infinity as {spec.name}", output=spec.name)
                errors |= dict.fromkeys(rows.tolist(), error)
        return errors

    def outcome(self) -> Outcome:
        """Return the answer; raises the error of the first row if no row has one."""
        if not self._parts:
            raise self._failure()
        first = self._parts[0]
        # Ages and inputs are told of every row, and those of the route's version unless another answered all.
        whole = not first.subject or len(first.answered) == self.rows
        return Outcome(
            outputs=self._outputs(),
            row_errors=self._errors,
            ages_us=first.outcome.ages_us if whole else [],
            degradations=self._degradations(),
            runtime=first.outcome.runtime,
            hops=first.outcome.hops,
            efforts=first.outcome.efforts,
            batch_rows=first.outcome.batch_rows,
            explanation=first.outcome.explanation if whole else None,
            nodes=self._nodes(first),
        )

    def _failure(self) -> MeshError:
        error = self._errors[min(self._errors)]
        if not self._tried:
            return error
        message = f"{error.message}; no fallback has an answer either: {', '.join(self._tried)}"
        return error.reworded(message)

    def _outputs(self) -> list[npt.NDArray[np.generic]]:
        outputs = []
        for place, spec in enumerate(self._target.outputs):
            values = zeros(spec.dtype, self.rows * spec.width).reshape(self.rows, spec.width)
            for part in self._parts:
                own = part.outcome.outputs[part.places[place]]
                chosen = set(part.answered)
                values[part.answered] = own[[index for index, row in enumerate(part.asked) if row in chosen]]
            outputs.append(values)
        return outputs

    def _degradations(self) -> list[Degradation]:
        """Return what is degraded: as the version tells that answered the row, and that it was a fallback."""
        found: dict[tuple[DegradationReason, str], set[int]] = {}
        elsewhere = {row for part in self._parts for row in part.answered}
        for part in self._parts:
            # Of rows that nobody answered, what the first one knows of them.
            told = (set(part.asked) - elsewhere) | set(part.answered) if part is self._parts[0] else set(part.answered)
            for degradation in part.outcome.degradations:
                rows = {part.asked[index] for index in degradation.rows or range(len(part.asked))}
                found.setdefault((degradation.reason, degradation.subject), set()).update(rows & told)
            if part.subject:
                found[DegradationReason.FALLBACK, part.subject] = set(part.answered)
        return [
            Degradation(reason, subject, [] if len(rows) == self.rows else sorted(rows))
            for (reason, subject), rows in found.items()
            if rows
        ]

    def _nodes(self, part: _Part) -> Sequence[NodeStep]:
        """Return the path through a composed version, of rows of the request."""
        if len(part.asked) == self.rows:
            return part.outcome.nodes
        return [
            replace(node, rows=[part.asked[index] for index in node.rows] or list(part.asked))
            for node in part.outcome.nodes
        ]
