//! The pages' style, scripts and pictures: part of the executable, each under a name that changes with its content.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};

use crate::problem::Problem;

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, media type and content of every asset.
const SOURCES: [(&str, &str, &[u8]); 9] = [
    ("lablet.css", "text/css; charset=utf-8", include_bytes!("../assets/lablet.css")),
    ("lablet.js", SCRIPT, include_bytes!("../assets/lablet.js")),
    ("search.js", SCRIPT, include_bytes!("../assets/search.js")),
    ("keys.js", SCRIPT, include_bytes!("../assets/keys.js")),
    ("phone.js", SCRIPT, include_bytes!("../assets/phone.js")),
    ("usage.js", SCRIPT, include_bytes!("../assets/usage.js")),
    ("htmx.js", SCRIPT, include_bytes!("../assets/vendor/htmx.min.js")),
    ("idiomorph.js", SCRIPT, include_bytes!("../assets/vendor/idiomorph.min.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("../assets/icon.svg")),
];

struct Asset {
    name: &'static str,
    /// With the hash of the content, e.g. `/assets/lablet.1f3a….css`.
    path: String,
    media_type: &'static str,
    plain: Bytes,
    /// Empty where it would not be smaller.
    compressed: Bytes,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| SOURCES.into_iter().map(Asset::new).collect());

impl Asset {
    fn new((name, media_type, content): (&'static str, &'static str, &'static [u8])) -> Self {
        let hash: String = Sha256::digest(content).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let (stem, ending) = name.split_once('.').unwrap_or((name, ""));
        let compressed = compress(content).filter(|compressed| compressed.len() < content.len()).unwrap_or_default();
        Self {
            name,
            path: format!("/assets/{stem}.{hash}.{ending}"),
            media_type,
            plain: Bytes::from_static(content),
            compressed: compressed.into(),
        }
    }
}

fn compress(content: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).ok()?;
    encoder.finish().ok()
}

/// Where an asset is served. A name that is none leads nowhere, which a test would see.
pub(crate) fn url(name: &str) -> &'static str {
    ASSETS.iter().find(|asset| asset.name == name).map_or("/assets/unknown", |asset| asset.path.as_str())
}

/// `GET /assets/{file}`: an asset, to be kept for good.
pub(crate) async fn serve(Path(file): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let path = format!("/assets/{file}");
    let asset = ASSETS.iter().find(|asset| asset.path == path).ok_or_else(|| Problem::not_found("asset", &file))?;
    let accepts_gzip = headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|coding| coding.trim().starts_with("gzip")));
    let kept = [
        (CONTENT_TYPE, HeaderValue::from_static(asset.media_type)),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
        (VARY, HeaderValue::from_static("Accept-Encoding")),
    ];
    Ok(if accepts_gzip && !asset.compressed.is_empty() {
        (kept, [(CONTENT_ENCODING, "gzip")], asset.compressed.clone()).into_response()
    } else {
        (kept, asset.plain.clone()).into_response()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_asset_is_served_under_the_hash_of_its_content_alone() {
        for (name, ..) in SOURCES {
            let path = url(name);
            assert_ne!(path, "/assets/unknown", "{name}");
            let file = path.strip_prefix("/assets/").unwrap().to_owned();
            let response = serve(Path(file), HeaderMap::new()).await.unwrap();
            assert_eq!(response.headers()[CACHE_CONTROL], "public, max-age=31536000, immutable");
            assert!(serve(Path(name.to_owned()), HeaderMap::new()).await.is_err());
        }
    }

    #[tokio::test]
    async fn who_takes_gzip_gets_less() {
        let file = url("lablet.css").strip_prefix("/assets/").unwrap().to_owned();
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("br, gzip;q=0.8"))]);
        let response = serve(Path(file), headers).await.unwrap();
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
    }
}
