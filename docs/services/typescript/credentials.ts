// How these programs sign in to the bus.

import type { ConnectionOptions } from "@nats-io/transport-node";

/// The address of LABLET_NATS_URL. This library does not read the user and password out of it.
export function credentials(): ConnectionOptions {
  const address = new URL(process.env.LABLET_NATS_URL ?? "nats://127.0.0.1:4222");
  const server = { servers: `${address.protocol}//${address.host}` };
  if (!address.username) return server;
  const user = decodeURIComponent(address.username);
  return address.password
    ? { ...server, user, pass: decodeURIComponent(address.password) }
    : { ...server, token: user };
}
