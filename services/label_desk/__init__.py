"""Questions about samples: who is asked, how long they may take, and when the answers agree."""
