"""Number of the cases, fixed in the test suite; the report of a campaign."""

import os

import pytest
from _contract import CASES, REPORT
from hypothesis import HealthCheck, Phase, settings

COMMON = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
settings.register_profile("contract", max_examples=300, derandomize=True, **COMMON)
if CASES in os.environ:
    settings.register_profile(
        "campaign",
        max_examples=int(os.environ[CASES]),
        phases=(Phase.explicit, Phase.generate),
        **COMMON,
    )
settings.load_profile("campaign" if CASES in os.environ else "contract")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "contract":
            item.add_marker(pytest.mark.contract)


def pytest_terminal_summary(terminalreporter):
    if CASES in os.environ:
        terminalreporter.section("contract")
        for line in REPORT.lines():
            terminalreporter.write_line(line)


def pytest_sessionfinish(session):
    if REPORT.failures and not session.exitstatus:
        session.exitstatus = 1
