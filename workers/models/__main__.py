"""Gather the model files of all that uses any: `python -m workers.models [--to FOLDER]`."""

import argparse
import sys
from pathlib import Path

from workers.audio.neural.recipes import RECIPES as LISTENING
from workers.models.build import BuildError, build
from workers.models.runtime import models_folder
from workers.vectors.recipes import RECIPES as EMBEDDING

RECIPES = (*LISTENING, *EMBEDDING)


def main(arguments: list[str] | None = None) -> int:
    """Build all models; return 1 with a line on standard error where one cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m workers.models", description="Gather the model files.")
    parser.add_argument("--to", type=Path, default=None, metavar="FOLDER", help="default: where the work looks")
    folder = parser.parse_args(arguments).to or models_folder()
    try:
        for line in build(folder, RECIPES):
            sys.stdout.write(f"{line}\n")
        sys.stdout.write(f"models in {folder}\n")
    except (BuildError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
