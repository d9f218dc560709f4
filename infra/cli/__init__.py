"""`gatehouse`, the command line for operators.

A room is a group of commands (`clients`, `keys`, `tokens`, `backup`, `doctor`) or what all of them
stand on (`terminal`, `deployment`). `app.py` names the commands, and `session.py` is what each of
them is handed. Imports go down only; import-linter has the floors.
"""
