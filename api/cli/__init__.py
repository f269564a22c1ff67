"""The command `backline`."""
