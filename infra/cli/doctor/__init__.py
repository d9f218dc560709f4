"""`gatehouse doctor`: a deployment examined from end to end."""
