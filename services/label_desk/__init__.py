"""Questions about samples: who is asked, how long a lease lasts, and when the answers agree."""
