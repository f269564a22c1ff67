"""Vectors: embedding texts, and collections that are searched by meaning, by words and by attributes."""
