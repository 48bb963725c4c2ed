"""Takes a candidate through shadow and canary to every vehicle, or rolls it back, and tells all subscribers."""
