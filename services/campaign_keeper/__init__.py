"""Owns campaigns and their triggers, and knows what became of every firing."""
