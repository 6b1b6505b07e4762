//! Pods: confined, probed, drained, found by what is to find them, and told settings that their role has.

use std::collections::{BTreeMap, BTreeSet};

use bus::rights::BusUser;
use harness::{helm_template, validate_manifests};
use serde_norway::Value;

use super::{EVERYTHING, Manifests, ROLES, list, selects, texts};
use crate::tidy::repository;

/// Settings of every command.
const OF_ALL: [&str; 2] = ["LABLET_LOG", "LABLET_LOG_FORMAT"];

#[tokio::test]
async fn kubernetes_takes_what_the_charts_make() {
    let everything = Manifests::of_lablet("").await;
    assert_eq!(validate_manifests(&everything.text).await.unwrap(), everything.all.len());
    let postgres = helm_template("lablet-postgres", "lablet-postgres", &["image: postgres:17"]).await.unwrap();
    assert_eq!(validate_manifests(&postgres).await.unwrap(), 2);
    // It is strict.
    let misspelt = everything.text.replace("readOnlyRootFilesystem", "readOnlyRootFileSystem");
    let refused = validate_manifests(&misspelt).await.unwrap_err().to_string();
    assert!(refused.contains("Deployment lablet-relay") && refused.contains("readOnlyRootFileSystem"), "{refused}");
    let misspelt = postgres.replace("enableSuperuserAccess", "enableSuperUserAccess");
    assert!(validate_manifests(&misspelt).await.unwrap_err().to_string().contains("Cluster lablet-postgres"));
}

#[tokio::test]
async fn every_pod_is_confined() {
    for (role, pod) in Manifests::of_lablet("").await.pods() {
        let spec = &pod["spec"];
        assert_eq!(spec["automountServiceAccountToken"], false, "{role}");
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{role}");
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{role}");
        let [container] = list(&spec["containers"]) else { panic!("{role} is not one container") };
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false, "{role}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{role}");
        assert_eq!(texts(&context["capabilities"]["drop"]), ["ALL"], "{role}");
        assert_eq!(texts(&container["args"]), [role.as_str()], "nothing else is in the arguments");
        for (part, name) in [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")] {
            assert!(container["resources"][part][name].is_string(), "{role} has no {part} of {name}");
        }
        // What can be written is gone with the pod, and every other file is a Secret's.
        for volume in list(&spec["volumes"]) {
            assert!(volume["name"] == "tmp" || volume["secret"]["secretName"].is_string(), "{role}: {volume:?}");
        }
    }
}

/// The settings of each role, as docs/command.md has them.
fn settings_of(role: &str) -> BTreeSet<String> {
    let reference = std::fs::read_to_string(repository().join("docs/command.md")).unwrap();
    let head = format!("### `lablet {role}`\n");
    let part = reference.split(&head).nth(1).unwrap_or_else(|| panic!("{role} is no command"));
    let part = part.split("\n### ").next().unwrap();
    // A secret has no option: its row begins with the variable.
    let named = part.split("Environment: `").skip(1).chain(part.split("\n| `").skip(1));
    let named = named.map(|rest| rest.split('`').next().unwrap().to_owned());
    named.filter(|name| !name.starts_with('-')).collect()
}

#[tokio::test]
async fn each_role_has_what_it_needs_and_settings_that_it_knows() {
    let manifests = Manifests::of_lablet("").await;
    let users: BTreeMap<&str, BusUser> = BTreeMap::from([
        ("migrate", BusUser::Operator),
        ("serve", BusUser::Commands),
        ("project", BusUser::Projector),
        ("relay", BusUser::Relay),
        ("deliver", BusUser::Webhooks),
        ("control", BusUser::Controller),
    ]);
    let pods = manifests.pods();
    assert_eq!(pods.keys().map(String::as_str).collect::<Vec<_>>(), users.keys().copied().collect::<Vec<_>>());
    for (role, pod) in pods {
        let known = settings_of(&role);
        let container = &pod["spec"]["containers"][0];
        let mounts: BTreeMap<&str, &str> = list(&container["volumeMounts"])
            .iter()
            .map(|mount| (mount["mountPath"].as_str().unwrap(), mount["name"].as_str().unwrap()))
            .collect();
        let mut settings = BTreeMap::new();
        for setting in list(&container["env"]) {
            let (name, value) = (setting["name"].as_str().unwrap(), setting["value"].as_str().unwrap());
            assert!(settings.insert(name, value).is_none(), "{role} has {name} twice");
            let is_known = known.contains(name.trim_end_matches("_FILE")) || OF_ALL.contains(&name);
            assert!(is_known, "{role} does not know {name}");
            if let Some((folder, file)) = value.strip_prefix("/etc/").and(value.rsplit_once('/')) {
                let volume =
                    list(&pod["spec"]["volumes"]).iter().find(|volume| volume["name"] == mounts[folder]).unwrap();
                let items = list(&volume["secret"]["items"]);
                let is_there = items.is_empty() || items.iter().any(|item| item["path"] == file);
                assert!(is_there, "{role}: {name} names {value}, which is in no Secret");
            }
        }
        assert_eq!(settings["LABLET_NATS_INBOX_PREFIX"], users[role.as_str()].inbox_prefix());
        let bus = list(&pod["spec"]["volumes"]).iter().find(|volume| volume["name"] == "bus").unwrap();
        let keys: Vec<&str> = list(&bus["secret"]["items"]).iter().map(|item| item["key"].as_str().unwrap()).collect();
        assert_eq!(keys, ["ca.pem", &format!("{}.nk", users[role.as_str()].name())], "{role} sees its own key alone");
        let database = settings.get("LABLET_DATABASE_URL_FILE").copied();
        assert_eq!(database, (role != "control").then_some("/etc/lablet/database/url"), "{role}");
    }
}

#[tokio::test]
async fn secrets_stand_in_files_alone_and_the_documents_name_each() {
    let manifests = Manifests::of_lablet("").await;
    let documents = std::fs::read_to_string(repository().join("docs/kubernetes.md")).unwrap();
    for (role, pod) in manifests.pods() {
        for setting in list(&pod["spec"]["containers"][0]["env"]) {
            let (name, value) = (setting["name"].as_str().unwrap(), setting["value"].as_str().unwrap());
            let is_secret = ["PASSWORD", "TOKEN", "SECRET", "_KEY", "DATABASE_URL", "OTLP_HEADERS"].iter();
            let is_secret = is_secret.clone().any(|word| name.contains(word)) && !name.ends_with("_HASHES");
            assert!(!is_secret || value.starts_with("/etc/lablet/"), "{role}: {name}={value}");
            assert!(!value.contains('@'), "{role}: {name} may hold a password");
        }
        assert!(pod["spec"]["containers"][0].get("envFrom").is_none(), "{role}");
    }
    let values: Value = serde_norway::from_str(EVERYTHING).unwrap();
    let mut named = Vec::new();
    for (name, secret) in values["secrets"].as_mapping().unwrap() {
        let name = name.as_str().unwrap();
        match secret.as_mapping() {
            None => named.push(format!("secrets.{name}")),
            Some(parts) => named.extend(parts.keys().map(|part| format!("secrets.{name}.{}", part.as_str().unwrap()))),
        }
    }
    assert_eq!(named.len(), 13);
    for path in named {
        assert!(documents.contains(&format!("`{path}`")), "docs/kubernetes.md does not tell of {path}");
    }
}

#[tokio::test]
async fn each_role_is_probed_replaced_without_a_gap_and_given_time_to_end() {
    let manifests = Manifests::of_lablet("").await;
    let deployments = manifests.of_kind("Deployment");
    assert_eq!(deployments.len(), ROLES.len());
    for role in ROLES {
        let spec = &deployments[&format!("lablet-{role}")]["spec"];
        assert_eq!(spec["strategy"]["rollingUpdate"]["maxUnavailable"], 0, "{role}");
        let pod = &spec["template"]["spec"];
        let container = &pod["containers"][0];
        let port = &container["ports"][0]["containerPort"];
        for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            let asked = &container[probe]["httpGet"];
            assert!(asked["path"] == path && &asked["port"] == port, "{role}: {probe}");
            // Each look at what a role needs is bounded by 2 s.
            assert!(container[probe]["timeoutSeconds"].as_u64().unwrap() > 2, "{role}: {probe}");
        }
        let before = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
        let drain = list(&container["env"]).iter().find(|setting| setting["name"] == "LABLET_DRAIN_SECONDS");
        let drain: u64 = drain.map_or(0, |setting| setting["value"].as_str().unwrap().parse().unwrap());
        assert_eq!(drain > 0, role == "serve", "{role}");
        // cli/src/roles.rs gives all of a role 20 s, and the last spans and metrics 2 s each.
        assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > before + drain + 24, "{role}");
    }
    let scaled = manifests.of_kind("HorizontalPodAutoscaler");
    assert_eq!(scaled["lablet-serve"]["spec"]["scaleTargetRef"]["name"], "lablet-serve");
    assert!(deployments["lablet-serve"]["spec"].get("replicas").is_none(), "who scales it says how many");
}

#[tokio::test]
async fn what_finds_pods_finds_those_of_its_role() {
    let manifests = Manifests::of_lablet("").await;
    let pods = manifests.pods();
    let found = |selector: &Value| -> Vec<&str> {
        let found = pods.iter().filter(|(_, pod)| selects(selector, &pod["metadata"]["labels"]));
        found.map(|(role, _)| role.as_str()).collect()
    };
    for (name, deployment) in manifests.of_kind("Deployment") {
        assert_eq!(found(&deployment["spec"]["selector"]["matchLabels"]), [&name["lablet-".len()..]]);
        for spread in list(&deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]) {
            assert_eq!(found(&spread["labelSelector"]["matchLabels"]), [&name["lablet-".len()..]]);
        }
    }
    for (name, budget) in manifests.of_kind("PodDisruptionBudget") {
        assert_eq!(found(&budget["spec"]["selector"]["matchLabels"]), [&name["lablet-".len()..]]);
        assert_eq!(budget["spec"]["maxUnavailable"], 1);
    }
    assert_eq!(found(&manifests.of_kind("Service")["lablet-serve"]["spec"]["selector"]), ["serve"]);
    let ingress = &manifests.of_kind("Ingress")["lablet"]["spec"]["rules"][0];
    assert_eq!(ingress["host"], "lablet.example.org");
    assert_eq!(ingress["http"]["paths"][0]["backend"]["service"]["name"], "lablet-serve");
    let monitor = &manifests.of_kind("PodMonitor")["lablet"]["spec"];
    assert_eq!(found(&monitor["selector"]["matchLabels"]).len(), 6);
    let ports: Vec<&str> =
        list(&monitor["podMetricsEndpoints"]).iter().map(|endpoint| endpoint["port"].as_str().unwrap()).collect();
    for role in ROLES {
        let port = pods[role]["spec"]["containers"][0]["ports"][0]["name"].as_str().unwrap();
        assert!(ports.contains(&port), "nobody asks {role} for its metrics");
    }
}

#[tokio::test]
async fn a_single_pod_has_no_budget_that_would_keep_its_node() {
    let one = "{ serve: { replicas: 1, autoscaling: { enabled: false } }, relay: { replicas: 1 } }";
    let manifests = Manifests::of_lablet(one).await;
    let budgets = manifests.of_kind("PodDisruptionBudget");
    assert_eq!(budgets.keys().collect::<Vec<_>>(), ["lablet-control", "lablet-deliver", "lablet-project"]);
}

#[tokio::test]
async fn the_migrations_come_before_everything_else_and_the_alerts_are_those_that_are_tested() {
    let manifests = Manifests::of_lablet("").await;
    let job = manifests.of_kind("Job")["lablet-migrate"];
    assert_eq!(job["metadata"]["annotations"]["helm.sh/hook"], "pre-install,pre-upgrade");
    // And by their own way to the database and the bus, which is there for as long.
    let policy = manifests.of_kind("NetworkPolicy")["lablet-migrate"];
    let weight =
        |manifest: &Value| manifest["metadata"]["annotations"]["helm.sh/hook-weight"].as_str().unwrap().parse();
    let (earlier, later): (i32, i32) = (weight(policy).unwrap(), weight(job).unwrap());
    assert!(earlier < later);
    let rules = std::fs::read_to_string(repository().join("monitoring/prometheus/rules.yml")).unwrap();
    let rules: Value = serde_norway::from_str(&rules).unwrap();
    assert_eq!(manifests.of_kind("PrometheusRule")["lablet"]["spec"], rules);
}

#[test]
fn the_chart_is_of_this_version() {
    let chart = std::fs::read_to_string(repository().join("packaging/helm/lablet/Chart.yaml")).unwrap();
    let chart: Value = serde_norway::from_str(&chart).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}
