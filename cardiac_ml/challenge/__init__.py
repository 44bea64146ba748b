"""A challenge of one's own: hearts to hand out, submissions, scores, a board."""
