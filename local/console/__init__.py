"""The console: a page on which a person watches the laptop edition work, and breaks it on purpose.

It runs beside the laptop edition only. Nothing of it is deployed.
"""
