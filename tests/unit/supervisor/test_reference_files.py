"""The reference configuration and the systemd unit agree with the code."""

from __future__ import annotations

import configparser
import re
import tomllib
from enum import Enum
from pathlib import Path

import msgspec
import pytest
from aurora_supervisor.exits import ExitStatus

from aurora_actors.config import (
    AuroraConfig,
    HttpConfig,
    JobsConfig,
    RemoteConfig,
    TelemetryConfig,
    WorkerPoolConfig,
)

CONFIG = Path(__file__).parents[3] / "config"
REFERENCE = (CONFIG / "aurora.toml").read_text(encoding="utf-8")
TABLES = {
    "": AuroraConfig,
    "jobs": JobsConfig,
    "worker_pools.mail": WorkerPoolConfig,
    "http": HttpConfig,
    "remote": RemoteConfig,
    "telemetry": TelemetryConfig,
}
"""The tables of the file, the one at its top having no name, and what reads them."""


def sections() -> dict[str, str]:
    """The text of each table of the reference file, commented out or not."""
    name, *rest = re.split(r"^(?:# )?\[([a-z_.]+)\]\n", REFERENCE, flags=re.MULTILINE)
    return {"": name, **dict(zip(rest[::2], rest[1::2], strict=True))}


SECTIONS = sections()
FIELDS = {
    (table, field.name): field
    for table, struct in TABLES.items()
    for field in msgspec.structs.fields(struct)
    if field.name not in {*TABLES, "worker_pools"}
}

REQUIRED = {
    key
    for key, field in FIELDS.items()
    if field.default is field.default_factory is msgspec.NODEFAULT
}


def documented(table: str = "") -> dict[str, object]:
    """Every key of a table of the reference file, those commented out included."""
    keys = re.compile(r"^# (?=[a-z_]+ = \S+$)", re.MULTILINE)
    return tomllib.loads(keys.sub("", SECTIONS[table]))


def comment_above(table: str, name: str) -> str:
    """The lines that say what a key does."""
    above = re.search(
        rf"((?:^# (?![a-z_]+ = ).*\n)+)^(?:# )?{name} = ", SECTIONS[table], re.MULTILINE
    )
    assert above is not None
    return above[1]


def test_the_reference_file_is_a_valid_configuration():
    assert AuroraConfig.from_toml(CONFIG / "aurora.toml") == AuroraConfig(
        db_path="/var/lib/aurora/aurora.db"
    )


def test_the_reference_file_has_every_table_and_no_other():
    assert SECTIONS.keys() == TABLES.keys()


@pytest.mark.parametrize("table", TABLES)
def test_the_reference_file_has_every_key_and_no_other(table: str):
    assert documented(table).keys() == {name for of, name in FIELDS if of == table}


@pytest.mark.parametrize(("table", "name"), sorted(FIELDS.keys() - REQUIRED))
def test_each_key_stands_there_with_its_default(table: str, name: str):
    field = FIELDS[table, name]
    default = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    if default is None:
        assert re.search(rf"^# {name} = ", SECTIONS[table], re.MULTILINE)
        return
    plain = default.value if isinstance(default, Enum) else default
    assert documented(table)[name] == plain


@pytest.mark.parametrize(("table", "name"), sorted(FIELDS))
def test_each_key_is_preceded_by_its_effect(table: str, name: str):
    above = comment_above(table, name)
    assert len(above.split()) > 6
    assert above.rstrip().endswith(".")


@pytest.mark.parametrize(
    ("table", "name"),
    [key for key, field in FIELDS.items() if isinstance(field.default, Enum)],
)
def test_the_values_a_key_may_have_are_all_named(table: str, name: str):
    above = comment_above(table, name)
    for member in type(FIELDS[table, name].default):
        assert f'"{member.value}"' in above


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(CONFIG / "aurora-supervisor.service")
    return parser


def test_the_unit_waits_for_readiness_and_starts_the_reference_configuration(unit):
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["ExecStart"].endswith(
        "aurora-supervisor run --config /etc/aurora/aurora.toml"
    )


def test_the_unit_leaves_the_order_of_stopping_to_the_supervisor(unit):
    service = unit["Service"]
    assert (service["KillMode"], service["KillSignal"]) == ("mixed", "SIGTERM")
    grace_s = FIELDS["", "shutdown_grace_s"].default
    assert float(service["TimeoutStopSec"]) > 2 * grace_s


def test_the_unit_does_not_repeat_a_start_that_cannot_help(unit):
    prevented = {int(s) for s in unit["Service"]["RestartPreventExitStatus"].split()}
    assert prevented == {
        ExitStatus.USAGE,
        ExitStatus.ALREADY_RUNNING,
        ExitStatus.CONFIG,
    }


def test_the_units_state_directory_holds_the_reference_database(unit):
    assert unit["Service"]["StateDirectory"] == "aurora"
    assert str(documented()["db_path"]).startswith("/var/lib/aurora/")


def test_the_unit_reloads_by_the_signal_the_supervisor_knows(unit):
    assert unit["Service"]["ExecReload"].endswith("kill -HUP $MAINPID")


def test_the_container_runs_the_reference_configuration_and_stops_in_order():
    dockerfile = (CONFIG / "Dockerfile").read_text(encoding="utf-8")
    assert '["aurora-supervisor"]' in dockerfile
    assert "config/aurora.toml /etc/aurora/aurora.toml" in dockerfile
    assert "STOPSIGNAL SIGTERM" in dockerfile
    compose = (CONFIG / "compose.yaml").read_text(encoding="utf-8")
    assert "dockerfile: config/Dockerfile" in compose
    assert "data:/var/lib/aurora" in compose
