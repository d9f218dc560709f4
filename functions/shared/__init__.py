"""Code that two or more Lambda functions of the authorization server share."""
