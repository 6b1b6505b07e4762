//! Clients that others generate from what the gateway says of itself.

use harness::{ClientAccess, Generators};

use super::start;

/// One system for all of them: each begins definitions, workers and sessions of its own.
#[tokio::test]
async fn generated_clients_go_through_a_sessions_life_and_no_schema_is_left_out() {
    let lablet = start().await;
    let openapi = lablet.get("/api/openapi.json").await.unwrap().to_string();
    let asyncapi = lablet.get("/api/asyncapi.json").await.unwrap().to_string();
    let generators = Generators::new(&openapi, &asyncapi).await.unwrap();
    let ready = lablet.ready();
    let access =
        ClientAccess { http: &ready.http, admin_token: &ready.admin_token, internal_api_key: &ready.internal_api_key };
    let (python, python_models, typescript, messages) = tokio::join!(
        generators.python_client(access),
        generators.python_models(),
        generators.typescript_client(access),
        generators.message_models(),
    );
    assert_eq!(python.unwrap().trim(), "archived");
    assert_eq!(python_models.unwrap().trim(), "SessionStatus");
    assert_eq!(typescript.unwrap().trim(), "archived");
    let messages = messages.unwrap();
    let unnamed: Vec<&String> =
        messages.iter().filter(|name| name.to_lowercase().contains("anonymous") || *name == "Root").collect();
    assert!(unnamed.is_empty(), "{unnamed:?}");
    for name in ["LabletSessionResourcesObservedV1", "RecordResourceObservationV1Data", "CommandReply"] {
        assert!(messages.iter().any(|found| found == name), "{name}: {messages:?}");
    }
    lablet.stop().await.unwrap();
}
