"""Keeps datasets the way source code is kept: versions with a parent, a diff and a reason, and nothing twice."""
