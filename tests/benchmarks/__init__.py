"""What the service costs: speed, processor time, memory and latency, measured side by side.

`make bench` runs every part and writes docs/performance.md; no figure is asserted anywhere.
"""
