"""Decides what becomes of every firing: it is dropped with a reason, or its clip becomes a label task."""
