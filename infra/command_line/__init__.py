"""`gatehouse`, the command line for operators."""
