//! Lists with their filters, counts and saved views, by the API and on the pages.

use reqwest::Method;
use serde_json::{Value, json};

use crate::page_forms::{fields, page, submit};
use crate::world::{ADMIN, Answer, KEY, OPERATOR, VIEWER, World};

fn ids(answer: &Answer) -> Vec<&str> {
    answer.body["items"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect()
}

async fn as_user(world: &World, token: &str, method: Method, path: &str, body: &Value) -> Answer {
    world.send(world.request(method, path).bearer_auth(token).json(body)).await
}

async fn terminate(world: &World, id: &str) {
    let body = json!({ "new_status": "terminated", "reason": "it was in the way" });
    world.post(&format!("/api/internal/lablet-sessions/{id}/transition"), &body).await.expect(200);
}

#[tokio::test]
async fn sessions_are_found_by_names_times_and_what_is_unknown() {
    let world = World::start().await;
    for (id, status) in [("s1", "running"), ("s2", "pending"), ("s3", "running")] {
        world.session(id, status).await;
    }
    terminate(&world, "s3").await;
    world.settle().await;
    let definition = world.get("/api/lablet-sessions/s1").await.expect(200).body["definition_name"].clone();
    let name = definition.as_str().unwrap().to_uppercase().replace(' ', "+");
    let list = async |query: &str| world.get(&format!("/api/lablet-sessions?sort=oldest&{query}")).await.expect(200);
    assert_eq!(ids(&list(&format!("definition={name}")).await), ["s1", "s2", "s3"]);
    assert_eq!(ids(&list("definition=nothing+of+this+name").await), [""; 0]);
    assert_eq!(ids(&list("worker=cml+ONE&status=running").await), ["s1"]);
    assert_eq!(ids(&list("unknown=worker").await), ["s2"]);
    assert_eq!(ids(&list("unknown=ports,observation").await), ["s1", "s2", "s3"]);
    for time in ["created", "changed"] {
        assert_eq!(ids(&list(&format!("last=hour&time={time}")).await), ["s1", "s2", "s3"], "{time}");
        assert_eq!(ids(&list(&format!("before=2001-01-01T00:00:00Z&time={time}")).await), [""; 0], "{time}");
    }
    let both = "/api/lablet-sessions?last=day&from=2026-03-01T10:00:00Z";
    world.get(both).await.problem(400, "invalid-input", Some("last"));
    world.get("/api/lablet-sessions?unknown=all").await.problem(400, "invalid-input", Some("unknown"));

    let counts = world.get("/api/lablet-session-counts").await.expect(200);
    let of = |status: &str| json!({ "status": status, "sessions": 1, "is_more": false });
    assert_eq!(counts.body, json!({ "items": [of("pending"), of("running"), of("terminated")] }));
    let counts = world.get("/api/lablet-session-counts?unknown=worker").await.expect(200);
    assert_eq!(counts.body, json!({ "items": [of("pending")] }));
    for of_the_list in ["status=running", "sort=newest", "limit=5", "cursor=x"] {
        let name = of_the_list.split('=').next();
        world.get(&format!("/api/lablet-session-counts?{of_the_list}")).await.problem(400, "invalid-input", name);
    }
}

#[tokio::test]
async fn states_are_chips_with_counts_and_pages_lead_back() {
    let world = World::start().await;
    for id in ["s1", "s2", "s3", "s4", "s5"] {
        world.session(id, "pending").await;
    }
    world.session("s6", "pending").await;
    terminate(&world, "s6").await;
    world.settle().await;
    let shown = page(&world, VIEWER, "/sessions?sort=oldest&limit=2").await;
    for chip in [">pending <b>5</b>", ">terminated <b>1</b>", ">All <b>6</b>", "Failed <b>1</b>"] {
        assert!(shown.replace("</span> ", ">").contains(chip) || shown.contains(chip), "{chip} is missing");
    }
    assert!(shown.contains("6 sessions"));
    assert!(page(&world, VIEWER, "/sessions?sort=changed").await.contains("aria-sort=\"descending\""));
    let link = |shown: &str, rel: &str| {
        let rest = shown.split_once(&format!("rel=\"{rel}\" href=\""))?.1;
        Some(rest.split_once('"').unwrap().0.replace("&#38;", "&"))
    };
    assert_eq!(link(&shown, "prev"), None);
    let second = page(&world, VIEWER, &link(&shown, "next").unwrap()).await;
    assert_eq!(link(&second, "prev").unwrap(), "/sessions?limit=2&sort=oldest");
    let third = page(&world, VIEWER, &link(&second, "next").unwrap()).await;
    assert!(third.contains("/sessions/s5\"") && !third.contains("/sessions/s4\""));
    let back = page(&world, VIEWER, &link(&third, "prev").unwrap()).await;
    assert!(back.contains("/sessions/s3\"") && back.contains("/sessions/s4\"") && !back.contains("/sessions/s5\""));
    // A chip keeps the other filters, and leads back to all of them.
    let of_one = page(&world, VIEWER, "/sessions?status=failed&text=s").await;
    assert!(
        of_one.contains("href=\"/sessions?status=pending&#38;text=s\"") && of_one.contains("href=\"/sessions?text=s\"")
    );
    assert!(of_one.contains("1 session<"));
}

#[tokio::test]
async fn views_are_saved_for_oneself_and_shared_by_admins() {
    let world = World::start().await;
    let view = |name: &str, shared: bool| json!({ "list": "sessions", "name": name, "query": "?status=failed&text=&last=day&cursor=x", "shared": shared });
    let path = "/api/saved-views";
    let saved = as_user(&world, VIEWER, Method::POST, path, &view("Mine", false)).await.expect(200);
    assert_eq!(saved.body["query"], "last=day&status=failed");
    for token in [VIEWER, OPERATOR] {
        as_user(&world, token, Method::POST, path, &view("Ours", true)).await.problem(403, "forbidden", None);
    }
    let shared = as_user(&world, ADMIN, Method::POST, path, &view("Ours", true)).await.expect(200);
    let names = async |token: &str, query: &str| {
        let views = as_user(&world, token, Method::GET, &format!("{path}{query}"), &Value::Null).await.expect(200);
        let items = views.body["items"].as_array().unwrap().clone();
        items.iter().map(|view| view["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(VIEWER, "").await, ["Mine", "Ours"]);
    assert_eq!(names(OPERATOR, "?list=sessions").await, ["Ours"]);
    assert_eq!(names(OPERATOR, "?list=definitions").await, [""; 0]);
    // The same name again replaces it.
    as_user(&world, VIEWER, Method::POST, path, &view("mine", false)).await.expect(200);
    assert_eq!(names(VIEWER, "").await, ["mine", "Ours"]);
    // Nobody sees, or removes, what is another's; an admin removes what is shared.
    let own = format!("{path}/{}", saved.body["id"].as_str().unwrap());
    as_user(&world, ADMIN, Method::DELETE, &own, &Value::Null).await.problem(404, "not-found", None);
    let ours = format!("{path}/{}", shared.body["id"].as_str().unwrap());
    as_user(&world, VIEWER, Method::DELETE, &ours, &Value::Null).await.problem(403, "forbidden", None);
    as_user(&world, VIEWER, Method::DELETE, &own, &Value::Null).await.expect(200);
    as_user(&world, ADMIN, Method::DELETE, &ours, &Value::Null).await.expect(200);
    assert_eq!(names(VIEWER, "").await, [""; 0]);
    // A service has none.
    let request = world.request(Method::GET, path).header("x-api-key", KEY);
    world.send(request).await.problem(403, "forbidden", None);
    let empty = json!({ "list": "sessions", "name": "All", "query": "cursor=x" });
    as_user(&world, VIEWER, Method::POST, path, &empty).await.problem(400, "invalid-input", Some("query"));
}

#[tokio::test]
async fn a_person_has_so_many_views_and_no_more() {
    let world = World::start().await;
    let path = "/api/saved-views";
    let view = |number: u32| json!({ "list": "search", "name": format!("View {number}"), "query": "text=a" });
    for number in 0..50 {
        as_user(&world, VIEWER, Method::POST, path, &view(number)).await.expect(200);
    }
    as_user(&world, VIEWER, Method::POST, path, &view(50)).await.problem(409, "conflict", None);
    as_user(&world, VIEWER, Method::POST, path, &view(7)).await.expect(200);
    as_user(&world, OPERATOR, Method::POST, path, &view(50)).await.expect(200);
}

#[tokio::test]
async fn a_view_is_saved_and_removed_on_the_page_of_its_list() {
    let world = World::start().await;
    world.session("s1", "running").await;
    world.settle().await;
    assert!(!page(&world, VIEWER, "/sessions").await.contains("Save this view"));
    for path in [
        "/sessions?status=failed&last=day",
        "/definitions?text=a",
        "/drift?kind=changed",
        "/requests?status=failed",
        "/proposals?status=open",
        "/search?text=s",
    ] {
        let shown = page(&world, VIEWER, path).await;
        assert!(shown.contains("Save this view") && shown.contains("Sharing needs the role admin"), "{path}");
    }
    let shown = page(&world, ADMIN, "/operations/dead-letters?kind=command").await;
    assert!(shown.contains("Save this view") && !shown.contains("Sharing needs"));

    let shown = page(&world, ADMIN, "/sessions?status=failed&last=day&text=").await;
    let mut form = fields(&shown, "/saved-views");
    form.insert("name".to_owned(), "Failed <today>".to_owned());
    form.insert("shared".to_owned(), "true".to_owned());
    let saved = submit(&world, ADMIN, "/saved-views", &form).await.expect(303);
    assert_eq!(saved.header("location"), "/sessions?last=day&status=failed");
    let seen = page(&world, VIEWER, "/sessions").await;
    assert!(seen.contains("Failed &#60;today&#62;") && seen.contains("href=\"/sessions?last=day&#38;status=failed\""));
    assert!(!seen.contains("Remove a view"), "only an admin removes what is shared");
    let own = page(&world, ADMIN, "/sessions").await;
    let from = own.find("action=\"/saved-views/").unwrap() + "action=\"".len();
    let action = own[from..].split('"').next().unwrap();
    submit(&world, VIEWER, action, &fields(&own, action)).await.expect(403);
    submit(&world, ADMIN, action, &fields(&own, action)).await.expect(303);
    assert!(!page(&world, VIEWER, "/sessions").await.contains("today"));
}

#[tokio::test]
async fn who_changed_what_is_told_in_words() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let etag = world.get("/api/lablet-definitions/d1").await.expect(200).header("etag").to_owned();
    let smaller = json!({
        "resource_requirements": {"cpu_cores": 4, "memory_gb": 6, "storage_gb": 20}, "reason": "it uses less", "evidence": [],
    });
    world.patch("/api/lablet-definitions/d1", &etag, &smaller).await.expect(200);
    world.settle().await;
    let all = world.get("/api/activity").await.expect(200);
    let words: Vec<&str> =
        all.body["items"].as_array().unwrap().iter().map(|row| row["words"].as_str().unwrap()).collect();
    assert_eq!(words.len(), 3, "{words:?}");
    assert!(words[0].ends_with("changed memory of Routing basics from 8 GB to 6 GB"), "{words:?}");
    assert!(words[1].contains("registered CML one at https://cml-1.example.org"), "{words:?}");
    assert!(words[2].ends_with("created Routing basics with 4 cores, 8 GB of memory, 20 GB of storage"), "{words:?}");
    let revised = &all.body["items"][0];
    assert_eq!((revised["reason"].as_str(), revised["aggregate_id"].as_str()), (Some("it uses less"), Some("d1")));
    // Page by page, and by each filter.
    let first = world.get("/api/activity?limit=2").await.expect(200).body;
    let next = first["next_cursor"].as_str().unwrap();
    let second = world.get(&format!("/api/activity?limit=2&cursor={next}")).await.expect(200).body;
    assert_eq!((second["items"].as_array().unwrap().len(), &second["next_cursor"]), (1, &Value::Null));
    let actor = revised["actor"].as_str().unwrap();
    for (query, count) in [
        (format!("actor={actor}&kind=definition"), 1),
        ("actor=admin:nobody".to_owned(), 0),
        ("kind=worker".to_owned(), 1),
        ("id=d1".to_owned(), 2),
        ("last=hour".to_owned(), 3),
        ("before=2001-01-01T00:00:00Z".to_owned(), 0),
    ] {
        let found = world.get(&format!("/api/activity?{query}")).await.expect(200).body;
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{query}");
    }
    let shown = page(&world, VIEWER, "/activity?kind=definition").await;
    assert!(
        shown.contains("changed memory of <a href=\"/definitions/d1\">Routing basics</a> from 8 GB to 6 GB"),
        "{shown}"
    );
    assert!(shown.contains("it uses less") && !shown.contains("CML one"));
    let file = page_csv(&world, "/activity?format=csv").await;
    assert!(file.contains("from 8 GB to 6 GB,it uses less,lablet_definition.revised.v1"), "{file}");
}

async fn page_csv(world: &World, path: &str) -> String {
    let answer = world.get(path).await.expect(200);
    assert!(answer.header("content-type").starts_with("text/csv"));
    answer.body.as_str().unwrap().to_owned()
}
