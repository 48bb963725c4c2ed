"""Manages campaigns and their triggers, and counts the outcome of every firing."""
