"""Storage in AWS: its errors, in no terms of OAuth, HTTP or boto3."""
