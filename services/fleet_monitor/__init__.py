"""Adds up what vehicles report of their models, by model and cohort, so that a rollout can be judged."""
