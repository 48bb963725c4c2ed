"""A small town with stop signs, their long tail, drivers with habits and a map that is out of date."""
