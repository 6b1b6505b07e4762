//! `docs/errors.md`, made from the one table of error codes.

use std::fmt::Write as _;

use anyhow::Context as _;
use app::commands::ErrorCode;

const ABOUT: &str = "# Errors

What goes wrong has the same code over HTTP and on the bus.

- Over HTTP it is the `code` of a problem document (RFC 9457), whose `type` is `urn:lablet:problem:` and the class below. \
What may work later has `Retry-After`.
- On the bus it is `error.code` of the reply, whose `status` is then `refused`. A reply names its command: `command_id` in \
the body and the header `Lablet-Command-Id` are the `id` of the command's CloudEvent. The micro service has the code and the \
status in `Nats-Service-Error` and `Nats-Service-Error-Code`, too, and counts it in `$SRV.STATS`.
- A command of the stream that can never work is a dead letter with this reason. Where its reply was not sent, because \
`Lablet-Reply-To` is neither an inbox nor below `lablet.replies.`, the reason says so.

This page is made from the code: `UPDATE_SNAPSHOTS=1 cargo test -p harness` writes it again.

| code | status | class | what it says |
|---|---|---|---|
";

/// All codes with their status, their class and what they say.
///
/// # Errors
/// A code is not described.
pub fn errors() -> anyhow::Result<String> {
    let schema = serde_json::to_value(schemars::schema_for!(ErrorCode))?;
    let described = schema["oneOf"].as_array().context("the codes are no enumeration")?;
    let mut text = String::from(ABOUT);
    for code in ErrorCode::ALL {
        let name = code.as_str();
        let says = described.iter().find(|described| described["const"] == name).context(name)?;
        let says = says["description"].as_str().context(name)?.replace('\n', " ");
        writeln!(text, "| `{name}` | {} | `{}` | {says} |", code.status(), code.problem())?;
    }
    Ok(text)
}
