"""A simulated town with stop signs and their rare forms, drivers with habits, and a map that is out of date."""
