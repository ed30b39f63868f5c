"""Random worlds: a service, a relay and what happens, all drawn from a seed, and the promises."""
