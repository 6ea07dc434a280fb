"""A setting comes from the environment, a YAML file or its default, and one that cannot act is an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from pydantic import Field, SecretStr, ValidationError

from services.mesh.security.certificates import TlsFiles
from services.mesh.settings import ServiceSettings, SettingsError, settings_from_arguments


class Settings(ServiceSettings):
    service: ClassVar[str] = "probe"
    grpc_port: int = Field(1, ge=0, le=65_535)
    http_port: int = 2
    data_dir: Path = Path("data")
    store_url: SecretStr = SecretStr("redis://:default-secret@host")
    tags: tuple[str, ...] = ()


@pytest.fixture(autouse=True)
def no_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without what the machine may have set."""
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The path of a YAML file that is still to be written."""
    return tmp_path / "probe.yaml"


def test_defaults() -> None:
    """Without environment and file every setting has its default."""
    assert ("127.0.0.1", 1, "") == (Settings.load().host, Settings.load().grpc_port, Settings.load().otlp_endpoint)


def test_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    """A variable overrides the same key of the file; the others stand."""
    config.write_text("grpc_port: 7\nhttp_port: 8\n")
    monkeypatch.setenv("PREDICTMESH_PROBE_GRPC_PORT", "9")
    loaded = Settings.load(config)
    assert (9, 8) == (loaded.grpc_port, loaded.http_port)


def test_two_files_do_not_mix(config: Path, tmp_path: Path) -> None:
    """A file is of one load only."""
    config.write_text("grpc_port: 7\n")
    other = tmp_path / "other.yaml"
    other.write_text("http_port: 8\n")
    assert 7 == Settings.load(config).grpc_port
    assert (1, 8) == (Settings.load(other).grpc_port, Settings.load(other).http_port)
    assert 2 == Settings.load().http_port


def test_variables_without_the_prefix_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """HOST and its like belong to the shell, however the settings are made."""
    monkeypatch.setenv("HOST", "elsewhere")
    monkeypatch.setenv("PREDICTMESH_OTHER_NOPE", "1")
    assert "127.0.0.1" == Settings().host == Settings.load().host


@pytest.mark.parametrize(
    ("from_file", "shared", "own", "expected"),
    [
        ("http://file:1", None, None, "http://file:1"),
        ("http://file:1", "http://shared:1", None, "http://shared:1"),
        (None, "http://shared:1", None, "http://shared:1"),
        ("http://file:1", "http://shared:1", "http://own:1", "http://own:1"),
    ],
)
def test_otlp_endpoint(
    monkeypatch: pytest.MonkeyPatch,
    config: Path,
    from_file: str | None,
    shared: str | None,
    own: str | None,
    expected: str,
) -> None:
    """The endpoint is set under its own name, or by OpenTelemetry's variable."""
    config.write_text(yaml.safe_dump({"otlp_endpoint": from_file} if from_file else {}))
    if shared:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", shared)
    if own:
        monkeypatch.setenv("PREDICTMESH_PROBE_OTLP_ENDPOINT", own)
    assert expected == Settings.load(config).otlp_endpoint


def test_unknown_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped variable is named instead of ignored."""
    monkeypatch.setenv("PREDICTMESH_PROBE_GRPC_PROT", "1")
    with pytest.raises(SettingsError, match="PREDICTMESH_PROBE_GRPC_PROT"):
        Settings.load()


def test_variable_that_cannot_be_parsed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that is no JSON is named."""
    monkeypatch.setenv("PREDICTMESH_PROBE_TAGS", "a,b")
    with pytest.raises(SettingsError, match="tags"):
        Settings.load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grpc_prot: 1", "grpc_prot"),
        ("grpc_port: many", "grpc_port"),
        ("grpc_port: 70000", "grpc_port"),
        ("trace_sample_ratio: 2", "trace_sample_ratio"),
        ("log_level: loud", "log_level"),
        ("grpc_port: 1\nhttp_port: x", "http_port"),
        ("- a", "probe.yaml"),
        ("a: : b", "probe.yaml"),
        ("'open", "probe.yaml"),
    ],
)
def test_faulty_file_is_one_line_that_names_the_fault(config: Path, text: str, message: str) -> None:
    """Unknown keys, wrong types and broken YAML are SettingsErrors."""
    config.write_text(text)
    with pytest.raises(SettingsError, match=message) as error:
        Settings.load(config)
    assert "\n" not in str(error.value)


def test_missing_file_is_an_error(config: Path) -> None:
    """A file that is named must be there."""
    with pytest.raises(SettingsError, match="no such file"):
        Settings.load(config)


def test_wrong_value_of_a_secret_is_not_shown(config: Path) -> None:
    """An error message names the setting, never its value."""
    config.write_text("store_url: [hunter2]")
    with pytest.raises(SettingsError) as error:
        Settings.load(config)
    assert "store_url" in str(error.value)
    assert "hunter2" not in str(error.value)


def test_settings_are_frozen() -> None:
    """Nothing changes a setting after the start."""
    with pytest.raises(ValidationError):
        Settings.load().host = "elsewhere"  # type: ignore[misc]  # what the test is about


def test_print_settings_masks_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    """--print-settings shows YAML that loads again, secrets aside, and exits with 0."""
    config.write_text("store_url: redis://:hunter2@host\ngrpc_port: 7\n")
    monkeypatch.setattr(sys, "argv", ["probe", "--config", str(config), "--print-settings"])
    with pytest.raises(SystemExit) as ended:
        settings_from_arguments(Settings)
    assert 0 == ended.value.code
    shown = yaml.safe_load(printed := capsys.readouterr().out)
    assert (7, "data", set(Settings.model_fields)) == (shown["grpc_port"], shown["data_dir"], set(shown))
    assert "hunter2" not in printed


def test_faulty_settings_exit_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    """A process with settings that cannot be used says so in one line and exits with 2."""
    config.write_text("nope: 1")
    monkeypatch.setattr(sys, "argv", ["probe", "--config", str(config)])
    with pytest.raises(SystemExit) as ended:
        settings_from_arguments(Settings)
    assert 2 == ended.value.code
    assert "error: settings of probe: nope: Extra inputs are not permitted\n" == capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (["cert_file"], "tls_cert_file and tls_key_file are given together"),
        (["key_file"], "tls_cert_file and tls_key_file are given together"),
        (["ca_file"], "tls_ca_file is given with tls_cert_file and tls_key_file"),
        (["cert_file", "key_file", "client_certificates"], "tls_client_certificates: false does nothing without"),
    ],
)
def test_tls_that_cannot_act(monkeypatch: pytest.MonkeyPatch, given: list[str], fault: str) -> None:
    """Files that lack another one are an error: nothing is plain by mistake."""
    for name in given:
        monkeypatch.setenv(
            f"PREDICTMESH_PROBE_TLS_{name.upper()}", "false" if name == "client_certificates" else "a.pem"
        )
    with pytest.raises(SettingsError, match=fault):
        Settings.load()


def test_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate makes the port TLS; with authorities, calls to others as well."""
    assert (None, None) == (Settings.load().tls, Settings.load().tls_for_calls)
    for name in ("cert", "key"):
        monkeypatch.setenv(f"PREDICTMESH_PROBE_TLS_{name.upper()}_FILE", f"{name}.pem")
    assert (TlsFiles(Path("cert.pem"), Path("key.pem")), None) == (Settings.load().tls, Settings.load().tls_for_calls)
    monkeypatch.setenv("PREDICTMESH_PROBE_TLS_CA_FILE", "ca.pem")
    assert TlsFiles(Path("cert.pem"), Path("key.pem"), Path("ca.pem")) == Settings.load().tls_for_calls
