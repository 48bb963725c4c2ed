"""Two pages for people: the loop as it runs, and a place to label. It owns nothing and only asks the services."""
