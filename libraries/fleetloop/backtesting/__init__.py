"""What triggers would have fired on the archive, what that would have cost, and what of it is new."""
