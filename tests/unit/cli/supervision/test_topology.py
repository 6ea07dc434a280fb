"""A topology says which processes there are, what they are told, and in what order they start and stop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from services.cli.errors import Mistake
from services.cli.supervision.access import Access, chosen_access
from services.cli.supervision.options import Options
from services.cli.supervision.ports import choose
from services.cli.supervision.topology import lay_out
from services.cli.targets import SERVICES
from services.cli.tls import Tls
from services.cli.triton.installation import Installation
from services.mesh.telemetry.tracing import EXPORT_DELAY_MS

OPTIONS = Options("mesh", choose(20_000), Path("data"), "", "", "warning", 0.5)
TRITON = Installation(Path("tritonserver"), Path("environment"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is for the command line, and a setting that is for a service."""
    monkeypatch.setenv("PREDICTMESH_GATEWAY_ADDRESS", "elsewhere:1")
    monkeypatch.setenv("PREDICTMESH_GATEWAY_MAX_BATCH_ROWS", "7")


def test_mesh() -> None:
    """Four processes and the store: the store starts first and stops last, the gateway stops first."""
    layout = lay_out(OPTIONS)
    assert [["valkey"], ["registry", "features", "model", "gateway"]] == list(map(list, layout.start_tiers))
    assert [["gateway"], ["features", "model"], ["registry"], ["valkey"]] == layout.stop_tiers
    assert {**{service: [service] for service in SERVICES}, "valkey": ["valkey"]} == {
        name: list(program.roles) for name, program in layout.programs.items()
    }


def test_what_a_service_is_told() -> None:
    """Each service learns its ports, its peers and where it keeps its state; addresses for the command line stay out."""
    env = lay_out(OPTIONS).programs["gateway"].env
    own = {
        name.removeprefix("PREDICTMESH_GATEWAY_").lower(): value for name, value in env.items() if "_GATEWAY_" in name
    }
    assert {
        "grpc_port": "20000",
        "http_port": "20010",
        "registry": "127.0.0.1:20003",
        "features": "127.0.0.1:20001",
        "model": "127.0.0.1:20002",
        "log_level": "warning",
        "trace_sample_ratio": "0.5",
        "objects": f"file://{Path('data/objects').resolve()}",
        "data_dir": str(Path("data/gateway").resolve()),
        "max_batch_rows": "7",
    } == own
    assert "http://127.0.0.1:20021" == env["OTEL_EXPORTER_OTLP_ENDPOINT"]


def test_monolith() -> None:
    """One process answers for all services at the gateway's addresses, and each service in it has its own state."""
    layout = lay_out(replace(OPTIONS, topology="monolith"))
    assert [["valkey"], ["monolith"]] == list(map(list, layout.start_tiers))
    assert {"127.0.0.1:20000"} == {layout.addresses[service] for service in SERVICES}
    assert dict.fromkeys(SERVICES, "127.0.0.1:20010") == layout.addresses["http"]
    env = layout.programs["monolith"].env
    assert ("20000", "redis://127.0.0.1:20020") == (
        env["PREDICTMESH_MONOLITH_GRPC_PORT"],
        env["PREDICTMESH_FEATURES_REDIS_URL"],
    )
    assert str(Path("data/registry").resolve()) == env["PREDICTMESH_REGISTRY_DATA_DIR"]
    assert ["gateway gRPC", "gateway HTTP", "valkey", "traces gRPC", "traces HTTP"] == list(layout.ports)


def test_triton() -> None:
    """It starts and stops with the store, the model service learns where it is, and nobody waits for it."""
    layout = lay_out(replace(OPTIONS, triton=TRITON))
    assert [["valkey", "triton"], ["registry", "features", "model", "gateway"]] == list(map(list, layout.start_tiers))
    assert [["gateway"], ["features", "model"], ["registry"], ["valkey", "triton"]] == layout.stop_tiers
    env = layout.programs["model"].env
    assert ("127.0.0.1:20024", "127.0.0.1:20025", str(Path("data/triton/repository").resolve())) == (
        env["PREDICTMESH_MODEL_TRITON"],
        env["PREDICTMESH_MODEL_TRITON_METRICS"],
        env["PREDICTMESH_MODEL_TRITON_REPOSITORY"],
    )
    assert not [name for name in layout.programs["gateway"].env if "TRITON" in name]
    assert {"http": "127.0.0.1:20023", "grpc": "127.0.0.1:20024", "metrics": "127.0.0.1:20025"} == (
        layout.addresses["triton"]
    )
    assert {"Triton HTTP", "Triton gRPC", "Triton metrics"} <= set(layout.ports)
    assert layout.programs["triton"].optional
    assert not lay_out(replace(OPTIONS, triton=TRITON, triton_required=True)).programs["triton"].optional


def test_triton_of_a_monolith() -> None:
    """The model service in it is told of Triton, which stops after it."""
    layout = lay_out(replace(OPTIONS, topology="monolith", redis_url="redis://store", triton=TRITON))
    assert [["monolith"], ["triton"]] == layout.stop_tiers
    assert "127.0.0.1:20024" == layout.programs["monolith"].env["PREDICTMESH_MODEL_TRITON"]


@pytest.mark.parametrize(
    ("collector", "triton_url", "expected"),
    [
        ("", "", ["http://127.0.0.1:20022/v1/traces"]),
        ("", "http://other:4318/v1/traces", ["http://127.0.0.1:20022/v1/traces"]),
        ("http://collector:4317", "", []),
        ("http://collector:4317", "http://collector:4318/v1/traces", ["http://collector:4318/v1/traces"]),
    ],
)
def test_spans_of_triton(collector: str, triton_url: str, expected: list[str]) -> None:
    """They go where the others' go: to the receiver, or to a collector whose address for HTTP is given, too."""
    options = replace(OPTIONS, triton=TRITON, otlp_endpoint=collector, triton_otlp_url=triton_url)
    setting = "--trace-config=opentelemetry,url="
    command = lay_out(options).programs["triton"].command
    assert expected == [text.removeprefix(setting) for text in command if text.startswith(setting)]


def test_spans_for_a_person_who_waits() -> None:
    """The receiver of `up` is sent spans more often than a collector."""
    env = lay_out(OPTIONS).programs["model"].env
    assert EXPORT_DELAY_MS > int(env["OTEL_BSP_SCHEDULE_DELAY"])


def test_own_store_and_collector() -> None:
    """With a store and a collector of the caller's own, neither is started, and no password is shown."""
    url, collector = "redis://user:secret@store:6379/0", "http://collector:4317"
    layout = lay_out(replace(OPTIONS, redis_url=url, otlp_endpoint=collector))
    assert "valkey" not in layout.programs
    assert url == layout.programs["features"].env["PREDICTMESH_FEATURES_REDIS_URL"]
    assert collector == layout.programs["model"].env["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert "OTEL_BSP_SCHEDULE_DELAY" not in layout.programs["model"].env
    assert "redis://user:******@store:6379/0" == layout.addresses["redis"]
    assert "traces" not in layout.addresses
    assert {"valkey", "traces gRPC"}.isdisjoint(layout.ports)


def test_replicas() -> None:
    """Each process has its ports and its directory; callers are told of all, and so is who reads the line."""
    layout = lay_out(replace(OPTIONS, replicas={"gateway": 2, "features": 2, "model": 3}))
    assert ["gateway", "gateway-2"] == layout.stop_tiers[0]
    assert ["features", "features-2", "model", "model-2", "model-3"] == layout.stop_tiers[1]
    env = layout.programs["gateway-2"].env
    assert (
        "127.0.0.1:20001,127.0.0.1:20031",
        "127.0.0.1:20002,127.0.0.1:20032,127.0.0.1:20062",
        "127.0.0.1:20003",
    ) == (
        env["PREDICTMESH_GATEWAY_FEATURES"],
        env["PREDICTMESH_GATEWAY_MODEL"],
        env["PREDICTMESH_GATEWAY_REGISTRY"],
    )
    assert ("20030", "20040", str(Path("data/gateway-2").resolve()), "1.0") == (
        env["PREDICTMESH_GATEWAY_GRPC_PORT"],
        env["PREDICTMESH_GATEWAY_HTTP_PORT"],
        env["PREDICTMESH_GATEWAY_DATA_DIR"],
        env["PREDICTMESH_GATEWAY_DRAIN_DELAY_S"],
    )
    assert ("127.0.0.1:20000,127.0.0.1:20030", "127.0.0.1:20003") == (
        layout.addresses["gateway"],
        layout.addresses["registry"],
    )
    assert {"gateway": "127.0.0.1:20010,127.0.0.1:20040"}.items() <= dict(layout.addresses["http"]).items()  # type: ignore[call-overload]
    assert {"gateway-2 gRPC": 20_030, "model-3 HTTP": 20_072}.items() <= layout.ports.items()
    assert ["gateway"] == layout.programs["gateway-2"].roles


def test_drain_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is the only one of its service stops at once, and the environment's own setting stands."""
    assert "PREDICTMESH_GATEWAY_DRAIN_DELAY_S" not in lay_out(OPTIONS).programs["gateway"].env
    monkeypatch.setenv("PREDICTMESH_GATEWAY_DRAIN_DELAY_S", "5")
    layout = lay_out(replace(OPTIONS, replicas={"gateway": 2}))
    assert "5" == layout.programs["gateway-2"].env["PREDICTMESH_GATEWAY_DRAIN_DELAY_S"]


def test_tritons() -> None:
    """Each process of the model service has a Triton of its own, with its own repository."""
    layout = lay_out(replace(OPTIONS, triton=TRITON, replicas={"model": 2}))
    assert ["valkey", "triton", "triton-2"] == list(layout.start_tiers[0])
    env = layout.programs["model-2"].env
    assert ("127.0.0.1:20054", str(Path("data/triton-2/repository").resolve())) == (
        env["PREDICTMESH_MODEL_TRITON"],
        env["PREDICTMESH_MODEL_TRITON_REPOSITORY"],
    )
    assert ["triton"] == layout.programs["triton-2"].roles
    assert {"Triton-2 gRPC": 20_054}.items() <= layout.ports.items()


@pytest.mark.parametrize("topology", ["mesh", "monolith"])
def test_every_process_shows_the_certificate(topology: Literal["mesh", "monolith"], tmp_path: Path) -> None:
    """Each is given the files by their whole paths, and the readiness line has them; a service may be given its own."""
    tls = Tls(Path("ca.pem"), Path("cert.pem"), tmp_path / "key.pem")
    layout = lay_out(replace(OPTIONS, topology=topology, tls=tls))
    files = {"ca": str(Path("ca.pem").resolve()), "cert": str(Path("cert.pem").resolve()), "key": f"{tmp_path}/key.pem"}
    assert files == layout.addresses["tls"]
    for kind in SERVICES if topology == "mesh" else ["monolith"]:
        env = layout.programs[kind].env
        assert files == {name: env[f"PREDICTMESH_{kind.upper()}_TLS_{name.upper()}_FILE"] for name in files}
    assert "tls" not in lay_out(OPTIONS).addresses


def test_service_may_have_its_own_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment gives one service goes before what all have."""
    monkeypatch.setenv("PREDICTMESH_GATEWAY_TLS_CERT_FILE", "/own.pem")
    layout = lay_out(replace(OPTIONS, tls=Tls(Path("/ca.pem"), Path("/cert.pem"), Path("/key.pem"))))
    assert "/own.pem" == layout.programs["gateway"].env["PREDICTMESH_GATEWAY_TLS_CERT_FILE"]
    assert "/cert.pem" == layout.programs["model"].env["PREDICTMESH_MODEL_TLS_CERT_FILE"]


def test_access(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every service reads the access file, those that call others show the key; what the command line shows stays its own."""
    monkeypatch.setenv("PREDICTMESH_TOKEN", "pmk_of-a-person")
    access = Access(tmp_path / "access.yaml", tmp_path / "key")
    layout = lay_out(replace(OPTIONS, access=access))
    for service in SERVICES:
        env = layout.programs[service].env
        assert str(access.file) == env[f"PREDICTMESH_{service.upper()}_ACCESS_FILE"]
        assert (None if service == "registry" else str(access.token)) == env.get(
            f"PREDICTMESH_{service.upper()}_TOKEN_FILE"
        )
        assert "pmk_of-a-person" not in env.values()
    monolith = lay_out(replace(OPTIONS, access=access, topology="monolith")).programs["monolith"].env
    assert str(access.file) == monolith["PREDICTMESH_MONOLITH_ACCESS_FILE"]
    assert [] == [name for name in monolith if name.endswith("TOKEN_FILE") or name == "PREDICTMESH_GATEWAY_ACCESS_FILE"]


@pytest.mark.parametrize(
    ("file", "token", "needs_token", "message"),
    [(None, Path("key"), True, "with --access-file"), (Path("access.yaml"), None, True, "--services-token-file")],
)
def test_access_that_would_shut_out_the_services(
    file: Path | None, token: Path | None, needs_token: bool, message: str
) -> None:
    """The options go together, unless certificates do instead of the key."""
    with pytest.raises(Mistake, match=message):
        chosen_access(file, token, needs_token=needs_token)
    assert None is chosen_access(None, None, needs_token=True)
    assert Access(Path("a"), None) == chosen_access(Path("a"), None, needs_token=False)
