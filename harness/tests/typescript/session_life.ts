// A session's life by the client that openapi-typescript and openapi-fetch give.
//
// Arguments: the gateway's address, an admin's token, an internal key, and a prefix of ids.

import createClient from "openapi-fetch";
import type { components, paths } from "./lablet.js";

declare const process: { argv: string[] };
const [address = "", token = "", key = "", prefix = ""] = process.argv.slice(2);

const admin = createClient<paths>({ baseUrl: address, headers: { authorization: `Bearer ${token}` } });
const service = createClient<paths>({ baseUrl: address, headers: { "x-api-key": key } });

type Problem = components["schemas"]["Problem"];

function succeeded<T>(answer: { data?: T; error?: Problem; response: Response }): T {
  if (answer.data === undefined) {
    throw new Error(`${answer.response.status}: ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

function equal(found: unknown, expected: unknown): void {
  if (found !== expected) {
    throw new Error(`found ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
  }
}

const definition = `${prefix}-definition`;
const worker = `${prefix}-worker`;
const session = `${prefix}-session`;

// As few fields as a definition needs, those that may be left out among them.
succeeded(
  await admin.POST("/api/lablet-definitions", {
    body: {
      id: definition,
      name: "OSPF",
      version: "1.0",
      resource_requirements: { cpu_cores: 2, memory_gb: 4, storage_gb: 10 },
    },
  }),
);
succeeded(
  await admin.POST("/api/workers", {
    body: {
      id: worker,
      name: worker,
      address: "https://127.0.0.1:1",
      capacity: { cpu_cores: 64, memory_gb: 256, storage_gb: 1000, max_nodes: 320 },
    },
  }),
);
const created = succeeded(
  await service.POST("/api/internal/lablet-sessions", { body: { id: session, definition_id: definition } }),
);
equal(created.status, "pending");

async function move(body: components["schemas"]["Transition"]) {
  return service.POST("/api/internal/lablet-sessions/{id}/transition", { params: { path: { id: session } }, body });
}

const tooEarly = await move({ new_status: "grading" });
equal(tooEarly.response.status, 400);
equal(tooEarly.error?.code, "refused");

succeeded(await move({ new_status: "scheduled", worker_id: worker, allocated_ports: { PC_serial: 5041 } }));
succeeded(await move({ new_status: "instantiating" }));
succeeded(await move({ new_status: "ready" }));
succeeded(await move({ new_status: "running", cml_lab_id: `${prefix}-lab` }));

const observed = succeeded(
  await service.POST("/api/internal/lablet-sessions/{id}/resource-observations", {
    params: { path: { id: session }, header: { "Idempotency-Key": `${prefix}-1` } },
    body: {
      observed_resources: { total_cpu_cores: 1.5, total_memory_mb: 1024, actual_node_count: 1 },
      observed_ports: { PC_serial: 5041 },
    },
  }),
);
equal(observed.port_drift_detected, false);

const running = succeeded(
  await admin.GET("/api/lablet-sessions", {
    params: { query: { status: "running,collecting", definition_id: definition, position: observed.position } },
  }),
);
equal(running.items.length, 1);
const status: components["schemas"]["SessionStatus"] | undefined = running.items[0]?.status;
equal(status, "running");

const detail = succeeded(await admin.GET("/api/lablet-sessions/{id}", { params: { path: { id: session } } }));
equal(detail.observed_resources?.total_memory_mb, 1024);

for (const new_status of ["collecting", "grading", "stopping", "stopped", "archived"] as const) {
  succeeded(await move({ new_status }));
}
const absent = await admin.GET("/api/lablet-sessions/{id}", { params: { path: { id: `${prefix}-absent` } } });
equal(absent.response.status, 404);
equal(absent.error?.code, "not_found");
console.log("archived");
