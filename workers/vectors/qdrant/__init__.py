"""The engine for what one machine can't hold: collections on a Qdrant server, asked over HTTP."""
