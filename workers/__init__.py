"""The heavy side of Backline: processes that decode, analyse and write."""
