"""Gather the model files of all that uses any: `python -m workers.models [--to FOLDER]`."""

import argparse
import sys
from pathlib import Path

from workers.audio.neural.recipes import RECIPES as LISTENING
from workers.models.build import BuildError, build, missing
from workers.models.runtime import models_folder
from workers.vectors.recipes import RECIPES as EMBEDDING

RECIPES = (*LISTENING, *EMBEDDING)


def main(arguments: list[str] | None = None) -> int:
    """Build all models; return 1 with a line on standard error where one cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m workers.models", description="Gather the model files.")
    parser.add_argument("--to", type=Path, default=None, metavar="FOLDER", help="default: where the work looks")
    parser.add_argument("--check", action="store_true", help="make nothing; end with 1 where one is missing")
    options = parser.parse_args(arguments)
    folder = options.to or models_folder()
    if options.check:
        lacking = missing(folder, RECIPES)
        sys.stdout.write("".join(f"{name}: missing or outdated in {folder}\n" for name in lacking))
        return 1 if lacking else 0
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
