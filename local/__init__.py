"""The laptop edition: API Gateway, Lambda and AWS, played by this machine."""
