"""Three pages for people: the loop, its triggers, and labelling. It owns no data and only asks other services."""
