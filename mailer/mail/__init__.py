"""Mail as plain values: letters, the messages they become, and the way to the relay."""
