#!/bin/sh
# document.sh: makes again what documents show of a running Lablet, some thirty minutes: the output of the pages that lead
# through it, pictures of pages, and the answers of the notebook. What code and database say of themselves is written by
# UPDATE_SNAPSHOTS=1 make test.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

echo "document: outputs and pictures"
UPDATE_WALKS=1 $cargo test --locked -p harness --test it -- journeys::demo pages::demo pages::advice pages::own_lab pages::samples
while read -r picture taken; do
    cp "target/screenshots/$taken.png" "docs/$picture.png"
done <<END
overview overview-desktop-dark
overview-phone overview-phone-light
sizing sizing-desktop-light
session session-usage-desktop-light
definition definition-advice-desktop-light
review definition-review-desktop-light
advice advice-desktop-light
END

echo "document: pictures of the dashboards"
scripts/dashboards.sh

# With a palette they weigh a third and show the same.
target/python-pictures/bin/python - docs/overview.png docs/overview-phone.png docs/sizing.png docs/session.png \
    docs/definition.png docs/review.png docs/advice.png <<'END'
import sys
from PIL import Image
for picture in sys.argv[1:]:
    Image.open(picture).convert("RGB").quantize(192, dither=Image.Dither.NONE).save(picture, optimize=True)
END

echo "document: a demonstration runs for a quarter of an hour, for the notebook"
scripts/site.sh
$cargo build --locked -p cli --bin lablet
folder=$(mktemp -d)
target/debug/lablet up --demo --http 127.0.0.1:0 --data-dir "$folder/data" >"$folder/log" 2>&1 &
lablet=$!
trap 'kill "$lablet"; wait "$lablet" || true; rm -rf "$folder"' EXIT
sleep 900
. "$folder/data/environment"
target/python-documents/bin/python harness/tests/python/notebook.py docs/analysis.ipynb "$LABLET_ANALYST_DATABASE_URL" --write >"$folder/answers"
echo "document: done; look at the difference before it is committed"
