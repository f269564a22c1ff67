"""The protocol's own suite and the inspector find nothing wrong that is not known; only where they are installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conformance import packages
from tests.machine import ROOT


@pytest.mark.timeout(600)
@pytest.mark.skipif(not packages.are_installed(), reason="`make conformance` installs the suite, with npm")
def test_nothing_fails_that_should_not() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Nothing failed that should not." in done.stdout
