"""What may happen: signing up, leaving, bringing followers, publishing, accounting."""
