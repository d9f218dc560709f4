"""The authorization server's Lambda functions, and the guarded API behind it."""

import gc
import os

if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    gc.disable()  # until the end of the initialization: imports create no garbage, and collecting takes a tenth of them
