"""Adapters of the library to frameworks. Each imports its framework, and nothing else imports it."""
