"""The tests: promises of the whole house, journeys through it, and each room by itself."""
