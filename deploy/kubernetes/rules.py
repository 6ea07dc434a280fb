"""Writes the rules of deploy/telemetry as the Prometheus operator takes them: `python -m deploy.kubernetes.rules`."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
RULES = HERE.parent / "telemetry" / "rules"
MANIFEST = HERE / "components" / "monitoring" / "rules.yaml"
_HEAD = """\
# Made from deploy/telemetry/rules by `make manifests`; change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: predictmesh
  labels: {app.kubernetes.io/part-of: predictmesh}
spec:
  groups:
"""


def manifest() -> str:
    """Return a PrometheusRule with the groups of every file, as they are written there."""
    return _HEAD + "".join(_groups(path.read_text()) for path in sorted(RULES.glob("*.yaml")))


def _groups(text: str) -> str:
    _, _, groups = text.partition("groups:\n")
    return "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True))


if __name__ == "__main__":
    MANIFEST.write_text(manifest())
