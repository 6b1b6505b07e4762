//! What of a command can be found in a trace.

use std::io;
use std::sync::{Arc, Mutex};

use app::log::Origin;
use serde_json::Value;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::stage::{Stage, worker};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_command_is_a_span_that_names_what_it_is_about_and_the_trace_it_belongs_to() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let stage = Stage::new().await;
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_env_filter("app::commands=debug")
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(move || writer.clone())
        .finish();
    let recording = tracing::subscriber::set_default(subscriber);
    let origin = Origin {
        correlation_id: Some("c-1".to_owned()),
        traceparent: Some(TRACE.to_owned()),
        ..Origin::from_actor("admin:ada")
    };
    stage.commands.register_worker(worker("w1"), &origin).await.unwrap();
    drop(recording);
    let written = lines.0.lock().unwrap().clone();
    let spans: Vec<Value> =
        written.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let span = spans.iter().map(|line| &line["span"]).find(|span| span["name"] == "command.worker.register");
    let span = span.unwrap_or_else(|| panic!("no span of the command among {spans:?}"));
    assert_eq!((&span["worker.id"], &span["correlation.id"]), (&"w1".into(), &"c-1".into()));
    assert_eq!(span["traceparent"], TRACE);
}
