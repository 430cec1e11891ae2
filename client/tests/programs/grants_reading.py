"""Stands in for an agent that grants reading alone: usage: grants_reading.py DIRECTORY

Only an agent on Kubernetes knows who may read, and its own tests have it. This one speaks the attach protocol as
docs/src/attach-protocol.md has it, to show what a program and its library do with such a grant. Its region, `default/table`, is
all there, so nobody waits for a page; it counts in word 0 of the data.
"""

import array
import itertools
import mmap
import os
import socket
import struct
import sys
import threading

PAGE, SIZE = 4096, 1 << 20
HELLO, WELCOME, REFUSE, BIND, MAP, UNMAP, OK = range(1, 8)


def packet(kind, fields=b""):
    return struct.pack("<4sHH", b"PMSH", 1, kind) + fields


def serve(connection, file, device):
    while received := connection.recvmsg(4096, socket.CMSG_SPACE(64 * 4)):
        data, control, *_ = received
        for _, _, numbers in control:
            for number in array.array("i", numbers):
                os.close(number)
        if not data:
            return
        kind, = struct.unpack_from("<H", data, 6)
        if kind == HELLO:
            flags, length = struct.unpack_from("<II", data, 8)
            assert flags & 1, "this program does not know read-only attachments"
            name = data[16:16 + length].decode()
            if name.removeprefix("default/") == "table":
                fields = struct.pack("<QQIIQ", SIZE, PAGE, 1, 1, 7)
                socket.send_fds(connection, [packet(WELCOME, fields)], [file, device])
            else:
                reason = 7 if name == "forbidden" else 1
                text = f"{name} is not for you".encode()
                connection.send(packet(REFUSE, struct.pack("<II256s", reason, len(text), text)))
        else:
            assert kind in (BIND, MAP, UNMAP), kind
            connection.send(packet(OK))


def main(directory):
    path = f"{directory}/region-default.table"
    with open(path, "w+b") as writable:
        writable.truncate(PAGE + SIZE)
        memory = mmap.mmap(writable.fileno(), PAGE + SIZE)
    memory[:] = bytes(PAGE + SIZE)
    memory[-8:] = struct.pack("<Q", 4711)
    file, device = os.open(path, os.O_RDONLY), os.open("/dev/userfaultfd", os.O_RDWR)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"{directory}/agent.sock")
    listener.listen()

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, file, device), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print("granting", flush=True)
    words = memoryview(memory).cast("Q")
    for count in itertools.count():
        words[PAGE // 8] = count


main(sys.argv[1])
