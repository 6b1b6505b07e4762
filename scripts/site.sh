#!/bin/sh
# site.sh: builds the site of the documents into target/site/html. Every warning is an error.
set -eu
cd "$(dirname "$0")/.."
folder=target/site
if ! [ -e "$folder/venv/complete" ] || ! cmp -s docs/requirements.txt "$folder/venv/complete"; then
    echo "site: installing what docs/requirements.txt names into $folder/venv"
    python3 -m venv --clear "$folder/venv"
    "$folder/venv/bin/pip" install --quiet -r docs/requirements.txt
    cp docs/requirements.txt "$folder/venv/complete"
fi
"$folder/venv/bin/sphinx-build" -q -W --keep-going -c docs -d "$folder/doctrees" . "$folder/html"
echo "site: $folder/html/index.html"
