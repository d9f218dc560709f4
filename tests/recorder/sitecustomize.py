"""Makes a process that tests start record its calls: Python imports this module when it starts."""

import os

import aws_call_recorder  # type: ignore[import-not-found] # it is next to this file

if aws_call_recorder.FOLDER in os.environ:
    aws_call_recorder.listen()
