#!/usr/bin/env python3
"""Prints what a server said on captured connections, after decompression: for proofs that search in it.

Each argument is a file of one connection's bytes towards the device (`omctl device simulate --capture`). Understands HTTP
answers and, behind a 101, WebSocket messages (RFC 6455): text as it is, binary ones unpacked by the zstd tool. A
connection that was cut ends with a message that is not whole: what came of a text is printed, of a packed one nothing can
be read by anybody.
"""

import subprocess
import sys


def messages(data):
    """Opcode and payload of each message; servers do not mask, and ours do not fragment."""
    at = 0
    while at + 2 <= len(data):
        opcode, length = data[at] & 0x0F, data[at + 1] & 0x7F
        if data[at + 1] & 0x80:
            sys.exit("a server's frame is masked: this is no capture")
        at += 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        yield opcode, data[at : at + length], at + length <= len(data)
        at += length


def main():
    out = sys.stdout.buffer
    packed = []
    for path in sys.argv[1:]:
        data = open(path, "rb").read()
        head, end, rest = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            out.write(data + b"\n")
            continue
        for opcode, payload, whole in messages(rest):
            if opcode == 1:
                out.write(payload + b"\n")
            elif opcode == 2 and whole:
                packed.append(payload)
    if packed:
        # Frames of zstd may stand one after the other.
        unpacked = subprocess.run(["zstd", "-dcq"], input=b"".join(packed), stdout=subprocess.PIPE, check=True)
        out.write(unpacked.stdout)


main()
