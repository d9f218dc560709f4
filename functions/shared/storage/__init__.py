"""Storage in AWS: its errors, the state table, and items of DynamoDB."""
