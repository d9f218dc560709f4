"""The console: a page that shows how the laptop edition works, and injects faults into it.

It is part of the laptop edition only and is never deployed.
"""
