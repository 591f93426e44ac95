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

from aurora_actors.config import AuroraConfig

CONFIG = Path(__file__).parents[3] / "config"
REFERENCE = (CONFIG / "aurora.toml").read_text(encoding="utf-8")
FIELDS = {field.name: field for field in msgspec.structs.fields(AuroraConfig)}


def documented() -> dict[str, object]:
    """Every key of the reference file, those that are commented out included."""
    keys = re.compile(r"^# (?=[a-z_]+ = \S+$)", re.MULTILINE)
    return tomllib.loads(keys.sub("", REFERENCE))


def test_the_reference_file_is_a_valid_configuration():
    assert AuroraConfig.from_toml(CONFIG / "aurora.toml") == AuroraConfig(
        db_path="/var/lib/aurora/aurora.db"
    )


def test_the_reference_file_has_every_key_and_no_other():
    assert documented().keys() == FIELDS.keys()


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - {"db_path"}))
def test_each_key_stands_there_with_its_default(name: str):
    default = FIELDS[name].default
    if default is None:
        assert re.search(rf"^# {name} = ", REFERENCE, re.MULTILINE)
        return
    plain = default.value if isinstance(default, Enum) else default
    assert documented()[name] == plain


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_each_key_is_preceded_by_its_effect(name: str):
    above = re.search(
        rf"((?:^# .*\n)+)(?:# )?^(?:# )?{name} = ", REFERENCE, re.MULTILINE
    )
    assert above is not None
    assert len(above[1].split()) > 6
    assert above[1].rstrip().endswith(".")


@pytest.mark.parametrize(
    "name", [name for name, field in FIELDS.items() if isinstance(field.default, Enum)]
)
def test_the_values_a_key_may_have_are_all_named(name: str):
    above = re.search(rf"((?:^# .*\n)+)^{name} = ", REFERENCE, re.MULTILINE)
    assert above is not None
    for member in type(FIELDS[name].default):
        assert f'"{member.value}"' in above[1]


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
    grace_s = FIELDS["shutdown_grace_s"].default
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
