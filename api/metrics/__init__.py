"""What the front door counts, what it reports of the whole when Prometheus asks, and where it does."""
