"""Decides when a dataset is worth a training run, runs it, and says how the examination went."""
