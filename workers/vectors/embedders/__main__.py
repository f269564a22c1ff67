"""Fetches the files of a model, once, so that no request ever waits for them: the argument names the embedder."""

import sys

from workers.vectors.embedders.choice import embedder_of

made = embedder_of(sys.argv[1], may_fetch=True)
sys.stdout.write(f"{made.id}: {made.dimensions} dimensions\n")
