"""Regions as files, in unmodified Python: usage: files.py REGION"""

import mmap
import os
import sys
from multiprocessing import shared_memory

name = sys.argv[1]
for path in f"/dev/shm/{name}", f"/pagemesh/{name}":
    with open(path, "r+b") as file:
        assert file.seekable() and file.tell() == 0
        size = file.seek(0, os.SEEK_END)
        assert size == file.tell() == os.path.getsize(path) == os.fstat(file.fileno()).st_size, size
        file.seek(0)
        with mmap.mmap(file.fileno(), 0) as memory:
            assert len(memory) == memory.size() == size
            memory[100:104] = b"mine"
            memory.flush()
            # The other way to open one, and to read only.
            descriptor = os.open(path, os.O_RDONLY)
            with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as seen:
                os.close(descriptor)
                assert seen[100:104] == b"mine"
            with open(path, "rb") as reader, mmap.mmap(reader.fileno(), 0, access=mmap.ACCESS_READ) as seen:
                memory[100] = ord("M")
                assert seen[100:104] == b"Mine"
            attached = shared_memory.SharedMemory(name=name)
            assert bytes(attached.buf[100:104]) == b"Mine"
            attached.close()
            child = os.fork()
            if child == 0:
                memory[101] = ord("I")
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert memory[100:104] == b"MIne"

    assert os.path.exists(path) and os.access(path, os.R_OK | os.W_OK) and not os.access(path, os.X_OK)
    try:
        with open(path, "rb", buffering=0) as file:
            file.read(1)
        raise SystemExit("what was read did not come from memory that is shared")
    except OSError as error:
        assert error.errno == 9, error

try:
    open(f"/pagemesh/{name}-not", "rb")
    raise SystemExit("there is no such region")
except FileNotFoundError:
    pass
# Not a region: as ever.
with open(f"/dev/shm/pagemesh-files-{os.getpid()}", "x+b") as file:
    file.write(b"local")
    file.seek(0)
    assert file.read() == b"local"
    os.unlink(file.name)
