//! Proposals and policies of advice, by the door of the bus.

use app::authority::{Authorities, Grants, TEAM_SETTING};
use app::command::Command;
use app::command_consumer::{CommandDecoder, Rejection};
use app::commands::{Answer, Commands};
use app::log::Origin;
use bus::subjects;
use domain::advice_policy::Applier;
use domain::lablet_definition::LabletDefinition;
use domain::lablet_session::LabletSession;
use serde_json::{Value, json};

use crate::stage::Stage;

/// A team on the bus.
struct Team {
    decoder: CommandDecoder,
    name: &'static str,
    sent: std::cell::Cell<u32>,
}

impl Team {
    fn new(commands: &Commands, name: &'static str) -> Self {
        Self { decoder: CommandDecoder::new(commands.clone()), name, sent: std::cell::Cell::new(0) }
    }

    async fn send(&self, command: &str, data: Value) -> Result<Answer, Rejection> {
        self.sent.set(self.sent.get() + 1);
        let (source, id) = (format!("/{}", self.name), format!("e-{}", self.sent.get()));
        let event = json!({
            "specversion": "1.0", "id": id, "source": source, "type": Command::event_type(command), "subject": "ospf",
            "data": data
        });
        let subject = subjects::command(self.name, command);
        self.decoder.handle(CommandDecoder::take(&subject, None, event.to_string().as_bytes())?).await
    }

    async fn refused(&self, command: &str, data: Value) -> String {
        let rejection = self.send(command, data).await.unwrap_err();
        format!("{}: {rejection}", rejection.code())
    }
}

async fn stage() -> (Stage, Commands) {
    let stage = Stage::new().await;
    let teams = Grants::parse(TEAM_SETTING, "operations=advice;gitops=proposals").unwrap();
    let commands = stage.commands.clone().with_authorities(Authorities::new(teams, Grants::default()));
    let new = json!({
        "id": "ospf", "name": "OSPF", "version": "1",
        "resource_requirements": {"cpu_cores": 8, "memory_gb": 16, "storage_gb": 40}
    });
    commands.create_definition(serde_json::from_value(new).unwrap(), &Origin::from_actor("test")).await.unwrap();
    (stage, commands)
}

fn smaller(memory_gb: u32) -> Value {
    json!({
        "kind": "size", "after": {"cpu_cores": 4, "memory_gb": memory_gb, "storage_gb": 40},
        "finding": "over_provisioned", "promise": 0.95, "as_of": "0000000001-00000000000000000007-0000000000000000007", "sessions": 5,
        "reason": "6 GB keeps 95 of 100 sessions within their memory", "evidence": []
    })
}

fn step(proposal_id: &Value, reason: Option<&str>) -> Value {
    json!({"proposal_id": proposal_id, "reason": reason.unwrap_or("because")})
}

async fn memory_gb(stage: &Stage) -> u32 {
    let (definition, ..) = stage.log.load::<LabletDefinition>("ospf").await.unwrap().unwrap();
    definition.present().unwrap().content.resource_requirements.memory_gb.get()
}

#[tokio::test]
async fn a_proposal_lives_on_the_bus_from_opening_to_verification() {
    let (stage, commands) = stage().await;
    let (operations, gitops) = (Team::new(&commands, "operations"), Team::new(&commands, "gitops"));
    let opened = operations.send("open_proposal", smaller(6)).await.unwrap();
    assert_eq!((opened.status, &opened.detail["proposal_status"]), ("recorded", &json!("open")));
    let id = opened.detail["proposal_id"].clone();
    let again = operations.send("open_proposal", smaller(6)).await.unwrap();
    assert_eq!((again.status, &again.detail["proposal_id"]), ("already_done", &id), "the same is proposed once");

    let next = operations.send("open_proposal", smaller(7)).await.unwrap().detail["proposal_id"].clone();
    let refused = gitops.refused("claim_proposal", step(&id, None)).await;
    assert!(refused.starts_with("proposal_state: ") && refused.ends_with("was superseded already"), "{refused}");

    let claimed = gitops.send("claim_proposal", step(&next, None)).await.unwrap();
    assert_eq!(
        (&claimed.detail["proposal_status"], &claimed.detail["proposal_version"]),
        (&json!("claimed"), &json!(2))
    );
    let refused = operations.refused("open_proposal", smaller(5)).await;
    assert!(refused.contains("was claimed by team:gitops"), "{refused}");
    let refused = operations.refused("withdraw_proposal", step(&next, None)).await;
    assert!(refused.contains("was claimed by team:gitops"), "{refused}");
    let mut stale = step(&next, None);
    stale["version"] = json!(1);
    assert!(gitops.refused("apply_proposal", stale).await.starts_with("stale: "));

    // A team applies as an operator does: the default policy wants an admin.
    let refused = gitops.refused("apply_proposal", step(&next, None)).await;
    assert!(refused.starts_with("forbidden: ") && refused.contains("applied by admins"), "{refused}");
    let policy = json!({"policy": {"applier": "operator"}, "reason": "GitOps applies"});
    operations.send("set_definition_policy", policy).await.unwrap();
    let applied = gitops.send("apply_proposal", step(&next, None)).await.unwrap();
    assert_eq!((&applied.detail["proposal_status"], &applied.detail["revision"]), (&json!("applied"), &json!(2)));
    assert_eq!(memory_gb(&stage).await, 7);
    let again = gitops.send("apply_proposal", step(&next, None)).await.unwrap();
    assert_eq!((again.status, &again.detail["revision"]), ("already_done", &json!(2)), "applied twice is applied once");

    let verification = json!({
        "proposal_id": next, "held": true, "sessions": 3,
        "sessions_short": {"cpu_cores": 0, "memory_mb": 0, "storage_mb": 0}
    });
    assert_eq!(operations.send("verify_proposal", verification.clone()).await.unwrap().status, "recorded");
    assert_eq!(operations.send("verify_proposal", verification).await.unwrap().status, "already_done");
}

#[tokio::test]
async fn a_proposal_ends_without_a_revision_with_a_reason() {
    let (stage, commands) = stage().await;
    let operations = Team::new(&commands, "operations");
    let id = operations.send("open_proposal", smaller(6)).await.unwrap().detail["proposal_id"].clone();
    let refused = operations.refused("dismiss_proposal", json!({ "proposal_id": id })).await;
    assert!(refused.starts_with("invalid: reason is absent"), "{refused}");
    assert!(operations.refused("fail_proposal", step(&id, None)).await.contains("claim it first"));
    operations.send("claim_proposal", step(&id, None)).await.unwrap();
    let failed = operations.send("fail_proposal", step(&id, Some("the repository is frozen"))).await.unwrap();
    assert_eq!(failed.detail["proposal_status"], "failed");

    let id = operations.send("open_proposal", smaller(7)).await.unwrap().detail["proposal_id"].clone();
    let dismissed = operations.send("dismiss_proposal", step(&id, Some("an exam is on"))).await.unwrap();
    assert_eq!(dismissed.detail["proposal_status"], "dismissed");
    let again = operations.send("open_proposal", smaller(7)).await.unwrap();
    assert_eq!((again.status, again.detail.get("proposal_id")), ("already_done", None), "it is not wanted");

    let id = operations.send("open_proposal", smaller(8)).await.unwrap().detail["proposal_id"].clone();
    let withdrawn = operations.send("withdraw_proposal", step(&id, Some("it is right sized"))).await.unwrap();
    assert_eq!(withdrawn.detail["proposal_status"], "superseded");

    // Revised by hand: a proposal that was made before rests on what is no more.
    let id = operations.send("open_proposal", smaller(9)).await.unwrap().detail["proposal_id"].clone();
    operations.send("claim_proposal", step(&id, None)).await.unwrap();
    let by_hand = json!({
        "resource_requirements": {"cpu_cores": 2, "memory_gb": 4, "storage_gb": 40}, "reason": "a new image"
    });
    let ada = Origin::from_actor("admin:ada");
    let revision = serde_json::from_value(by_hand).unwrap();
    commands.revise_definition(&"ospf".parse().unwrap(), revision, None, &ada).await.unwrap();
    let apply = |applier| {
        let step = serde_json::from_value(step(&id, None)).unwrap();
        let (commands, ada) = (&commands, &ada);
        async move { commands.apply_proposal(&"ospf".parse().unwrap(), step, applier, &app::log::Expected::Any, ada).await }
    };
    let refused = apply(Applier::Admin).await.unwrap_err();
    assert_eq!((refused.code(), refused.to_string().contains("superseded already")), ("proposal_state", true));
    assert_eq!(memory_gb(&stage).await, 4);
}

#[tokio::test]
async fn whoever_was_not_given_advice_changes_nothing_of_it() {
    let (_stage, commands) = stage().await;
    let (booking, gitops) = (Team::new(&commands, "booking"), Team::new(&commands, "gitops"));
    let refused = booking.refused("open_proposal", smaller(6)).await;
    assert!(refused.contains("may add open_proposal or the group advice"), "{refused}");
    let refused = booking.refused("claim_proposal", step(&json!("p1"), None)).await;
    assert!(refused.contains("may add claim_proposal or the group proposals"), "{refused}");
    let refused = gitops.refused("set_default_policy", json!({"reason": "because"})).await;
    assert!(refused.starts_with("forbidden: "), "{refused}");
    assert!(gitops.refused("claim_proposal", step(&json!("p1"), None)).await.starts_with("not_found: "));
}

#[tokio::test]
async fn a_policy_is_set_by_what_differs_from_the_usual_one_and_refused_where_it_contradicts_itself() {
    let (_stage, commands) = stage().await;
    let operations = Team::new(&commands, "operations");
    let careful = json!({"policy": {"promise": 0.97, "limits": {"memory_mb": {"floor": 2048}}}, "reason": "exams"});
    let event = |data: &Value| {
        json!({
            "specversion": "1.0", "id": data.to_string().len().to_string(), "source": "/operations",
            "type": Command::event_type("set_default_policy"), "data": data
        })
        .to_string()
    };
    let subject = subjects::command("operations", "set_default_policy");
    let send = async |data: Value| {
        let decoded = CommandDecoder::take(&subject, None, event(&data).as_bytes());
        match decoded {
            Ok(decoded) => operations.decoder.handle(decoded).await.map_err(|rejection| rejection.to_string()),
            Err(rejection) => Err(rejection.to_string()),
        }
    };
    let set = send(careful).await.unwrap();
    assert_eq!((set.status, &set.detail["policy_id"], set.sequence), ("recorded", &json!("default"), 1));
    let (policy, version) = commands.default_policy().await.unwrap();
    assert_eq!((policy.policy().promise.share(), policy.policy().minimum_sessions, version), (0.97, 3, 1));
    for (policy, part) in [
        (json!({"promise": 0}), "policy.promise"),
        (json!({"promise": 1}), "a share above 0 and below 1"),
        (json!({"limits": {"memory_mb": {"floor": 8192, "cap": 4096}}}), "floor is 8192, above the cap of 4096"),
        (json!({"minimum_sessions": 0}), "minimum_sessions"),
        (json!({"applier": "nobody"}), "policy.applier"),
    ] {
        let refused = send(json!({"policy": policy, "reason": "because"})).await.unwrap_err();
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(send(json!({"policy": null, "reason": "as before"})).await.unwrap().sequence, 2);
}

#[tokio::test]
async fn a_session_is_no_evidence_until_it_is_again() {
    let (stage, commands) = stage().await;
    let origin = Origin::from_actor("admin:ada");
    let new = serde_json::from_value(json!({"id": "ospf", "definition_id": "ospf"})).unwrap();
    commands.create_session(new, &origin).await.unwrap();
    let operations = Team::new(&commands, "operations");
    let because = json!({"reason": "a load test"});
    for (command, status, excluded) in [
        ("exclude_session_evidence", "recorded", true),
        ("exclude_session_evidence", "already_done", true),
        ("include_session_evidence", "recorded", false),
        ("include_session_evidence", "already_done", false),
    ] {
        assert_eq!(operations.send(command, because.clone()).await.unwrap().status, status);
        let (session, ..) = stage.log.load::<LabletSession>("ospf").await.unwrap().unwrap();
        assert_eq!(session.present().unwrap().evidence_excluded, excluded);
    }
    assert!(operations.refused("exclude_session_evidence", json!({})).await.contains("reason is missing"));
}
