"""What a session costs: CPU time of each process and of the servers, and bytes, by command, event, read model and page.

    target/debug/with-servers python3 scripts/session_cost.py target/x86_64-unknown-linux-musl/release/lablet

CPU time and not wall-clock time, as it hardly depends on what else the machine does. One role after the other does its part of
the same sessions, so that what the servers spend meanwhile is spent for it: the gateway takes the commands, the relay sends
the events, the read models fold them. A session is created, scheduled, started, observed once and archived.
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import subprocess
import time
import urllib.request

from role_processes import TOKEN, Processes, ask, cpu

PAGES = ["/", "/sessions", "/definitions", "/definitions/d1", "/sessions/s1", "/sizing", "/drift", "/search?text=s1",
         "/api/lablet-sessions", "/api/overview"]

HEAD = """SELECT lpad(epoch::text, 10, '0') || '-' || lpad(written_by::text, 20, '0') || '-' || lpad(position::text, 19, '0')
            FROM events ORDER BY epoch DESC, written_by DESC, position DESC LIMIT 1"""

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("program")
parser.add_argument("--sessions", type=int, default=2000)
parser.add_argument("--reads", type=int, default=200, help="requests for each page")


def postgres_cpu(lablet):
    """Of the postmaster, its children, and those of them that have ended."""
    [[child]] = lablet.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
    postmaster = pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[1]
    children = pathlib.Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return cpu(postmaster) + sum(cpu(child) for child in children if pathlib.Path(f"/proc/{child}").exists())


def nats_pid(lablet):
    port = re.search(r":(\d+)$", lablet.stores["LABLET_NATS_URL"]).group(1)
    listening = subprocess.run(["ss", "-ltnpH", f"sport = :{port}"], check=True, capture_output=True, text=True).stdout
    return int(re.search(r"pid=(\d+)", listening).group(1))


class Spent:
    """CPU seconds of roles and servers over a `with` block, in which `times` things are done."""

    def __init__(self, lablet, *roles):
        self.lablet, self.roles = lablet, roles

    def now(self):
        spent = {role: self.lablet.used(role)[0] for role in self.roles}
        return spent | {"postgres": postgres_cpu(self.lablet), "nats-server": cpu(nats_pid(self.lablet))}

    def __enter__(self):
        self.before = self.now()
        return self

    def __exit__(self, *failure):
        self.spent = {name: after - self.before[name] for name, after in self.now().items()}


def row(what, spent, times):
    """A line of the table, in thousandths of a second of one core for each."""
    each = ", ".join(f"{name} {1000 * seconds / times:.3f}" for name, seconds in spent.items())
    print(f"| {what} | {1000 * sum(spent.values()) / times:.3f} | {each} |")


def at_end(lablet):
    """Until every event is folded."""
    while True:
        overview = json.loads(ask(f"{lablet.gateway}/api/overview", key=TOKEN))
        if all(model["events_behind"] == 0 for model in overview["read_models"]):
            return
        time.sleep(0.2)


def bytes_by_schema(lablet):
    rows = lablet.sql("""SELECT CASE WHEN n.nspname LIKE 'read\\_%' THEN n.nspname
                                     WHEN c.relname LIKE 'events%' THEN 'the log' ELSE 'other tables' END AS part,
                                sum(pg_total_relation_size(c.oid))
                           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                          WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
                          GROUP BY 1 ORDER BY 1""")
    return {part: int(size) for part, size in rows}


def batch_seconds(lablet):
    text = urllib.request.urlopen(f"http://127.0.0.1:{lablet.ports['project']}/metrics").read().decode()
    found = re.findall(r'lablet_projection_batch_seconds_sum\{[^}]*projection="([^"]+)"[^}]*\} (\S+)', text)
    return {model: float(seconds) for model, seconds in found}


def main(lablet, arguments):
    labs = ["6f0b6f3c-0000-4000-8000-000000000001"]
    lablet.start_gateway()
    lablet.define(10)
    empty = bytes_by_schema(lablet)
    [[before]] = lablet.sql("SELECT count(*) FROM events")

    def live(number):
        commands = 0
        for url, body in lablet.life(f"s{number}", labs[0]):
            ask(url, body)
            commands += 1
        return commands

    with Spent(lablet, "serve") as commanding, concurrent.futures.ThreadPoolExecutor(8) as pool:
        commands = sum(pool.map(live, range(arguments.sessions)))
    [[after]] = lablet.sql("SELECT count(*) FROM events")
    events = int(after) - int(before)
    sessions = arguments.sessions
    print(f"{sessions} sessions, {commands / sessions:.1f} commands and {events / sessions:.1f} events each\n")
    print("| what | CPU ms | of which |\n|---|---|---|")
    row("command by HTTP", commanding.spent, commands)
    with Spent(lablet, "serve") as relaying:
        lablet.start("relay", "relay")
        lablet.wait_for("relay")
        while lablet.sql("SELECT max(position) FROM relays") != lablet.sql(HEAD):
            time.sleep(0.2)
    relaying.spent["relay"] = lablet.used("relay")[0]
    row("event to the bus", relaying.spent, events)
    with Spent(lablet, "serve", "relay") as folding:
        lablet.start("project", "project")
        lablet.wait_for("project")
        at_end(lablet)
    folding.spent["project"] = lablet.used("project")[0]
    row("event into all read models, from behind", folding.spent, events)
    time.sleep(2)

    first = batch_seconds(lablet)
    with Spent(lablet, "serve", "relay", "project") as living, concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(live, range(sessions, sessions + sessions // 4)))
        at_end(lablet)
    last = batch_seconds(lablet)
    row("session, all roles at work", living.spent, sessions // 4)
    for page in PAGES:
        with Spent(lablet, "serve") as reading:
            for _ in range(arguments.reads):
                ask(lablet.gateway + page, key=TOKEN)
        row(f"`{page}`", reading.spent, arguments.reads)

    print("\n| read model | ms of its own work a session |\n|---|---|")
    for model in sorted(last, key=lambda model: first.get(model, 0) - last[model]):
        print(f"| {model} | {1000 * (last[model] - first.get(model, 0)) / (sessions // 4):.3f} |")
    lablet.sql("VACUUM")
    print("\n| where | bytes a session |\n|---|---|")
    for part, size in sorted(bytes_by_schema(lablet).items(), key=lambda item: empty.get(item[0], 0) - item[1]):
        each = (size - empty.get(part, 0)) / (sessions + sessions // 4)
        if each >= 1:
            print(f"| {part} | {each:,.0f} |")


if __name__ == "__main__":
    given = parser.parse_args()
    measured = Processes(given.program, "cost")
    try:
        main(measured, given)
    finally:
        measured.end()
