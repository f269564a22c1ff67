"""Trained models: gathering their files when the environment is made, finding and opening them when work is done."""
