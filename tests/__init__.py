"""The tests: promises of the whole code, journeys through the service, and each package alone."""
