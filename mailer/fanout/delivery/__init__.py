"""Delivery to the relay: connections, what fills them, and the leases on what is being sent."""
