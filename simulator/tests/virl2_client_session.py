"""Drives the simulator with Cisco's own client, unchanged: what a user's script would do.

Arguments: url, user name, certificate file, topology file. The password comes from the environment.
"""

import os
import sys
import time

from virl2_client import ClientLibrary
from virl2_client.exceptions import LabNotFound
from virl2_client.virl2_client import DiagnosticsCategory

url, username, certificate, topology = sys.argv[1:5]
client = ClientLibrary(
    url,
    username,
    os.environ["SIMULATOR_PASSWORD"],
    ssl_verify=certificate,
    raise_for_auth_failure=True,
)
assert client.is_system_ready()
existing = client.all_labs(show_all=True)
assert len(existing) == 3, existing
assert all(lab.state() == "DEFINED_ON_CORE" for lab in existing)

lab = client.import_lab_from_path(topology, title="Driven")
assert lab.title == "Driven"
assert len(lab.nodes()) == 5 and len(lab.links()) == 4, lab.statistics


def eventually(what, condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


# What the lab is told of by events alone: its client asks for nothing meanwhile.
client.start_event_listening()
listener = client.event_listener
eventually("the listener is connected", lambda: listener._connected)
lab.auto_sync = False
lab.start(wait=False)
listened = [lab.get_node_by_label(label) for label in ("R1", "R2", "PC")]
eventually("nodes boot by events", lambda: all(node.state == "BOOTED" for node in listened))
eventually("links start by events", lambda: all(link.state == "STARTED" for link in lab.links()))
assert all(interface.state == "STARTED" for interface in lab.interfaces())
other = ClientLibrary(url, username, os.environ["SIMULATOR_PASSWORD"], ssl_verify=certificate)
other.join_existing_lab(lab.id).get_node_by_label("R2").add_tag("serial:5998")
eventually("a tag of somebody else", lambda: "serial:5998" in lab.get_node_by_label("R2").tags())
other.join_existing_lab(lab.id).get_node_by_label("R2").stop(wait=False)
eventually("a stop by events", lambda: lab.get_node_by_label("R2").state == "STOPPED")
other.join_existing_lab(lab.id).get_node_by_label("R2").start(wait=False)
eventually("a start by events", lambda: lab.get_node_by_label("R2").state == "BOOTED")
assert listener._thread.is_alive() and listener._connected, "it still listens"
client.stop_event_listening()
assert not listener, "it listens no longer"
lab.auto_sync = True

lab.wait_until_lab_converged(max_iterations=600, wait_time=0.1)
assert lab.state() == "STARTED"

router = lab.get_node_by_label("R1")
lab.sync_states()
lab.sync_statistics()
assert router.is_booted(), router.state
assert router.cpu_usage > 0 and router.disk_read > 0
connector = lab.get_node_by_label("internet")
assert connector.cpu_usage == 0

desktop = lab.get_node_by_label("PC")
deadline = time.monotonic() + 30
while True:
    lab.sync_layer3_addresses()
    addresses = desktop.interfaces()[0].discovered_ipv4
    if addresses or time.monotonic() > deadline:
        break
    time.sleep(0.1)
assert addresses, "the desktop behind the connector has an address"
assert desktop.interfaces()[0].discovered_mac_address.startswith("52:54:00:")

router.add_tag("serial:5999")
lab.sync()
assert "serial:5999" in lab.get_node_by_label("R1").tags()

again = client.import_lab(lab.download(), title="Downloaded")
assert len(again.nodes()) == 5 and len(again.links()) == 4, again.statistics
assert sorted(node.label for node in again.nodes()) == sorted(node.label for node in lab.nodes())
again.remove()

controller = client.system_info()["version"]
lab.sync(topology_only=False)
lab.sync_operational()
if controller.startswith("2.9."):
    assert router.compute_id, "2.9.1 keeps of the operational part what it knows"
else:
    assert router.operational["ram"] == 768, router.operational
assert client.get_system_stats()["computes"]
queue = client.get_diagnostics(DiagnosticsCategory.NODE_LAUNCH_QUEUE)["node_launch_queue"]
assert queue["queue"] == {} and not any(queue["overload"].values()), queue

lab.stop(wait=False)
assert lab.state() == "STOPPED"
lab.wipe(wait=False)
assert lab.state() == "DEFINED_ON_CORE"
lab_id = lab.id
lab.remove()
try:
    client.join_existing_lab(lab_id)
except LabNotFound:
    pass
else:
    raise AssertionError("the lab is still there")
assert client.logout() is True
print("driven to the end on", controller)
