"""What each role takes, as processes of their own under a steady load.

    target/debug/with-servers python3 scripts/role_resources.py target/x86_64-unknown-linux-musl/release/lablet

Sessions live their lives by the API, one after another on a number of labs of a simulated CML, pages and lists are read, and
a controller samples what runs. Prints CPU and memory of each process: at rest, and under load.
"""

import argparse
import collections
import concurrent.futures
import hashlib
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid

ROOT = pathlib.Path(__file__).parent.parent
KEY, TOKEN, PASSWORD = "measured-key", "measured-token", "measured-password"
TICKS = os.sysconf("SC_CLK_TCK")

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("program")
parser.add_argument("--seconds", type=int, default=60)
parser.add_argument("--commands", type=int, default=50, help="commands a second")
parser.add_argument("--reads", type=int, default=10, help="pages and lists a second")
parser.add_argument("--labs", type=int, default=70)
arguments = parser.parse_args()


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


folder = pathlib.Path(tempfile.mkdtemp(prefix="lablet-roles-"))
ports = {name: free_port() for name in ["serve", "project", "relay", "control", "cml"]}
gateway = f"http://127.0.0.1:{ports['serve']}"
stores = {"LABLET_DATABASE_URL": os.environ["LABLET_TEST_DATABASE_URL"], "LABLET_NATS_URL": os.environ["LABLET_TEST_NATS_URL"]}
database = f"roles_{os.getpid()}"
stores["LABLET_DATABASE_URL"] = re.sub(r"/[^/]*$", f"/{database}", stores["LABLET_DATABASE_URL"])
# One of the accounts of the tests' server, which nobody else uses.
stores["LABLET_NATS_URL"] = os.environ.get("ROLES_NATS_URL", stores["LABLET_NATS_URL"])
processes = {}


def start(name, *words, **settings):
    environment = {"PATH": os.environ["PATH"], "LABLET_LOG": "warn", **stores, **settings}
    if name != "serve":
        environment["LABLET_METRICS_ADDRESS"] = f"127.0.0.1:{ports.get(name, 0)}"
    log = open(folder / f"{name}.log", "wb")
    processes[name] = subprocess.Popen([arguments.program, *words], env=environment, stdout=log, stderr=log)


def ask(url, body=None, key=None, method=None, context=None):
    headers = {"X-API-Key": KEY} if key is None else {"Authorization": f"Bearer {key}"}
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        headers |= {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        return answer.read()


def wait_for(url, seconds=60):
    end = time.time() + seconds
    while True:
        try:
            return urllib.request.urlopen(url, timeout=5).read()
        except OSError as fault:
            if time.time() > end:
                raise SystemExit(f"{url} does not answer: {fault}; see {folder}")
            time.sleep(0.1)


def used(process):
    """CPU seconds, and MiB of memory: now and at most."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = dict(line.split(":\t") for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines() if ":\t" in line)
    kilobytes = lambda name: int(status[name].split()[0])
    return (int(fields[11]) + int(fields[12])) / TICKS, kilobytes("VmRSS") / 1024, kilobytes("VmHWM") / 1024


def measure(seconds, work):
    before = {name: used(processes[name])[0] for name in ["serve", "project", "relay", "control"]}
    begun = time.time()
    work(begun + seconds)
    took = time.time() - begun
    rows = {}
    for name, spent in before.items():
        cpu, memory, most = used(processes[name])
        rows[name] = (1000 * (cpu - spent) / took, memory, most)
    return rows


def main():
    psql = shutil.which("psql") or "/usr/lib/postgresql/15/bin/psql"
    subprocess.run([psql, "-q", os.environ["LABLET_TEST_DATABASE_URL"], "-c", f"CREATE DATABASE {database}"], check=True)
    subprocess.run([arguments.program, "migrate"], env={"PATH": os.environ["PATH"], **stores}, check=True, stdout=subprocess.DEVNULL)
    topologies = folder / "topologies"
    topologies.mkdir()
    sources = sorted((ROOT / "simulator/demo").glob("*.yaml"))
    for number, source in zip(range(arguments.labs), itertools.cycle(sources)):
        shutil.copy(source, topologies / f"{number:04}.yaml")
    start("cml", "simulate-cml", f"--listen=127.0.0.1:{ports['cml']}", f"--topologies={topologies}", "--tls", LABLET_CML_PASSWORD=PASSWORD)
    cml, trusting = f"https://127.0.0.1:{ports['cml']}", ssl._create_unverified_context()
    credentials = {"username": "admin", "password": PASSWORD}
    for _ in range(100):
        try:
            session = json.loads(ask(f"{cml}/api/v0/authenticate", credentials, key="", context=trusting))
            break
        except OSError:
            time.sleep(0.1)
    labs = json.loads(ask(f"{cml}/api/v0/labs?show_all=true", key=session, context=trusting))
    for lab in labs:
        ask(f"{cml}/api/v0/labs/{lab}/start", key=session, method="PUT", context=trusting)
    start("serve", "serve", f"--http=127.0.0.1:{ports['serve']}", LABLET_INTERNAL_API_KEY_HASHES=f"all:{sha256(KEY)}",
          LABLET_INTERNAL_API_KEY_AUTHORITY="all=all", LABLET_ADMIN_TOKEN_HASHES=f"ada:admin:{sha256(TOKEN)}")
    start("project", "project")
    start("relay", "relay")
    wait_for(f"{gateway}/readyz")
    start("control", "control", LABLET_GATEWAY_URL=gateway, LABLET_INTERNAL_API_KEY=KEY, LABLET_CML_USERNAME="admin",
          LABLET_CML_PASSWORD=PASSWORD, LABLET_CML_HOSTS=f"127.0.0.1:{ports['cml']}", LABLET_CML_INSECURE_TLS="true")
    for name in ["project", "relay", "control"]:
        wait_for(f"http://127.0.0.1:{ports[name]}/readyz")
    ask(f"{gateway}/api/workers", {"id": "w1", "name": "w1", "address": cml,
        "capacity": {"cpu_cores": 640, "memory_gb": 2560, "storage_gb": 10000, "max_nodes": 3200}}, key=TOKEN)
    for number in range(10):
        ask(f"{gateway}/api/lablet-definitions", {"id": f"d{number}", "name": f"d{number}", "version": "1.0",
            "resource_requirements": {"cpu_cores": 2, "memory_gb": 4, "storage_gb": 10}}, key=TOKEN)
    for lab in labs:
        run_session(f"stays-{lab}", lab)
    time.sleep(10)
    rest = measure(20, lambda end: time.sleep(max(0, end - time.time())))
    counts = collections.Counter()
    loaded = measure(arguments.seconds, lambda end: load(end, labs, counts))
    time.sleep(5)
    reads, commands = counts["reads"] / arguments.seconds, counts["commands"] / arguments.seconds
    print(f"{commands:.0f} commands and {reads:.0f} pages a second for {arguments.seconds} s, {len(labs)} labs sampled every 30 s, "
          f"{counts['failed']} requests failed")
    print("| role | CPU at rest | CPU under load | memory at rest | under load | at most |")
    print("|---|---|---|---|---|---|")
    for name, (cpu, memory, most) in loaded.items():
        print(f"| {name} | {rest[name][0]:.0f} m | {cpu:.0f} m | {rest[name][1]:.0f} MiB | {memory:.0f} MiB | {most:.0f} MiB |")


def steps(session, lab):
    """Requests of a session that comes to run."""
    path = f"{gateway}/api/internal/lablet-sessions"
    yield path, {"id": session, "definition_id": f"d{hash(session) % 10}"}
    for step in [{"new_status": "scheduled", "worker_id": "w1", "allocated_ports": {"PC_serial": 5041}},
                 {"new_status": "instantiating"}, {"new_status": "ready"}, {"new_status": "running", "cml_lab_id": lab}]:
        yield f"{path}/{session}/transition", step


def run_session(session, lab):
    for url, body in steps(session, lab):
        ask(url, body)


def life(session, lab):
    yield from steps(session, lab)
    path = f"{gateway}/api/internal/lablet-sessions/{session}"
    yield f"{path}/resource-observations", {"observed_resources": {"total_cpu_cores": 1.5, "total_memory_mb": 1024,
                                            "actual_node_count": 1}, "observed_ports": {"PC_serial": 5041}}
    for status in ["collecting", "grading", "stopping", "stopped", "archived"]:
        yield f"{path}/transition", {"new_status": status}


PAGES = ["/", "/sessions", "/definitions", "/sizing", "/drift", "/api/overview", "/api/lablet-sessions", "/definitions/d1"]


def load(end, labs, counts):
    def lives(worker, interval):
        next_at = time.time()
        for number in itertools.count():
            for url, body in life(f"{worker}-{number}-{uuid.uuid4()}", labs[number % len(labs)]):
                next_at += interval
                time.sleep(max(0, next_at - time.time()))
                if time.time() > end:
                    return
                try:
                    ask(url, body)
                    counts["commands"] += 1
                except OSError:
                    counts["failed"] += 1

    def reads(interval):
        next_at = time.time()
        for page in itertools.cycle(PAGES):
            next_at += interval
            time.sleep(max(0, next_at - time.time()))
            if time.time() > end:
                return
            try:
                ask(gateway + page, key=TOKEN)
                counts["reads"] += 1
            except OSError:
                counts["failed"] += 1

    workers = 10
    with concurrent.futures.ThreadPoolExecutor(workers + 2) as pool:
        tasks = [pool.submit(lives, worker, workers / arguments.commands) for worker in range(workers)]
        tasks += [pool.submit(reads, 2 / arguments.reads) for _ in range(2)]
        for task in tasks:
            task.result()


try:
    main()
finally:
    for process in processes.values():
        process.send_signal(signal.SIGTERM)
    for process in processes.values():
        process.wait(timeout=60)
