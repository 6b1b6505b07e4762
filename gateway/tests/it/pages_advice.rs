//! The pages of advice over HTTP.

use crate::page_forms::{fields, html, look, page, submit, with_query};
use crate::world::{ADMIN, OPERATOR, VIEWER, World, definition};

/// Fills the form of a policy in, and answers its review.
async fn reviewed(world: &World, path: &str, typed: &[(&str, &str)]) -> String {
    let form = page(world, ADMIN, path).await;
    let mut sent = fields(&form, &format!("{path}/review"));
    sent.extend(typed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    page(world, ADMIN, &with_query(&format!("{path}/review"), &sent)).await
}

#[tokio::test]
async fn a_policy_is_reviewed_set_with_a_reason_and_given_up_again() {
    let world = World::start().await;
    world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    let review = reviewed(&world, "/advice/policy", &[("promise", "97"), ("memory_floor", "2")]).await;
    assert!(review.contains("95 of 100 sessions") && review.contains("97 of 100 sessions"), "{review}");
    let mut confirmed = fields(&review, "/advice/policy");
    let refused = submit(&world, ADMIN, "/advice/policy", &confirmed).await.expect(400);
    assert!(html(&refused).contains("1 to 2000 characters"), "{}", html(&refused));
    confirmed.insert("reason".to_owned(), "exams <must> not be short".to_owned());
    let set = submit(&world, ADMIN, "/advice/policy", &confirmed).await.expect(303);
    let shown = page(&world, VIEWER, set.header("location")).await;
    for text in
        ["The policy is set.", "Set by admin:ada", "exams &#60;must&#62; not be short", "97 of 100 sessions", "2 GB"]
    {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    // A definition has the default until it has its own.
    let own = page(&world, VIEWER, "/definitions/d1/policy").await;
    assert!(own.contains("97 of 100 sessions") && own.contains("href=\"/advice/policy\">default"), "{own}");
    let review = reviewed(&world, "/definitions/d1/policy", &[("applier", "automatic")]).await;
    assert!(review.contains("Proposals apply by themselves"), "{review}");
    let mut confirmed = fields(&review, "/definitions/d1/policy");
    confirmed.insert("reason".to_owned(), "nobody looks at it".to_owned());
    let set = submit(&world, ADMIN, "/definitions/d1/policy", &confirmed).await.expect(303);
    let shown = page(&world, VIEWER, set.header("location")).await;
    assert!(shown.contains("itself, at once") && shown.contains("nobody looks at it"), "{shown}");
    let review = reviewed(&world, "/definitions/d1/policy", &[("given_up", "true")]).await;
    assert!(review.contains("afterwards the default"), "{review}");
    let mut confirmed = fields(&review, "/definitions/d1/policy");
    confirmed.insert("reason".to_owned(), "back".to_owned());
    let set = submit(&world, ADMIN, "/definitions/d1/policy", &confirmed).await.expect(303);
    let shown = page(&world, VIEWER, set.header("location")).await;
    assert!(shown.contains("Given up") && shown.contains(">default</a>"), "{shown}");
    let advice = page(&world, VIEWER, "/advice").await;
    assert!(advice.contains("exams &#60;must&#62; not be short"), "{advice}");
}

#[tokio::test]
async fn a_policy_that_contradicts_itself_is_refused_beside_its_field_and_one_that_was_changed_is_not_overwritten() {
    let world = World::start().await;
    world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    let crossed = [("version", "1"), ("memory_floor", "8"), ("memory_cap", "4"), ("promise", "95")];
    let crossed = with_query(
        "/definitions/d1/policy/review",
        &crossed.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    );
    let answer = look(&world, ADMIN, &crossed).await.expect(400);
    assert!(html(&answer).contains("is above its cap"), "{}", html(&answer));

    let review = reviewed(&world, "/definitions/d1/policy", &[("promise", "90")]).await;
    let mut confirmed = fields(&review, "/definitions/d1/policy");
    confirmed.insert("reason".to_owned(), "cheap".to_owned());
    submit(&world, ADMIN, "/definitions/d1/policy", &confirmed).await.expect(303);
    confirmed.insert("idempotency_key".to_owned(), "another".to_owned());
    confirmed.insert("promise".to_owned(), "80".to_owned());
    let stale = submit(&world, ADMIN, "/definitions/d1/policy", &confirmed).await.expect(412);
    assert!(html(&stale).contains("It was changed meanwhile"), "{}", html(&stale));

    let form = page(&world, OPERATOR, "/definitions/d1/policy").await;
    assert!(form.contains("This needs the role admin; you are signed in as operator."), "{form}");
    submit(&world, OPERATOR, "/definitions/d1/policy", &confirmed).await.expect(403);
    look(&world, VIEWER, "/definitions/nothing/policy").await.expect(404);
}
