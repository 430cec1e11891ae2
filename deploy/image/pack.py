#!/usr/bin/env python3
"""Packs files into a container image archive, without a container engine and without being root.

    pack.py OUTPUT.tar HOST/NAME:TAG --bin SRC[:DST] --file SRC:DST[:MODE] --tree PATH ... --entrypoint /bin/program

The archive is both an OCI image layout and what `docker save` writes: `docker load`, `ctr images import`,
`kind load image-archive`, podman and skopeo read it. The same input gives the same bytes: entries are sorted, owned
by root, and their time is SOURCE_DATE_EPOCH (or 1970).

Paths after --tree are those of the image and are looked up below --rootfs. A program there brings its interpreter and
shared libraries, found in its ELF headers and not by running it; so does each file of a directory, for plugins
have needs of their own. Symbolic links on the way are kept as links.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import re
import stat
import struct
import sys
import tarfile
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class Refused(Exception):
    """What the caller asked for cannot be packed; the message says what to do."""


@dataclass
class Elf:
    """What an ELF file asks the dynamic loader for."""

    interpreter: str | None = None
    needed: list[str] = field(default_factory=list)
    search: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Elf | None:
        """The needs of the 64-bit little-endian ELF file at `path`; None when it is no such file."""
        with path.open("rb") as file:
            if file.read(6) != b"\x7fELF\x02\x01":
                return None
            file.seek(0)
            image = file.read()
        try:
            return cls._parse(image)
        except (struct.error, IndexError, ValueError) as error:
            raise Refused(f"{path} is a broken ELF file ({error}); build it again") from error

    @classmethod
    def _parse(cls, image: bytes) -> Elf:
        table, = struct.unpack_from("<Q", image, 32)
        size, count = struct.unpack_from("<HH", image, 54)
        headers = [struct.unpack_from("<IIQQQQQQ", image, table + size * i) for i in range(count)]

        def text(offset: int) -> str:
            return image[offset:image.index(b"\0", offset)].decode()

        def file_offset(address: int) -> int:
            for kind, _, offset, start, _, length, _, _ in headers:
                if kind == 1 and start <= address < start + length:  # PT_LOAD
                    return address - start + offset
            raise ValueError(f"address {address:#x} is in no segment")

        elf, dynamic = cls(), []
        for kind, _, offset, _, _, length, _, _ in headers:
            if kind == 3:  # PT_INTERP
                elf.interpreter = text(offset)
            elif kind == 2:  # PT_DYNAMIC
                dynamic = list(struct.iter_unpack("<QQ", image[offset:offset + length // 16 * 16]))
        strings = next((file_offset(value) for tag, value in dynamic if tag == 5), 0)  # DT_STRTAB
        for tag, value in dynamic:
            if tag == 0:  # DT_NULL
                break
            if tag == 1:  # DT_NEEDED
                elf.needed.append(text(strings + value))
            elif tag in (15, 29):  # DT_RPATH, DT_RUNPATH
                elf.search += text(strings + value).split(":")
        return elf


class Layer:
    """The files of the image's own layer, by their path in it without the leading slash."""

    def __init__(self, rootfs: Path):
        self.rootfs = str(rootfs).rstrip("/")
        self.entries: dict[str, tuple[tarfile.TarInfo, Path | None]] = {}
        self.seen: set[str] = set()

    def put(self, path: str, kind: bytes, mode: int, source: Path | None = None, target: str = "") -> None:
        if not path.startswith("/") or ".." in path.split("/"):
            raise Refused(f"{path!r} is not a path in the image: write an absolute path without '..'")
        name = os.path.normpath(path).lstrip("/")
        if not name:
            return
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.linkname = kind, mode, target
        entry.mtime = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
        if source is not None:
            entry.size = source.stat().st_size
        self.entries[name] = entry, source

    def directory(self, path: str, mode: int) -> None:
        self.put(path, tarfile.DIRTYPE, mode)

    def link(self, path: str, target: str) -> None:
        self.put(path, tarfile.SYMTYPE, 0o777, target=target)

    def file(self, source: Path, path: str, mode: int) -> None:
        if not source.is_file():
            raise Refused(f"{source} is not a file: build it first, or mend the path")
        self.put(path, tarfile.REGTYPE, mode, source)

    def resolve(self, path: str) -> str:
        """Follows the links of `path` inside the root file system and packs each link met on the way."""
        done, rest, steps = "", path.strip("/").split("/"), 0
        while rest:
            step = rest.pop(0)
            done = os.path.normpath(f"{done}/{step}")
            on_disk = Path(f"{self.rootfs}{done}")
            if on_disk.is_symlink():
                steps += 1
                if steps > 40:
                    raise Refused(f"{path} in {self.rootfs or '/'} is a loop of symbolic links")
                target = os.readlink(on_disk)
                self.link(done, target)
                rest = target.strip("/").split("/") + rest
                done = "" if target.startswith("/") else os.path.dirname(done)
        return done

    def tree(self, path: str) -> None:
        """Packs what is at `path` of the root file system: a file with its libraries, or all below a directory."""
        place = self.resolve(path)
        source = Path(f"{self.rootfs}{place}")
        if source.is_dir():
            self.directory(place, stat.S_IMODE(source.stat().st_mode))
            for child in sorted(os.listdir(source)):
                below = source / child
                if below.is_symlink() and not below.exists():
                    self.link(f"{place}/{child}", os.readlink(below))
                else:
                    self.tree(f"{place}/{child}")
        elif source.is_file():
            if place in self.seen:
                return
            self.seen.add(place)
            self.file(source, place, stat.S_IMODE(source.stat().st_mode))
            self.needs(place, source)
        else:
            raise Refused(f"{path} is not in {self.rootfs or '/'}: install the package that has it, or mend the path")

    def needs(self, place: str, source: Path) -> None:
        elf = Elf.read(source)
        if elf is None:
            return
        if elf.interpreter:
            self.tree(elf.interpreter)
        for library in elf.needed:
            own = [part.replace("$ORIGIN", os.path.dirname(place)) for part in elf.search]
            for directory in own + self.library_directories():
                if os.path.exists(f"{self.rootfs}{directory}/{library}"):
                    self.tree(f"{directory}/{library}")
                    break
            else:
                raise Refused(f"{place} needs {library}, which is not in {self.rootfs or '/'}: install its package there")

    def library_directories(self) -> list[str]:
        """Where the loader of glibc looks without a configuration of its own."""
        found = []
        for base in ("/lib", "/usr/lib"):
            found += sorted(f"{base}/{path.name}" for path in Path(f"{self.rootfs}{base}").glob("*-linux-gnu"))
        return found + ["/lib", "/usr/lib", "/lib64", "/usr/lib64"]

    def write(self, path: Path) -> None:
        for name in list(self.entries):
            while "/" in name:
                name = os.path.dirname(name)
                if name not in self.entries:
                    self.directory(f"/{name}", 0o755)
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as layer:
            for name in sorted(self.entries):
                entry, source = self.entries[name]
                if source is None:
                    layer.addfile(entry)
                else:
                    with source.open("rb") as contents:
                        layer.addfile(entry, contents)


def digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def write_archive(output: Path, name: str, config: dict, layers: list[Path]) -> None:
    """Writes the layers and what describes them, as OCI and as Docker want it, over the same blobs."""
    blobs: dict[str, Path | bytes] = {}

    def blob(kind: str, contents: Path | bytes) -> dict:
        if isinstance(contents, Path):
            digest, size = digest_of(contents), contents.stat().st_size
        else:
            digest, size = hashlib.sha256(contents).hexdigest(), len(contents)
        blobs[f"blobs/sha256/{digest}"] = contents
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}

    def text(value: object) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    described = [blob(LAYER, layer) for layer in layers]
    config["rootfs"] = {"type": "layers", "diff_ids": [layer["digest"] for layer in described]}
    described_config = blob(CONFIG, text(config))
    manifest = blob(MANIFEST, text({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": described_config, "layers": described}))
    manifest["annotations"] = {
        "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1]}
    manifest["platform"] = {"architecture": config["architecture"], "os": config["os"]}

    def place(description: dict) -> str:
        return "blobs/" + description["digest"].replace(":", "/")

    files: dict[str, Path | bytes] = {
        **blobs,
        "oci-layout": text({"imageLayoutVersion": "1.0.0"}),
        "index.json": text({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]}),
        "manifest.json": text([{
            "Config": place(described_config), "RepoTags": [name], "Layers": [place(layer) for layer in described]}]),
    }
    with tarfile.open(output, "w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(files):
            contents, entry = files[path], tarfile.TarInfo(path)
            if isinstance(contents, Path):
                entry.size = contents.stat().st_size
                with contents.open("rb") as file:
                    archive.addfile(entry, file)
            else:
                entry.size = len(contents)
                archive.addfile(entry, io.BytesIO(contents))


def split(value: str, least: int, most: int, form: str) -> list[str]:
    parts = value.split(":")
    if not least <= len(parts) <= most or not all(parts):
        raise Refused(f"{value!r} should be written as {form}")
    return parts


def mode_of(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise Refused(f"{text!r} should be a mode in octal, such as 755") from None


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    some = {"action": "append", "default": []}
    words = {"action": "extend", "nargs": "+", "default": [], "metavar": "ARG"}
    parser.add_argument("output", type=Path, help="archive to write")
    parser.add_argument("name", metavar="HOST/NAME:TAG", help="HOST/NAME:TAG of the image")
    parser.add_argument("--bin", **some, metavar="SRC[:DST]", help="program, static or alone; by default to /usr/local/bin")
    parser.add_argument("--file", **some, metavar="SRC:DST[:MODE]", help="file; mode 644 unless told")
    parser.add_argument("--tree", **some, metavar="PATH", help="program with its libraries, or directory, of --rootfs")
    parser.add_argument("--rootfs", type=Path, default=Path("/"), metavar="DIR", help="where --tree looks; by default /")
    parser.add_argument("--link", **some, metavar="NEW:TARGET", help="symbolic link")
    parser.add_argument("--dir", **some, metavar="PATH:MODE", help="empty directory")
    parser.add_argument("--layer", **some, metavar="TAR", help="finished layer to put below the files named here")
    parser.add_argument("--entrypoint", **words, help="say --entrypoint=-x for words with a dash")
    parser.add_argument("--cmd", **words)
    parser.add_argument("--env", **some, metavar="K=V")
    parser.add_argument("--user", default="", metavar="UID:GID")
    parser.add_argument("--label", **some, metavar="K=V")
    parser.add_argument("--stop-signal", default="", metavar="SIGNAL")
    parser.add_argument("--architecture", default=ARCHITECTURES.get(platform.machine(), platform.machine()))
    return parser.parse_args()


def pack(asked: argparse.Namespace) -> None:
    if not re.fullmatch(r"([a-z0-9-]+\.)+[a-z0-9-]+(:\d+)?(/[a-z0-9._-]+)+:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", asked.name):
        raise Refused(f"{asked.name!r} should be HOST/NAME:TAG, such as pagemesh.io/agent:v1: without a host, "
                      "container engines do not agree on the image's full name")
    for pair in asked.env + asked.label:
        if "=" not in pair:
            raise Refused(f"{pair!r} should be written as KEY=VALUE")

    layer = Layer(asked.rootfs)
    for value in asked.bin:
        source, *place = split(value, 1, 2, "SRC or SRC:DST")
        layer.file(Path(source), place[0] if place else f"/usr/local/bin/{Path(source).name}", 0o755)
    for value in asked.tree:
        layer.tree(value)
    for value in asked.file:
        source, place, *mode = split(value, 2, 3, "SRC:DST or SRC:DST:MODE")
        layer.file(Path(source), place, mode_of(mode[0]) if mode else 0o644)
    for value in asked.link:
        layer.link(*split(value, 2, 2, "NEW:TARGET"))
    for value in asked.dir:
        place, mode = split(value, 2, 2, "PATH:MODE")
        layer.directory(place, mode_of(mode))

    created = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    settings = {
        "Entrypoint": asked.entrypoint, "Cmd": asked.cmd, "User": asked.user, "StopSignal": asked.stop_signal,
        "Env": [PATH] + asked.env, "Labels": dict(pair.split("=", 1) for pair in asked.label)}
    config = {
        "architecture": asked.architecture, "os": "linux", "created": rfc3339(created),
        "config": {key: value for key, value in settings.items() if value}}
    with tempfile.TemporaryDirectory(dir=asked.output.parent) as scratch:
        own = Path(scratch) / "layer.tar"
        layer.write(own)
        finished = Path(scratch) / "image.tar"
        write_archive(finished, asked.name, config, [*map(Path, asked.layer), own])
        finished.chmod(0o644)
        finished.replace(asked.output)  # nobody ever sees half an archive


def rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    try:
        pack(arguments())
    except (Refused, OSError) as error:
        sys.exit(f"pack.py: {error}")


if __name__ == "__main__":
    main()
