"""`python cli_client.py SOCKET ARGUMENTS` runs `gatehouse` in a fork: see `cli_forks`. It imports little."""

import array
import json
import os
import socket
import sys

with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
    connection.connect(sys.argv[1])
    request = {"arguments": sys.argv[2:], "environ": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109
    streams = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", range(3)))
    connection.sendmsg([json.dumps(request).encode()], [streams])
    sys.exit(connection.recv(1)[0])
