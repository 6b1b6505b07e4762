//! What each page says of how to get the same by the API, by the command line and by SQL works when it is copied.

use std::path::Path;

use harness::Lablet;
use reqwest::Method;
use sqlx::Connection as _;

/// Follows what these pages say.
pub(super) async fn follow(lablet: &Lablet, pages: &[String]) {
    let ready = lablet.ready();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut database = sqlx::PgConnection::connect(ready.analyst_database_url.as_deref().unwrap()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_lablet-under-test"), folder.path().join("lablet")).unwrap();
    for page in pages {
        let request = client.get(format!("{}{page}", ready.http)).bearer_auth(&ready.admin_token);
        let html = request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap();
        let said = copied(html.split("class=\"elsewhere\"").nth(1).unwrap_or_else(|| panic!("{page} says nothing")));
        let mut said = said.iter();
        let api = said.next().unwrap();
        let (_, path) = api.trim_end_matches('"').split_once("$LABLET_URL").unwrap();
        if let Err(refused) = lablet.request(Method::GET, path, None).await.unwrap() {
            panic!("{page}: {api}: {}", refused.problem);
        }
        for line in said {
            if line.starts_with("SELECT") {
                let statement = sqlx::AssertSqlSafe(line.clone());
                sqlx::raw_sql(statement)
                    .fetch_optional(&mut database)
                    .await
                    .unwrap_or_else(|error| panic!("{page}: {line}: {error}"));
            } else {
                in_a_shell(lablet, folder.path(), line).await.unwrap_or_else(|error| panic!("{page}: {line}: {error}"));
            }
        }
    }
}

/// The texts that the buttons copy.
fn copied(html: &str) -> Vec<String> {
    let unescaped = |text: &str| {
        let pairs = [("&#34;", "\""), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&#38;", "&")];
        pairs.iter().fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
    };
    html.split("data-copy=\"")
        .skip(1)
        .filter_map(|rest| rest.split_once('"'))
        .map(|(text, _)| unescaped(text))
        .collect()
}

async fn in_a_shell(lablet: &Lablet, folder: &Path, line: &str) -> Result<(), String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = tokio::process::Command::new("sh");
    shell.arg("-c").arg(line).env("PATH", format!("{}:{path}", folder.display()));
    let output = shell.env("LABLET_DATA_DIR", lablet.data_dir()).kill_on_drop(true).output().await.unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
