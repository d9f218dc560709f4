"""A server of several processes that answers with the process's id: `-m … <workers>`."""

import os
import sys
from pathlib import Path

from local.gateway.model import Request, Response
from local.http_server import Server
from local.log_output import print_whole_lines
from local.prefork import fork_workers, shares


class _ProcessId:
    def handle(self, request: Request) -> Response:
        """Print two parts of a line, and answer."""
        print(request.path, "." * 200)
        return Response(200, body=str(os.getpid()).encode())

    def too_large(self, request: Request) -> Response:
        raise NotImplementedError


def main() -> None:
    """Print the port and serve."""
    print_whole_lines(Path(os.devnull))
    workers = int(sys.argv[1])
    server = Server("127.0.0.1", 0)
    server.open(_ProcessId())
    share_of = shares(workers)

    def serve(own: int) -> None:
        server.share = share_of[own]
        server.serve_forever()

    fork_workers(workers, serve, lambda: os._exit(3))
    print(server.port)
    serve(0)


if __name__ == "__main__":
    main()
