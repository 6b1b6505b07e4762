#!/bin/sh
# dashboards.sh: makes the pictures of the dashboards, docs/dashboard-*.png, some ten minutes: a demonstration runs with a
# webhook, Prometheus scrapes it, and what the queries of monitoring/grafana give is drawn by scripts/dashboard_picture.py.
# Grafana itself is in no package registry. Needs what scripts/setup.sh brings for tests, and psql.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
# How long it runs before it is drawn.
minutes=${1:-8}
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome)

venv=target/python-pictures
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet pillow==13.0.0
$cargo build --locked -p cli --bin lablet
folder=$(mktemp -d)
processes=
trap 'kill $processes 2>/dev/null || true; wait || true; rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM

# A target of webhooks that takes everything, so that there are deliveries to see.
python3 -c '
import http.server, sys
class Target(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Target)
print(server.server_port, file=open(sys.argv[1], "w"), flush=True)
server.serve_forever()
' "$folder/port" &
processes="$processes $!"
until [ -s "$folder/port" ]; do sleep 1; done
(
    umask 077
    echo "whsec_$(openssl rand -base64 32)" >"$folder/booking.secret"
)
cat >"$folder/webhooks.toml" <<TARGET
[booking]
url = "http://127.0.0.1:$(cat "$folder/port")/hooks"
secret_files = ["booking.secret"]
allow = ["127.0.0.1"]
allow_http = true
handshake = false
TARGET

LABLET_WEBHOOKS="$folder/webhooks.toml" target/debug/lablet up --demo --http 127.0.0.1:0 --data-dir "$folder/data" \
    --output json >"$folder/ready" 2>"$folder/log" &
lablet=$!
processes="$processes $lablet"
until [ -s "$folder/ready" ]; do
    kill -0 "$lablet" || { tail "$folder/log" && exit 1; }
    sleep 1
done
gateway=$(sed 's|.*"http":"http://\([^"]*\)".*|\1|' "$folder/ready")
postgres=$(sed 's|.*"analyst_database_url":"\([^"]*\)".*|\1|' "$folder/ready")
cat >"$folder/prometheus.yml" <<SCRAPE
global: { scrape_interval: 5s, evaluation_interval: 15s }
rule_files: [$PWD/monitoring/prometheus/rules.yml]
scrape_configs:
  - job_name: lablet
    static_configs: [{ targets: ["$gateway"] }]
SCRAPE
# It takes no port 0.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
prometheus --config.file="$folder/prometheus.yml" --storage.tsdb.path="$folder/prometheus" \
    --web.listen-address="127.0.0.1:$port" 2>"$folder/prometheus.log" &
processes="$processes $!"

echo "dashboards: a demonstration runs for $minutes minutes on http://$gateway"
sleep $((minutes * 60)) &
processes="$processes $!"
wait "$!"
for dashboard in core fleet; do
    # Without the first minute, in which it writes its past.
    size=$(python3 scripts/dashboard_picture.py "monitoring/grafana/dashboards/$dashboard.json" "http://127.0.0.1:$port" \
        "$postgres" $((minutes - 1)) "$folder/$dashboard.html")
    "$chromium" --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size="$size" \
        --screenshot="$folder/$dashboard.png" "file://$folder/$dashboard.html" 2>/dev/null
    # As many colours as it takes, which is a third of the bytes.
    "$venv/bin/python" -c '
import sys
from PIL import Image
Image.open(sys.argv[1]).convert("RGB").quantize(192, dither=Image.Dither.NONE).save(sys.argv[2], optimize=True)
' "$folder/$dashboard.png" "docs/dashboard-$dashboard.png"
done
echo "dashboards: done; look at docs/dashboard-core.png and docs/dashboard-fleet.png"
