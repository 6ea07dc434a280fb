"""Definitions from the command line: apply, models, backup; what is refused changes nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.integration.cli.conftest import DEFINITIONS, ENDPOINT, VERSION, World
from tests.support.commands import run, succeed
from tests.worlds.up import up


def revision(world: World) -> int:
    """Return the registry's revision."""
    events = succeed("registry", "export", world.files / "revision.jsonl", "--json", *world.at)
    return int(json.loads(events)["revision"])


def test_changes_are_shown(world: World) -> None:
    """A dry run shows what would change and changes nothing; applying shows the same; again there is nothing to do."""
    file = world.file("changed.yaml", f"{DEFINITIONS}description: Late?\n---\n{ENDPOINT}default_timeout: 2s\n")
    before = revision(world)
    dry = succeed("apply", "-f", file, "--dry-run", *world.at).splitlines()
    assert [
        "= FeatureView plane",
        "~ Model delay",
        '    + description: "Late?"',
        "~ Endpoint delay",
        "    + default_timeout_ms: 2000",
    ] == dry[:-1]
    assert f"1 unchanged, 2 updated; nothing is written, revision {before}" == dry[-1]
    assert before == revision(world)
    real = succeed("apply", "-f", file, "--reason", "a test", *world.at).splitlines()
    assert [*dry[:-1], f"1 unchanged, 2 updated; revision {before + 1}"] == real
    assert "3 unchanged" in succeed("apply", "-f", file, *world.at)
    assert before + 1 == revision(world)
    assert "a test" in (world.files / "revision.jsonl").read_text().splitlines()[-1]


def test_condition_of_a_change(world: World) -> None:
    """What was meant for an older revision changes nothing; forcing needs a reason."""
    before, file = revision(world), world.file("changed.yaml", f"{DEFINITIONS}description: Never.\n")
    late = run("apply", "-f", file, "--expected-revision", before - 1, *world.at)
    assert (1, True) == (late.code, "[REVISION_CONFLICT] (--expected-revision; `predictmesh events`" in late.err)
    forced = run("apply", "-f", file, "--force", *world.at)
    assert (2, True) == (forced.code, "[MISSING_FIELD] (--reason)" in forced.err)
    assert before == revision(world)


BAD = [
    ("kind: FeatureView\nname: Plane\n" + DEFINITIONS.partition("---")[0].partition("plane\n")[2], "INVALID_NAME", "document 1, name"),
    (DEFINITIONS.replace("name: late", "name: early"), "INCOMPATIBLE_CHANGE", "document 1"),
    (ENDPOINT.replace("1.0.0", "3.0.0"), "UNKNOWN_VERSION", "document 1, route"),
    (ENDPOINT.replace("{version: 1.0.0}", "{alias: none}"), "UNKNOWN_ALIAS", "document 1, route"),
    (ENDPOINT.replace("model: delay", "model: none"), "UNKNOWN_MODEL", "document 1, model"),
    (DEFINITIONS + "---\n" + DEFINITIONS, "INVALID", "document 3"),
    (DEFINITIONS + "gates: {auc: {min: 70}}\n", "INVALID_DEFINITION", "document 2, gates.auc.min"),
    (DEFINITIONS + "gates: {mae: {}}\n", "INVALID_DEFINITION", "document 2, gates.mae"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason", "place"), BAD)
def test_refused_definitions(world: World, text: str, reason: str, place: str) -> None:
    """What the registry refuses is told by file and document, exit code 2, and nothing has changed."""
    before, file = revision(world), world.file("bad.yaml", text)
    outcome = run("apply", "-f", file, *world.at)
    assert (2, "", 1) == (outcome.code, outcome.out, outcome.err.count("\n"))
    assert reason in outcome.err
    assert f"{file}, {place}" in outcome.err
    assert before == revision(world)


def test_models(world: World) -> None:
    """Models, versions and where they run are listed, and a version is shown as the document it was registered from."""
    assert ["delay", "1.0.0,", "2.0.0"] == succeed("models", "list", *world.at).splitlines()[1].split()[:3]
    assert "1.0.0    onnx ready on 1" in succeed("models", "show", "delay", *world.at)
    shown = succeed("models", "show", "delay", "1.0.0", *world.at)
    assert "sources: ['plane:late', 'plane:pair', 'request:distance']" in shown
    states = json.loads(succeed("models", "list", "--json", *world.at))[0]["states"]
    assert {"1.0.0": ["onnx ready on 1"], "2.0.0": ["onnx ready on 1"]} == states


def test_profile_of_a_version(world: World) -> None:
    """What a training run reported is shown with the version; a version that is not there is named."""
    histogram = {"name": "plane:late", "edges": [0.5], "counts": [1, 2]}
    report = world.file("report.json", json.dumps({"training_profile": {"rows": 3, "features": [histogram]}}))
    succeed("models", "register", *world.version("5.0.0", 1), "--report", report, *world.at)
    shown = json.loads(succeed("models", "show", "delay", "5.0.0", "--json", *world.at))
    assert [["1", "2"]] == [each["counts"] for each in shown["training_profile"]["features"]]
    outcome = run("models", "show", "delay", "8.0.0", *world.at)
    assert (2, True) == (outcome.code, "[UNKNOWN_VERSION]" in outcome.err)
    succeed("models", "delete", "delay", "5.0.0", "--yes", *world.at)


GOLDEN = """\
inputs: {x: [[1, 2, 3, 4], [0, 0, 0.5, 0]]}
outputs: {y: [[20], [1]]}
relative_tolerance: 1e-6
"""


def test_a_golden_set_is_run_where_the_version_is_served(world: World) -> None:
    """Who registers it is told what came of it, and so is everybody later."""
    wait = ("--wait", "30s", *world.at)
    right = world.file("golden.yaml", GOLDEN)
    wrong = world.file("wrong-golden.yaml", GOLDEN.replace("[1]", "[3]"))
    done = succeed("models", "register", *world.version("5.1.0", 2), "--golden", right, *wait)
    assert "its golden set passes" in done.splitlines()[1]
    done = succeed("models", "register", *world.version("5.2.0", 2), "--golden", wrong, *wait)
    different = "output 'y', row 1, element [0]: recorded 3.0, computed 1.0; 1 of 2 elements differ"
    assert f"but its golden set fails there: {different}" in done.splitlines()[1]
    shown = json.loads(succeed("models", "show", "delay", "--json", *world.at))
    assert (["onnx passed on 1"], ["onnx failed on 1"]) == (shown["golden"]["5.1.0"], shown["golden"]["5.2.0"])
    assert [f"onnx: {different}"] == shown["messages"]["5.2.0"]
    assert "onnx failed on 1" in succeed("models", "show", "delay", *world.at)
    outcome = run("models", "register", *world.version("5.1.0", 2), "--golden", wrong, *world.at)
    assert (2, True) == (outcome.code, "[ALREADY_EXISTS]" in outcome.err)
    assert "--golden" in outcome.err
    for version in ("5.1.0", "5.2.0"):
        succeed("models", "delete", "delay", version, "--yes", *world.at)


def test_registering_again(world: World) -> None:
    """The same version again is answered as before; with other content it is refused."""
    assert "was registered before" in succeed("models", "register", *world.version("1.0.0", 1), *world.at)
    outcome = run("models", "register", *world.version("1.0.0", 3), *world.at)
    assert (2, True) == (outcome.code, "[ALREADY_EXISTS]" in outcome.err)


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("plane:late", "plane:early", "inputs[0].sources[0]: view plane has no field 'early'"),
        ("version: 7.0.0", "version: seven", "version: 'seven' is not MAJOR.MINOR.PATCH"),
        ("shape: [1]", "shape: [2]", "outputs[0].shape)"),
    ],
)
def test_refused_version(world: World, right: str, wrong: str, place: str) -> None:
    """What is wrong with a version is found in its file, not in the message that it became."""
    file = world.file("wrong.yaml", VERSION.replace("VERSION", "7.0.0").replace(right, wrong))
    artifact = world.version("7.0.0", 1)[2:]
    outcome = run("models", "register", "-f", file, *artifact, *world.at)
    assert (2, "", 1) == (outcome.code, outcome.out, outcome.err.count("\n"))
    assert f"{file}, {place}" in outcome.err


def test_artifact_that_is_no_model(world: World) -> None:
    """Bytes that are no model, and a model of another signature, are refused before anything is sent."""
    nonsense = world.file("nonsense.onnx", "nonsense")
    before = revision(world)
    document, artifact = world.version("3.0.0", 1)[:2], world.version("3.0.0", 1)[2:]
    outcome = run("models", "register", *document, "--artifact", f"onnx={nonsense}", *world.at)
    assert (2, 1) == (outcome.code, outcome.err.count("\n"))
    assert "[INVALID_ARTIFACT]" in outcome.err
    other = world.file("other.yaml", Path(str(document[1])).read_text().replace("{name: y,", "{name: z,"))
    outcome = run("models", "register", "-f", other, *artifact, *world.at)
    assert (2, True) == (outcome.code, "[SIGNATURE_MISMATCH]" in outcome.err)
    assert before == revision(world)


def test_two_runtimes(world: World) -> None:
    """A version with a file for each of two runtimes is served by those that are there, and is shown with both."""
    *document, _, artifact = world.version("3.0.0", 3)
    both = ("--artifact", str(artifact).replace("onnx=", "triton="), "--artifact", artifact)
    said = succeed("models", "register", *document, *both, "--wait", "30s", *world.at)
    assert "ready on onnx after" in said
    assert "ready on triton" in said
    (line,) = [line for line in succeed("models", "show", "delay", *world.at).splitlines() if line.startswith("3.0.0")]
    assert "triton onnx 1 KiB, onnx 1 KiB" in line
    succeed("models", "delete", "delay", "3.0.0", "--yes", *world.at)


def test_delete(world: World) -> None:
    """A version that something names stays; one that nothing names goes; without an answer nothing happens."""
    outcome = run("models", "delete", "delay", "1.0.0", "--yes", *world.at)
    assert (2, True) == (outcome.code, "[IN_USE]" in outcome.err)
    succeed("models", "register", *world.version("4.0.0", 1), *world.at)
    assert "deleted version 4.0.0 of model delay" in succeed("models", "delete", "delay", "4.0.0", "--yes", *world.at)


def test_delete_artifact(world: World) -> None:
    """Bytes that no version names any more go; those that a version needs stay, and unknown ones are told."""
    succeed("models", "register", *world.version("5.0.0", 5), *world.at)
    sha256 = hashlib.sha256((world.files / "5.0.0.onnx").read_bytes()).hexdigest()
    used = run("artifacts", "delete", sha256, "--yes", *world.at)
    assert (2, True) == (used.code, "[IN_USE]" in used.err)
    succeed("models", "delete", "delay", "5.0.0", "--yes", *world.at)
    assert f"deleted artifact {sha256}" in succeed("artifacts", "delete", sha256, "--yes", *world.at)
    again = run("artifacts", "delete", sha256, "--yes", *world.at)
    assert (2, True) == (again.code, "[UNKNOWN_ARTIFACT]" in again.err)


def test_backup(world: World, tmp_path: Path) -> None:
    """An export, imported into an empty registry, defines the same; a registry that is not empty refuses it."""
    backup = world.files / "backup.jsonl"
    exported = json.loads(succeed("registry", "export", backup, "--json", *world.at))
    outcome = run("registry", "import", backup, *world.at)
    assert (2, True) == (outcome.code, "[NOT_EMPTY]" in outcome.err)
    with up(tmp_path, "--topology", "monolith", "--log-level", "error"):
        other = ("--data", tmp_path / "data")
        assert f"{exported['events']} events imported; revision {exported['revision']}" in succeed(
            "registry", "import", backup, *other
        )
        assert succeed("features", "views", "plane", *world.at) == succeed("features", "views", "plane", *other)
        assert succeed("models", "show", "delay", "2.0.0", *world.at) == succeed(
            "models", "show", "delay", "2.0.0", *other
        )


@pytest.mark.parametrize("text", ["", "{\n", '{"revision": "x"}\n', "[]\n"])
def test_damaged_backup(world: World, text: str) -> None:
    """A file that is no backup is named with its line before anything is sent."""
    outcome = run("registry", "import", world.file("damaged.jsonl", text), *world.at)
    assert (2, 1) == (outcome.code, outcome.err.count("\n"))
    assert "damaged.jsonl" in outcome.err
