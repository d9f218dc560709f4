"""The token endpoint as a process of its own: reads events from standard input, prints statuses."""

import json
import sys

from functions.issue_token.handler import handle

for line in sys.stdin:
    answer = handle(json.loads(line), None)
    # The audit log is on standard output, too.
    sys.stdout.write(f"status {answer['statusCode']}\n")
    sys.stdout.flush()
