"""The checks of `gatehouse doctor`. Each is a function from a deployment to findings."""
