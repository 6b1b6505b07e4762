//! Bodies that can be sent as they are, for the help of commands that send one.

use std::fmt::Write as _;

/// An example of a body.
pub(crate) struct Example {
    /// The lines of the shell before the body and after it, e.g. how to send it.
    command: &'static str,
    /// The body.
    pub(crate) body: &'static str,
}

/// What the long help of a command says of its body.
pub(super) fn help(example: &Example) -> String {
    let mut help = "Example:\n".to_owned();
    for line in format!("{} <<'END'\n{}\nEND", example.command, example.body).lines() {
        // Writing to a string does not fail.
        if writeln!(help, "  {line}").is_err() {}
    }
    help
}

pub(crate) const DEFINITION: Example = Example {
    command: "lablet definition create -",
    body: r#"{
  "id": "ospf-basics",
  "name": "OSPF basics",
  "version": "1.0",
  "description": "Three routers in one area.",
  "resource_requirements": { "cpu_cores": 4, "memory_gb": 8, "storage_gb": 20 },
  "port_template": { "ports": [{ "name": "R1_serial", "protocol": "serial" }] },
  "node_count": 3
}"#,
};

pub(crate) const REVISION: Example = Example {
    command: "lablet definition revise ospf-basics -",
    body: r#"{
  "resource_requirements": { "cpu_cores": 4, "memory_gb": 12, "storage_gb": 20 },
  "reason": "Routers need more memory since version 17.9.",
  "evidence": []
}"#,
};

pub(crate) const WORKER: Example = Example {
    command: "lablet worker register -",
    body: r#"{
  "id": "cml-7",
  "name": "CML in rack 7",
  "address": "https://cml-7.example.com",
  "capacity": { "cpu_cores": 64, "memory_gb": 256, "storage_gb": 1000, "max_nodes": 320 },
  "port_range": { "first": 2000, "last": 7999 }
}"#,
};

pub(crate) const WORKER_CHANGE: Example = Example {
    command: "lablet worker change cml-7 -",
    body: r#"{
  "capacity": { "cpu_cores": 64, "memory_gb": 512, "storage_gb": 1000, "max_nodes": 320 }
}"#,
};

pub(crate) const OBSERVATION: Example = Example {
    command: "lablet session record-observation exam-7 -",
    body: r#"{
  "observed_resources": { "observer": "grading", "total_cpu_cores": 2, "total_memory_mb": 4096, "lab_title": "OSPF of Ada" },
  "observed_ports": { "PC_serial": 5041 }
}"#,
};

pub(crate) const POLICY: Example = Example {
    command: "lablet advice policy set --definition ospf-basics --reason 'Exams must not be short.' -",
    body: r#"{
  "promise": 0.99,
  "minimum_sessions": 20,
  "applier": "admin"
}"#,
};

pub(crate) const TOPOLOGY: Example = Example {
    command: "lablet topology size -",
    body: r#"{
  "nodes": [
    { "node_definition": "iosv", "cpus": 1, "ram_mb": 768, "count": 3 },
    { "node_definition": "server", "count": 2 }
  ]
}"#,
};

#[cfg(test)]
mod tests {
    use app::body::{Handling, from_bytes};
    use domain::advice_policy::Policy;
    use domain::lab_topology::LabTopology;
    use domain::lablet_definition::{DefinitionRevision, NewDefinition};
    use domain::lablet_session::ObservationReport;
    use domain::worker::{NewWorker, WorkerChange};
    use schemars::JsonSchema;
    use serde::de::DeserializeOwned;

    use super::*;

    fn fits<T: DeserializeOwned + JsonSchema + 'static>(example: &Example) {
        let read = from_bytes::<T>(example.body.as_bytes()).and_then(|body| body.handled(Handling::Strict));
        assert!(read.is_ok(), "{}: {}", example.command, read.err().unwrap());
        assert!(help(example).starts_with("Example:\n  lablet "));
    }

    #[test]
    fn every_example_is_a_body_that_the_gateway_takes() {
        fits::<NewDefinition>(&DEFINITION);
        fits::<DefinitionRevision>(&REVISION);
        fits::<NewWorker>(&WORKER);
        fits::<WorkerChange>(&WORKER_CHANGE);
        fits::<ObservationReport>(&OBSERVATION);
        fits::<Policy>(&POLICY);
        fits::<LabTopology>(&TOPOLOGY);
    }
}
