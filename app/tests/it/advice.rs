//! Advice about allocations, in the replies to commands from the bus.

use std::sync::Arc;

use app::body::Handling;
use app::commands::{AllocationAdvisor, Commands};
use app::log::{Origin, Position};
use app::warning::{Warning, WarningCode};
use domain::lablet_session::PresentSession;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::bodies::AtWork;
use crate::stage::worker;

/// Finds that every allocated port is held by another session.
struct Suspicious;

impl AllocationAdvisor for Suspicious {
    fn advise<'a>(&'a self, session: &'a PresentSession, _: Position) -> BoxFuture<'a, Vec<Warning>> {
        let names = session.allocated_ports.iter().flat_map(|ports| ports.keys());
        let warn = |name| {
            Warning::new(WarningCode::PortConflict, "is held by session s0 too")
                .about(format!("allocated_ports.{name}"))
        };
        std::future::ready(names.map(warn).collect()).boxed()
    }
}

/// Never comes to an end.
struct Undecided;

impl AllocationAdvisor for Undecided {
    fn advise<'a>(&'a self, _: &'a PresentSession, _: Position) -> BoxFuture<'a, Vec<Warning>> {
        std::future::pending().boxed()
    }
}

async fn reply_to_an_allocation(advisor: impl AllocationAdvisor + 'static) -> Value {
    let advised = |commands: Commands| commands.advised_by(Arc::new(advisor));
    let at_work = AtWork::with(Handling::Lenient, advised).await;
    let (commands, origin) = (&at_work.stage.commands, Origin::from_actor("test"));
    commands.register_worker(worker("w1"), &origin).await.unwrap();
    let definition = json!({
        "id": "d1", "name": "ospf", "version": "1",
        "resource_requirements": {"cpu_cores": 1, "memory_gb": 1, "storage_gb": 1}
    });
    commands.create_definition(serde_json::from_value(definition).unwrap(), &origin).await.unwrap();
    let session = json!({"id": "s1", "definition_id": "d1"});
    commands.create_session(serde_json::from_value(session).unwrap(), &origin).await.unwrap();
    let data = json!({
        "session_id": "s1", "new_status": "scheduled", "worker_id": "w1", "allocated_ports": {"PC_serial": 5041}
    });
    let event = json!({
        "specversion": "1.0", "id": "e1", "source": "/booking",
        "type": "io.lablet.command.transition_lablet_session.v1", "data": data
    });
    let reply = at_work.answer_to("transition_lablet_session", event.to_string()).await;
    at_work.end().await;
    reply
}

#[tokio::test]
async fn an_allocation_that_cannot_be_right_is_recorded_and_told_in_the_reply() {
    let reply = reply_to_an_allocation(Suspicious).await;
    assert_eq!(reply["status"], "recorded", "{reply}");
    let warning = json!({
        "code": "port_conflict", "field": "allocated_ports.PC_serial", "message": "is held by session s0 too"
    });
    assert_eq!(reply["warnings"], json!([warning]));
}

#[tokio::test]
async fn advice_that_does_not_come_holds_up_no_allocation() {
    let reply = reply_to_an_allocation(Undecided).await;
    assert_eq!((&reply["status"], reply.get("warnings")), (&json!("recorded"), None), "{reply}");
}
