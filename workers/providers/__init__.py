"""Asking others: politely, in common with all workers, and prepared for their being down."""
