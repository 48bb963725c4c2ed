"""Worlds that stand in for real fleets: a simulated town, and recorded drives. A library; it imports no service."""
