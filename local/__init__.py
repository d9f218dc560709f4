"""The laptop edition: every service on this machine, on moto instead of AWS."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".gatehouse"
"""Logs, keys and certificates of the laptop edition."""
