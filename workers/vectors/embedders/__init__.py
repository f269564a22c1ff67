"""The models and services that embed texts; `choice` makes the one that is named."""
