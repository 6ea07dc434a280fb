"""What an endpoint keeps of its predictions until their outcomes are known, to and from the YAML form."""

from __future__ import annotations

from predictmesh.registry.v1.endpoint_pb2 import OutcomeKind, OutcomePolicy
from services.cli import durations
from services.cli.resources.cursor import Cursor
from services.cli.values import whole

_KINDS = {"binary": OutcomeKind.OUTCOME_KIND_BINARY, "regression": OutcomeKind.OUTCOME_KIND_REGRESSION}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_LAST_ELEMENT = 2**32 - 1


def read_outcomes(cursor: Cursor) -> OutcomePolicy:
    """Return the policy. A share or a time of 0 would stand for its default, and is refused."""
    members = cursor.mapping(("output", "kind"), ("element", "sample_percent", "expire", "capture_percent"))
    policy = OutcomePolicy(output=members["output"].text(), kind=members["kind"].choice(_KINDS))
    if "element" in members:
        policy.element = members["element"].integer(0, _LAST_ELEMENT)
    if "sample_percent" in members:
        policy.sample_percent = members["sample_percent"].percent()
    if "expire" in members:
        policy.expire_ms = members["expire"].parsed(durations.parse_positive_ms)
    if "capture_percent" in members:
        policy.capture_percent = members["capture_percent"].percent()
    return policy


def show_outcomes(policy: OutcomePolicy) -> dict[str, object]:
    """Return the YAML form of a policy."""
    shown: dict[str, object] = {"output": policy.output}
    if policy.element:
        shown["element"] = policy.element
    shown["kind"] = _NAMES.get(policy.kind, "")
    if policy.sample_percent:
        shown["sample_percent"] = whole(policy.sample_percent)
    if policy.expire_ms:
        shown["expire"] = durations.exact(policy.expire_ms)
    if policy.capture_percent:
        shown["capture_percent"] = whole(policy.capture_percent)
    return shown
