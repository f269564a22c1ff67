"""Keeping what MongoDB holds, and bringing it back."""
