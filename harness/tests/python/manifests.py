"""Holds manifests on standard input against the schemas of Kubernetes' API, strictly: a member that is not known is an
error. Resources of operators are held against custom_resources.json. Prints how many are valid.

The arguments are the versions of Kubernetes."""

import json
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml

OPERATORS = json.loads((pathlib.Path(__file__).parent / "custom_resources.json").read_text())

faults = []
manifests = [manifest for manifest in yaml.safe_load_all(sys.stdin) if manifest]
for manifest in manifests:
    name = f"{manifest['kind']} {manifest['metadata']['name']}"
    schema = OPERATORS.get(f"{manifest['apiVersion']}/{manifest['kind']}")
    if schema:
        validator = jsonschema.Draft202012Validator({**schema, "$defs": OPERATORS["$defs"]})
        faults += [f"{name}: {fault.json_path}: {fault.message}" for fault in validator.iter_errors(manifest)]
        continue
    for version in sys.argv[1:]:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as fault:
            path = ".".join(str(part) for part in fault.path)
            faults.append(f"{name} in {version}: {path}: {fault.message}")
        except kubernetes_validate.SchemaNotFoundError:
            faults.append(f"{name}: {version} has no such resource as {manifest['apiVersion']} {manifest['kind']}")
if faults:
    sys.exit("\n".join(faults))
print(len(manifests))
