"""The HTML of a release: what it may cost, what of it is kept, and how a letter shows it."""
