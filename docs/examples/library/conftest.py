"""The settings of the applications under test."""

import os

os.environ["ISSUER"] = "https://issuer.example"
