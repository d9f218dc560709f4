"""The Lambda runtime of a function, and wildcard patterns."""
