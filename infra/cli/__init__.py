"""`gatehouse`, the command line for operators.

`app` names the commands. Each command gets a `context`, which gives access to the deployment.
"""
