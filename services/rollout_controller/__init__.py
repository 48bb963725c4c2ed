"""Takes a candidate through shadow and canary to every vehicle, or back, and tells everybody who subscribed."""
