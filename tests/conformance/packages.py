"""The suite, the inspector and a Node.js that runs both, installed as the lock says into a folder that git ignores."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from tests.machine import ROOT

SOURCE = Path(__file__).parent / "npm"
FOLDER = ROOT / "build" / "conformance"
NAMES = ("package.json", "package-lock.json")
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error")


class NotInstalled(Exception):
    """The packages are not there, and can't be had."""


def are_installed() -> bool:
    """Whether the packages of the present lock are there."""
    return _stamp().is_file()


def install() -> None:
    """Install the packages unless they are there. Raises `NotInstalled`."""
    if are_installed():
        return
    if shutil.which("npm") is None:
        raise NotInstalled("npm is not on the PATH.")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(SOURCE / name, FOLDER)
    done = subprocess.run(INSTALL, cwd=FOLDER, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotInstalled(f"npm could not install the packages: {done.stderr.strip()[-2000:]}")
    _stamp().touch()


def environment(home: Path) -> Mapping[str, str]:
    """Return the environment in which the packages' programs run: our Node.js first, and a home of their own."""
    modules = FOLDER / "node_modules"
    nodes = sorted(modules.glob("node-*/bin"))  # the one for this platform
    path = os.pathsep.join([*map(str, nodes), str(modules / ".bin"), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "HOME": str(home), "NO_COLOR": "1"}


def _stamp() -> Path:
    digest = sha256(b"".join((SOURCE / name).read_bytes() for name in NAMES)).hexdigest()[:16]
    return FOLDER / f"installed-{digest}"
