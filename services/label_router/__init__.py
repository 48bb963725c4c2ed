"""Decides what becomes of every firing: dropped with a reason, or a clip that becomes a question for somebody."""
