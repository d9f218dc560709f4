"""GET /country/code/{code} and GET /country: the guarded API."""
