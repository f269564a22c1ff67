"""Indexing: from what is stored to what is searched."""
