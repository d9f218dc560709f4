"""Clients of other authorization servers, read from their own exports."""
