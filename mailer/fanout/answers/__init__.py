"""What the relay's answers mean: to a recipient, a release, the send rate, and as a whole."""
