//! Documents say what is so.

use std::path::{Path, PathBuf};

use bus::rights::{BusUser, authorization};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A page is the one that the code makes. `UPDATE_SNAPSHOTS=1` writes it anew.
pub(crate) fn is_made(page: &str, made: &str) {
    let file = repository().join("docs").join(page);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&file, made).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap();
    assert!(
        committed == made,
        "docs/{page} is not what the code gives; UPDATE_SNAPSHOTS=1 cargo test -p harness writes it again"
    );
}

#[test]
fn the_catalogue_of_events_is_the_one_that_samples_and_code_give() {
    is_made("events.md", &harness::event_catalogue::catalogue(repository()).unwrap());
}

#[test]
fn the_picture_of_a_sessions_life_is_the_one_that_the_code_gives() {
    is_made("session-life.svg", &harness::session_diagram::session_life());
}

#[test]
fn the_catalogue_of_errors_is_the_one_table_of_the_code() {
    is_made("errors.md", &harness::error_catalogue::errors().unwrap());
}

#[test]
fn the_page_of_the_http_api_is_the_one_that_its_description_gives() {
    is_made("http.md", &harness::http_catalogue::operations(repository()).unwrap());
}

#[test]
fn the_rights_on_the_bus_are_those_that_a_server_is_configured_with() {
    let page = std::fs::read_to_string(repository().join("docs/nats-permissions.md")).unwrap();
    let (begin, end) = ("<!-- rights -->\n```\n", "```\n<!-- end of rights -->");
    let (before, rest) = page.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let team = BusUser::Team("grading".parse().unwrap());
    let users: Vec<BusUser> = BusUser::OF_PROCESSES.into_iter().chain([team]).collect();
    let rights = authorization(users.iter().map(|user| (user, format!("nkey: ${}", user.name().to_uppercase()))));
    is_made("nats-permissions.md", &format!("{before}{begin}{rights}{end}{after}"));
}

#[test]
fn the_rights_in_the_database_are_those_of_the_one_table() {
    let page = std::fs::read_to_string(repository().join("docs/postgres-permissions.md")).unwrap();
    let (begin, end) = ("<!-- rights -->\n", "<!-- end of rights -->");
    let (before, rest) = page.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    is_made("postgres-permissions.md", &format!("{before}{begin}{}{end}{after}", projections::rights::page()));
}

#[tokio::test]
async fn the_site_is_built_without_a_warning_and_has_every_document() {
    let folder = tempfile::tempdir().unwrap();
    harness::build_site(folder.path()).await.unwrap();
    let mut documents = Vec::new();
    markdown_files(&repository().join("docs"), &mut documents);
    for document in documents {
        let page = document.strip_prefix(repository()).unwrap().with_extension("html");
        assert!(folder.path().join("html").join(&page).exists(), "{}", page.display());
    }
    assert!(folder.path().join("html/docs/analysis.html").exists());
    assert!(folder.path().join("html/index.html").exists());
}

#[tokio::test]
async fn every_event_of_the_catalogue_is_valid_against_the_schemas_of_the_bus() {
    let catalogue = harness::event_catalogue::catalogue(repository()).unwrap();
    let blocks = catalogue.split("```json\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let notices: Vec<serde_json::Value> = blocks.map(|block| serde_json::from_str(block).unwrap()).collect();
    let asyncapi = app::schemas::asyncapi(&app::notice::PublicUrl::default());
    assert_eq!(harness::validate_notices(&asyncapi, &notices).await.unwrap(), notices.len());
    assert!(notices.len() >= app::notice::schemas().len(), "{}", notices.len());
}

fn markdown_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            markdown_files(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let mut documents = Vec::new();
    markdown_files(repository(), &mut documents);
    assert!(documents.len() >= 4, "{documents:?}");
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = document.parent().unwrap().join(target);
            assert!(path.exists(), "{} links to {link}, which is not there", document.display());
        }
    }
}

#[test]
fn the_table_of_settings_names_every_variable_that_is_read() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let mut read = std::collections::BTreeSet::new();
    for file in [
        "configuration.rs",
        "arguments.rs",
        "up.rs",
        "simulate.rs",
        "export.rs",
        "client/connection.rs",
        "operations.rs",
    ] {
        let text = std::fs::read_to_string(repository().join("cli/src").join(file)).unwrap();
        let names = text.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned);
        read.extend(names.collect::<Vec<_>>());
    }
    assert!(read.len() > 10, "{read:?}");
    for name in read {
        assert!(readme.contains(&format!("`{name}`")), "the README does not tell of {name}");
    }
}

/// Lines without what differs where a piece of a program stands on its own: its indentation.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

#[test]
fn what_the_guide_for_services_shows_of_programs_is_in_the_programs_that_are_run() {
    let guide = std::fs::read_to_string(repository().join("docs/services.md")).unwrap();
    for (language, folder, programs) in
        [("python", "python", ["consumer.py", "sender.py"]), ("ts", "typescript", ["consumer.ts", "sender.ts"])]
    {
        let programs = programs.map(|program| {
            std::fs::read_to_string(repository().join("docs/services").join(folder).join(program)).unwrap()
        });
        let blocks: Vec<&str> = guide.split(&format!("```{language}\n")).skip(1).collect();
        assert!(blocks.len() >= 2, "{language}");
        for block in blocks {
            let shown = lines(block.split("```").next().unwrap());
            let is_part_of = |program: &String| lines(program).windows(shown.len()).any(|window| window == shown);
            assert!(programs.iter().any(is_part_of), "no program of docs/services has {shown:#?}");
        }
    }
}
