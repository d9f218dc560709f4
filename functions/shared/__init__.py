"""What two or more Lambda functions of the authorization server need."""
