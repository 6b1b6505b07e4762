"""A Lablet of one process a role, on the servers that `with-servers` started: what measurements are made on.

Each process has its log in a temporary folder. `end` ends them.
"""

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
import urllib.request
import uuid

ROOT = pathlib.Path(__file__).parent.parent
KEY, TOKEN, PASSWORD = "measured-key", "measured-token", "measured-password"
TICKS = os.sysconf("SC_CLK_TCK")
PSQL = shutil.which("psql") or "/usr/lib/postgresql/15/bin/psql"


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(url, body=None, key=None, method=None, context=None):
    headers = {"X-API-Key": KEY} if key is None else {"Authorization": f"Bearer {key}"}
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        headers |= {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        return answer.read()


class Processes:
    """The roles and a simulated CML with running labs, on a new database."""

    def __init__(self, program, name):
        self.program = program
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"lablet-{name}-"))
        self.ports = {name: free_port() for name in ["serve", "project", "relay", "control", "cml"]}
        self.gateway = f"http://127.0.0.1:{self.ports['serve']}"
        self.cml = f"https://127.0.0.1:{self.ports['cml']}"
        self.processes = {}
        self.server_url = os.environ["LABLET_TEST_DATABASE_URL"]
        database = f"{name}_{os.getpid()}"
        self.database_url = re.sub(r"/[^/]*$", f"/{database}", self.server_url)
        self.stores = {"LABLET_DATABASE_URL": self.database_url, "LABLET_NATS_URL": os.environ["LABLET_TEST_NATS_URL"]}
        self.sql(f"CREATE DATABASE {database}", self.server_url)
        environment = {"PATH": os.environ["PATH"], **self.stores}
        subprocess.run([program, "migrate"], env=environment, check=True, stdout=subprocess.DEVNULL)

    def sql(self, statement, url=None):
        """What a statement answers, as rows of texts."""
        done = subprocess.run([PSQL, "-qAtX", "-F", "\t", url or self.database_url, "-c", statement],
                              check=True, capture_output=True, text=True)
        return [line.split("\t") for line in done.stdout.splitlines()]

    def start(self, name, *words, **settings):
        environment = {"PATH": os.environ["PATH"], "LABLET_LOG": "warn", **self.stores, **settings}
        if name != "serve":
            environment["LABLET_METRICS_ADDRESS"] = f"127.0.0.1:{self.ports.get(name, 0)}"
        log = open(self.folder / f"{name}.log", "wb")
        self.processes[name] = subprocess.Popen([self.program, *words], env=environment, stdout=log, stderr=log)

    def wait_for(self, name, seconds=60):
        """Until a role is ready."""
        url, end = f"http://127.0.0.1:{self.ports[name]}/readyz", time.time() + seconds
        while True:
            try:
                return urllib.request.urlopen(url, timeout=5).read()
            except OSError as fault:
                if time.time() > end:
                    raise SystemExit(f"{url} does not answer: {fault}; see {self.folder}")
                time.sleep(0.1)

    def start_labs(self, count):
        """A simulated CML on which so many labs run; their ids."""
        topologies = self.folder / "topologies"
        topologies.mkdir()
        sources = sorted((ROOT / "simulator/demo").glob("*.yaml"))
        for number, source in zip(range(count), itertools.cycle(sources)):
            shutil.copy(source, topologies / f"{number:04}.yaml")
        self.start("cml", "simulate-cml", f"--listen=127.0.0.1:{self.ports['cml']}", f"--topologies={topologies}", "--tls",
                   LABLET_CML_PASSWORD=PASSWORD)
        trusting = ssl._create_unverified_context()
        for _ in range(100):
            try:
                credentials = {"username": "admin", "password": PASSWORD}
                session = json.loads(ask(f"{self.cml}/api/v0/authenticate", credentials, key="", context=trusting))
                break
            except OSError:
                time.sleep(0.1)
        labs = json.loads(ask(f"{self.cml}/api/v0/labs?show_all=true", key=session, context=trusting))
        for lab in labs:
            ask(f"{self.cml}/api/v0/labs/{lab}/start", key=session, method="PUT", context=trusting)
        return labs

    def start_gateway(self):
        self.start("serve", "serve", f"--http=127.0.0.1:{self.ports['serve']}",
                   LABLET_INTERNAL_API_KEY_HASHES=f"all:{sha256(KEY)}", LABLET_INTERNAL_API_KEY_AUTHORITY="all=all",
                   LABLET_ADMIN_TOKEN_HASHES=f"ada:admin:{sha256(TOKEN)}")
        self.wait_for("serve")

    def start_controller(self):
        self.start("control", "control", LABLET_GATEWAY_URL=self.gateway, LABLET_INTERNAL_API_KEY=KEY,
                   LABLET_CML_USERNAME="admin", LABLET_CML_PASSWORD=PASSWORD,
                   LABLET_CML_HOSTS=f"127.0.0.1:{self.ports['cml']}", LABLET_CML_INSECURE_TLS="true")
        self.wait_for("control")

    def define(self, count):
        """A worker, and definitions `d0`, `d1` and so on."""
        ask(f"{self.gateway}/api/workers", {"id": "w1", "name": "w1", "address": self.cml,
            "capacity": {"cpu_cores": 640, "memory_gb": 2560, "storage_gb": 10000, "max_nodes": 3200}}, key=TOKEN)
        for number in range(count):
            ask(f"{self.gateway}/api/lablet-definitions", {"id": f"d{number}", "name": f"d{number}", "version": "1.0",
                "resource_requirements": {"cpu_cores": 2, "memory_gb": 4, "storage_gb": 10}}, key=TOKEN)

    def start_session(self, session, lab):
        """Requests of a session that comes to run."""
        path = f"{self.gateway}/api/internal/lablet-sessions"
        yield path, {"id": session, "definition_id": f"d{hash(session) % 10}"}
        for step in [{"new_status": "scheduled", "worker_id": "w1", "allocated_ports": {"PC_serial": 5041}},
                     {"new_status": "instantiating"}, {"new_status": "ready"}, {"new_status": "running", "cml_lab_id": lab}]:
            yield f"{path}/{session}/transition", step

    def life(self, session, lab):
        """Requests of a session from its creation to its end, observed once."""
        yield from self.start_session(session, lab)
        path = f"{self.gateway}/api/internal/lablet-sessions/{session}"
        yield f"{path}/resource-observations", {"observed_resources": {"total_cpu_cores": 1.5, "total_memory_mb": 1024,
                                                "actual_node_count": 1}, "observed_ports": {"PC_serial": 5041}}
        for status in ["collecting", "grading", "stopping", "stopped", "archived"]:
            yield f"{path}/transition", {"new_status": status}

    def used(self, name):
        """CPU seconds, and MiB of memory: now and at most."""
        return used(self.processes[name].pid)

    def end(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(timeout=60)


def cpu(pid):
    """CPU seconds of a process and of its children that have ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / TICKS


def used(pid):
    """CPU seconds, and MiB of memory: now and at most."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":\t") for line in lines if ":\t" in line)
    kilobytes = lambda name: int(status[name].split()[0])
    return cpu(pid), kilobytes("VmRSS") / 1024, kilobytes("VmHWM") / 1024
