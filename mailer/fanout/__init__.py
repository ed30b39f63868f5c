"""Fan-out: from one release to every follower, whatever dies on the way."""
