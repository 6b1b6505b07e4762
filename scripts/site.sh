#!/bin/sh
# site.sh: builds the site of the documents into target/site/html. Every warning is an error.
set -eu
cd "$(dirname "$0")/.."
folder=target/site
# That of the tests (harness/src/python.rs), which is a few hundred megabytes.
venv=target/python-documents
packages=$(cat docs/requirements.txt)
if [ "$(cat "$venv/complete" 2>/dev/null)" != "$packages" ]; then
    echo "site: installing what docs/requirements.txt names into $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet -r docs/requirements.txt
    printf %s "$packages" >"$venv/complete"
fi
"$venv/bin/sphinx-build" -q -W --keep-going -c docs -d "$folder/doctrees" . "$folder/html"
echo "site: $folder/html/index.html"
