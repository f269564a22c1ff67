"""Taste: what people like, what goes together, and how to put it in an order."""
