"""Who uses the console: login, sessions, and what stands in front of every request."""
