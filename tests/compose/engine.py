"""Whether there is a container engine."""

from __future__ import annotations

import shutil
import subprocess


def missing(*, image: str | None = None) -> str | None:
    """Return what is missing to run containers here, or None: Docker, an engine that answers, perhaps an image."""
    docker = shutil.which("docker")
    if docker is None:
        return "no Docker is to be had here"
    if not _works(docker, "info"):
        return "no container engine answers"
    if image is not None and not _works(docker, "image", "inspect", image):
        return f"there is no image {image}: make acceptance-compose builds it"
    return None


def has_compose() -> bool:
    """Say whether Docker has compose."""
    docker = shutil.which("docker")
    return docker is not None and _works(docker, "compose", "version")


def _works(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
