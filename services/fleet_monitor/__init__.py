"""Adds up the reports of vehicles by model and cohort, as the evidence for or against a rollout."""
