"""Backtests: which firings triggers would have made on the archive, at which cost, and how many of them are new."""
