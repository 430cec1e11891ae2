"""multiprocessing.shared_memory, unmodified, in a region: usage: shareable_list.py REGION"""

import os
import subprocess
import sys
from multiprocessing import resource_tracker, shared_memory

name = sys.argv[1]
values = [7, -3.5, "word", b"bytes", None, True, "long" * 10]

if len(sys.argv) > 2:  # A second process, made by exec.
    other = shared_memory.ShareableList(name=name)
    # Python before 3.13 has a process that would unlink it, some time after this one has ended.
    resource_tracker.unregister(other.shm._name, "shared_memory")
    assert list(other)[:6] == values[:6], list(other)
    other[0] = 8
    other.shm.close()
    sys.exit(0)

first = shared_memory.ShareableList(values, name=name)  # The name is free when this program starts.
try:
    shared_memory.SharedMemory(name=name, create=True, size=100)
    raise SystemExit("the name was given twice")
except FileExistsError:
    pass

second = shared_memory.ShareableList(name=name)
assert list(second) == values, list(second)
second[2] = "none"
assert first[2] == "none"
second[2] = "word"

# A child by fork finds it where it was; its exit must not disturb anybody.
child = os.fork()
if child == 0:
    first[1] = 2.25
    os._exit(0 if first[3] == b"bytes" else 1)
assert os.waitpid(child, 0)[1] == 0
assert second[1] == 2.25
second[1] = -3.5

subprocess.run([sys.executable, __file__, name, "again"], check=True, close_fds=True)
assert first[0] == 8

size = first.shm.size
second.shm.close()
first.shm.close()
plain = shared_memory.SharedMemory(name=name)
assert plain.size >= size, (plain.size, size)
plain.buf[100] = 42
plain.close()
again = shared_memory.SharedMemory(name=name)
assert again.buf[100] == 42
again.close()
again.unlink()

# Not a region: as ever.
local = shared_memory.SharedMemory(create=True, size=10)
assert os.path.exists("/dev/shm/" + local.name)
local.close()
local.unlink()
