//! The API does what its description says, whatever is sent to it.

use harness::schemathesis;

use super::with_a_running_session;

#[tokio::test]
async fn schemathesis_finds_nothing_with_the_token_of_an_admin() {
    let lablet = with_a_running_session().await;
    let header = format!("Authorization: Bearer {}", lablet.ready().admin_token);
    schemathesis(&lablet.ready().http, &header, "^/api/(?!internal/)").await.unwrap();
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn schemathesis_finds_nothing_with_an_internal_key() {
    let lablet = with_a_running_session().await;
    let header = format!("X-API-Key: {}", lablet.ready().internal_api_key);
    schemathesis(&lablet.ready().http, &header, "^/api/internal/").await.unwrap();
    lablet.stop().await.unwrap();
}
