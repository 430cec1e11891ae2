#!/usr/bin/env python3
"""Compares two container image archives: what their files are and how they run.

    compare.py ONE.tar OTHER.tar

Both are of the kind that `docker save` and pack.py write. Times, the division into layers and the builder's own notes are
left out, for they say when and by what an image was made, not what is in it. Each difference is a line; exits with 1 if
there is one.
"""

import hashlib
import json
import sys
import tarfile

SETTINGS = ("Entrypoint", "Cmd", "User", "WorkingDir", "Env", "Labels", "StopSignal", "ExposedPorts", "Volumes")


def described(path):
    """What is in the image: a dictionary from a word for each thing to what it is."""
    with tarfile.open(path) as archive:
        manifest, = json.load(archive.extractfile("manifest.json"))
        config = json.load(archive.extractfile(manifest["Config"]))
        found = {f"setting {name}": config["config"].get(name) or None for name in SETTINGS}
        found["setting WorkingDir"] = config["config"].get("WorkingDir") or "/"
        found["architecture"] = f'{config["os"]}/{config["architecture"]}'
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=archive.extractfile(name)) as layer:
                for entry in layer:
                    found[f'file /{entry.name.removeprefix("./").strip("/")}'] = described_entry(layer, entry)
    return found


def described_entry(layer, entry):
    kind = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link"}.get(entry.type, "special file")
    contents = entry.linkname
    if entry.isfile():
        contents = hashlib.sha256(layer.extractfile(entry).read()).hexdigest()
    return f"{kind}, mode {entry.mode & 0o7777:o}, owner {entry.uid}:{entry.gid}, contents {contents}"


def main():
    paths = sys.argv[1:]
    if len(paths) != 2:
        sys.exit(__doc__)
    one, other = map(described, paths)
    differences = [what for what in sorted(one | other) if one.get(what) != other.get(what)]
    for what in differences:
        print(f"{what}:\n  {one.get(what)} in {paths[0]}\n  {other.get(what)} in {paths[1]}")
    if differences:
        sys.exit(f"{len(differences)} differences: change the Dockerfile or deploy/image/build until there is none")


if __name__ == "__main__":
    main()
