"""The Lambda authorizer: bearer token in, IAM policy out."""
