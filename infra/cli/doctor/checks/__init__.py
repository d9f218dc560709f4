"""What `gatehouse doctor` looks at. Each check is a function from a deployment to findings."""
