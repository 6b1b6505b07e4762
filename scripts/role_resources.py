"""What each role takes, as processes of their own under a steady load.

    target/debug/with-servers python3 scripts/role_resources.py target/x86_64-unknown-linux-musl/release/lablet

Sessions live their lives by the API, one after another on a number of labs of a simulated CML, pages and lists are read, and
a controller samples what runs. Prints CPU and memory of each process: at rest, and under load.
"""

import argparse
import collections
import concurrent.futures
import itertools
import time
import uuid

from role_processes import TOKEN, Processes, ask

ROLES = ["serve", "project", "relay", "control"]
PAGES = ["/", "/sessions", "/definitions", "/sizing", "/drift", "/api/overview", "/api/lablet-sessions", "/definitions/d1"]

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("program")
parser.add_argument("--seconds", type=int, default=60)
parser.add_argument("--commands", type=int, default=50, help="commands a second")
parser.add_argument("--reads", type=int, default=10, help="pages and lists a second")
parser.add_argument("--labs", type=int, default=70)


def measure(lablet, seconds, work):
    before = {name: lablet.used(name)[0] for name in ROLES}
    begun = time.time()
    work(begun + seconds)
    took = time.time() - begun
    rows = {}
    for name, spent in before.items():
        cpu, memory, most = lablet.used(name)
        rows[name] = (1000 * (cpu - spent) / took, memory, most)
    return rows


def main(lablet, arguments):
    labs = lablet.start_labs(arguments.labs)
    lablet.start_gateway()
    lablet.start("project", "project")
    lablet.start("relay", "relay")
    lablet.start_controller()
    for name in ["project", "relay"]:
        lablet.wait_for(name)
    lablet.define(10)
    for lab in labs:
        for url, body in lablet.start_session(f"stays-{lab}", lab):
            ask(url, body)
    time.sleep(10)
    rest = measure(lablet, 20, lambda end: time.sleep(max(0, end - time.time())))
    counts = collections.Counter()
    loaded = measure(lablet, arguments.seconds, lambda end: load(lablet, arguments, end, labs, counts))
    time.sleep(5)
    reads, commands = counts["reads"] / arguments.seconds, counts["commands"] / arguments.seconds
    print(f"{commands:.0f} commands and {reads:.0f} pages a second for {arguments.seconds} s, {len(labs)} labs sampled every 30 s, "
          f"{counts['failed']} requests failed")
    print("| role | CPU at rest | CPU under load | memory at rest | under load | at most |")
    print("|---|---|---|---|---|---|")
    for name, (cpu, memory, most) in loaded.items():
        print(f"| {name} | {rest[name][0]:.0f} m | {cpu:.0f} m | {rest[name][1]:.0f} MiB | {memory:.0f} MiB | {most:.0f} MiB |")


def load(lablet, arguments, end, labs, counts):
    def lives(worker, interval):
        next_at = time.time()
        for number in itertools.count():
            for url, body in lablet.life(f"{worker}-{number}-{uuid.uuid4()}", labs[number % len(labs)]):
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
                ask(lablet.gateway + page, key=TOKEN)
                counts["reads"] += 1
            except OSError:
                counts["failed"] += 1

    workers = 10
    with concurrent.futures.ThreadPoolExecutor(workers + 2) as pool:
        tasks = [pool.submit(lives, worker, workers / arguments.commands) for worker in range(workers)]
        tasks += [pool.submit(reads, 2 / arguments.reads) for _ in range(2)]
        for task in tasks:
            task.result()


if __name__ == "__main__":
    given = parser.parse_args()
    measured = Processes(given.program, "resources")
    try:
        main(measured, given)
    finally:
        measured.end()
