#!/usr/bin/env python3
"""Writes the schemas by which kubeconform checks manifests, without a network and without a cluster.

    schemas.py kubernetes OPENAPI_DIR OUT_DIR    all kinds of Kubernetes, out of the OpenAPI files of its source
    schemas.py definitions OUT_DIR CRD.yaml...   the kinds that CustomResourceDefinitions define
    schemas.py field FILE.yaml KEY...            prints the text at these keys of an object: a file inside a ConfigMap

OUT_DIR gets a file GROUP_VERSION_KIND.json for each kind, in lower case. Fields that a schema does not name are refused,
as the API server refuses them under strict validation. Rules in CEL are the API server's alone.

Standard library only. It has no YAML, so helm, which must be in PATH, turns that into JSON.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REFERENCE = "#/components/schemas/"
KINDS = "x-kubernetes-group-version-kind"
# `helm template` prints what this makes of the files beside it.
TO_JSON = """{{- $items := list }}
{{- range $path, $_ := .Files.Glob "files/*" }}{{ $items = append $items ($.Files.Get $path | fromYaml) }}{{ end }}
{{- dict "apiVersion" "v1" "kind" "List" "items" $items | toJson }}"""


def objects(paths):
    """The objects in YAML files of one each."""
    with tempfile.TemporaryDirectory() as scratch:
        chart = Path(scratch)
        (chart / "templates").mkdir()
        (chart / "files").mkdir()
        (chart / "Chart.yaml").write_text("{apiVersion: v2, name: to-json, version: 0.0.0}")
        (chart / "templates" / "list.yaml").write_text(TO_JSON)
        for number, path in enumerate(paths):
            shutil.copyfile(path, chart / "files" / f"{number:04}")
        printed = subprocess.run(["helm", "template", scratch], check=True, capture_output=True, text=True).stdout
    found = json.loads(next(line for line in printed.splitlines() if line.startswith("{")))["items"]
    for path, value in zip(paths, found, strict=True):
        if "Error" in value:
            sys.exit(f"{path}: {value['Error']}")
    return found


def parts(schema):
    """The schemas inside a schema, each with the dictionary or list that has it and its key there."""
    for key in ("properties", "patternProperties"):
        yield from ((schema[key], name) for name in schema.get(key, {}))
    for key in ("allOf", "anyOf", "oneOf"):
        yield from ((schema[key], index) for index in range(len(schema.get(key, []))))
    for key in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(key), dict):
            yield schema, key


def make_strict(schema):
    """Makes a schema refuse what it does not name, and says in JSON schema what only Kubernetes writes otherwise."""
    for holder, key in parts(schema):
        make_strict(holder[key])
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
        schema.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    if schema.pop("nullable", False) and "type" in schema:
        schema["type"] = [schema["type"], "null"]


def references(schema):
    if "$ref" in schema:
        yield schema["$ref"].removeprefix(REFERENCE)
    for holder, key in parts(schema):
        yield from references(holder[key])


def closure(name, schemas):
    """The schemas that one of them refers to, itself included."""
    found, ahead = {}, [name]
    while ahead:
        name = ahead.pop()
        if name not in found:
            found[name] = schemas[name]
            ahead += references(schemas[name])
    return found


def write(out, group, version, kind, schema):
    (out / f"{group}_{version}_{kind}.json".lower()).write_text(json.dumps(schema, sort_keys=True))


def kubernetes(openapi, out):
    files = sorted(openapi.glob("api*__v*_openapi.json"))
    if not files:
        sys.exit(f"{openapi} has no OpenAPI files: it should be api/openapi-spec/v3 of the source of Kubernetes")
    for file in files:
        schemas = json.loads(file.read_text())["components"]["schemas"]
        for schema in schemas.values():
            make_strict(schema)
        for name, schema in schemas.items():
            # What belongs to many groups, such as DeleteOptions, is no kind of an object in a file.
            if len(schema.get(KINDS, [])) == 1:
                kind, = schema[KINDS]
                referred = {"components": {"schemas": closure(name, schemas)}, "$ref": REFERENCE + name}
                # kubeconform takes the core group to be called as its version is.
                write(out, kind["group"] or kind["version"], kind["version"], kind["kind"], referred)


def definitions(out, paths):
    for crd in objects(paths):
        for version in crd["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            make_strict(schema)
            schema["properties"] |= {
                "apiVersion": {"const": f'{crd["spec"]["group"]}/{version["name"]}'},
                "kind": {"const": crd["spec"]["names"]["kind"]}, "metadata": {"type": "object"}}
            write(out, crd["spec"]["group"], version["name"], crd["spec"]["names"]["kind"], schema)


def main():
    match sys.argv[1:]:
        case ["kubernetes", openapi, out]:
            kubernetes(Path(openapi), Path(out))
        case ["definitions", out, *paths] if paths:
            definitions(Path(out), paths)
        case ["field", path, *keys] if keys:
            value, = objects([path])
            for key in keys:
                value = value[key]
            print(value)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
