"""Stands between a device and a server and counts what passes of the device's own conversation.

Usage: count_bytes.py HOST:PORT FILE. FILE gets its port, then the bytes up and down so far, always the same width: read
it at any time. Requests of operators pass too and are not counted.
"""

import os
import socket
import sys
import threading

COUNTED = (b"POST /v1/sync", b"GET /v1/live", b"POST /v1/token")
host, port = sys.argv[1].rsplit(":", 1)
counts, lock = [0, 0], threading.Lock()
out = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT | os.O_TRUNC)


def write():
    os.pwrite(out, b"%06d %015d %015d\n" % (listener.getsockname()[1], *counts), 0)


def pump(source, target, way, is_counted):
    try:
        while chunk := source.recv(65536):
            if way == 0 and is_counted[0] is None:
                is_counted[0] = chunk.startswith(COUNTED)
            if is_counted[0]:
                with lock:
                    counts[way] += len(chunk)
                    write()
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        target.close()


listener = socket.create_server(("127.0.0.1", 0))
write()
while True:
    device, _ = listener.accept()
    try:
        server = socket.create_connection((host, int(port)))
    except OSError:
        device.close()
        continue
    is_counted = [None]
    for way, (source, target) in enumerate([(device, server), (server, device)]):
        threading.Thread(target=pump, args=(source, target, way, is_counted), daemon=True).start()
