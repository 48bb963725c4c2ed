"""Decides when a dataset is worth a training run, runs it, and announces the result of its examination."""
