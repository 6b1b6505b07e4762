//! The browser of the tests itself: it finds what is there, and fails where it should.

use axum::Router;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use harness::{Appearance, Browser, DESKTOP, Element, PHONE};

const PAGE: &str = r##"<!doctype html>
<html lang="en">
<head><title>Sample</title><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><link rel="stylesheet" href="/style.css"><script src="/script.js" defer></script></head>
<body>
<header><nav aria-label="Main"><a href="#main">To the content</a> <a href="/other">Other</a></nav></header>
<main id="main">
<h1>Sample</h1>
<section aria-labelledby="seen"><h2 id="seen">What was seen</h2>
<table><caption>Ports</caption>
<thead><tr><th scope="col">Port</th><th scope="col">Now</th><th scope="col">Do</th></tr></thead>
<tbody><tr><td>PC_serial</td><td>as planned</td><td><button type="button">Look</button></td></tr>
<tr><td>R1_vnc</td><td>added</td><td><button type="button" id="look">Look</button></td></tr></tbody></table>
</section>
<form action="/other"><label for="reason">Reason</label> <input id="reason" name="reason">
<label>Kind <select name="kind"><option>first</option><option>second</option></select></label>
<button type="submit">Send</button>
<button type="button" disabled aria-describedby="why">Revise</button> <span id="why">Needs the role admin</span></form>
<p id="later" role="status"></p>
<p id="stream"></p>
</main>
</body></html>"##;

const OTHER: &str = r#"<!doctype html><html lang="en"><head><title>Other</title><link rel="icon" href="data:,"></head>
<body><main><h1>Other</h1></main></body></html>"#;

/// What axe-core and the console must complain of: a picture without words, faint text, an inline script.
const FAULTY: &str = r#"<!doctype html><html lang="en"><head><title>Faulty</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css"><script>document.title = "ran"</script></head>
<body><main><h1>Faulty</h1><p class="faint">Faint</p><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="></main></body></html>"#;

const STYLE: &str = "body { background: #fff; color: #111 } .faint { color: #ddd }
    :focus-visible { outline: 2px solid #00f }
    @media (prefers-color-scheme: dark) { body { background: #111; color: #eee } .faint { color: #eee } a { color: #9cf } }";

const SCRIPT: &str = r#"
document.getElementById("look").addEventListener("click", () => {
    setTimeout(() => { document.getElementById("later").textContent = "Looked at R1"; }, 300);
});
const stream = document.getElementById("stream");
const source = new EventSource("/stream");
source.onmessage = message => { stream.textContent = "connected " + message.data; };
source.onerror = () => { stream.textContent = "connection lost"; };
"#;

async fn serve() -> Browser {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'";
    let page = |body: &'static str, kind: &'static str| {
        get(move || async move { ([(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY)], body) })
    };
    let html = "text/html; charset=utf-8";
    let stream = async || {
        let once = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(Event::default().data("1"))]);
        Sse::new(futures_util::StreamExt::chain(once, futures_util::stream::pending()))
    };
    let pages = Router::new()
        .route("/", page(PAGE, html))
        .route("/other", page(OTHER, html))
        .route("/faulty", page(FAULTY, html))
        .route("/style.css", page(STYLE, "text/css"))
        .route("/script.js", page(SCRIPT, "text/javascript"))
        .route("/stream", get(stream));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, pages).await.unwrap() });
    Browser::start(&format!("http://{address}")).await.unwrap()
}

fn names(elements: &[Element<'_>]) -> Vec<String> {
    elements.iter().map(|element| element.name.clone()).collect()
}

#[tokio::test]
async fn a_page_is_used_as_a_person_uses_it() {
    let browser = serve().await;
    browser.goto("/").await.unwrap();
    assert_eq!((browser.title().await.unwrap().as_str(), browser.url().await.unwrap().as_str()), ("Sample", "/"));

    // Found by name, within what has a name.
    browser.heading("What was seen").await.unwrap();
    let seen = browser.part("What was seen").await.unwrap();
    assert_eq!(seen.rows().await.unwrap().len(), 3);
    let row = seen.row("R1_vnc").await.unwrap();
    assert!(row.text().await.unwrap().contains("added"));
    let load = browser.page_load().await.unwrap();
    row.press_button("Look").await.unwrap();
    browser.notice("Looked at R1").await.unwrap();
    browser.wait_until_text("Looked at R1").await.unwrap();
    assert_eq!(browser.page_load().await.unwrap(), load, "nothing was loaded again");
    let navigation = browser.part("Main").await.unwrap();
    assert_eq!(names(&navigation.links().await.unwrap()), ["To the content", "Other"]);

    // What may not be used says why.
    let revise = browser.button("Revise").await.unwrap();
    assert!(!revise.enabled);
    assert_eq!(revise.description, "Needs the role admin");
    let refused = browser.press_button("Revise").await.unwrap_err();
    assert!(refused.to_string().contains("Needs the role admin"), "{refused:#}");

    // By keyboard alone.
    browser.tab_to("textbox", "Reason").await.unwrap();
    let keys = browser.keys();
    browser.type_text("since it is so").await.unwrap();
    assert_eq!(browser.field("Reason").await.unwrap().value().await.unwrap(), "since it is so");
    browser.press("Shift+Tab Shift+Tab").await.unwrap();
    assert_eq!(browser.focus().await.unwrap().name, "Look");
    browser.fill("Reason", "else").await.unwrap();
    browser.choose("Kind", "second").await.unwrap();
    browser.press_button("Send").await.unwrap();
    browser.wait_until_url("reason=else&kind=second").await.unwrap();
    assert_ne!(browser.page_load().await.unwrap(), load);
    browser.back().await.unwrap();
    browser.follow("Other").await.unwrap();
    browser.heading("Other").await.unwrap();
    assert_eq!(browser.clicks(), 4, "Look, an option, Send, Other");
    assert_eq!(browser.keys() - keys, 14 + 2 + 4, "a text, two chords, another text");
    browser.finish().await.unwrap();
}

#[tokio::test]
async fn the_checks_of_a_page_can_fail() {
    let browser = serve().await;
    browser.goto("/").await.unwrap();
    browser.expect_accessible().await.unwrap();
    browser.appear(DESKTOP.dark()).await.unwrap();
    browser.expect_accessible().await.unwrap();
    assert_eq!(browser.console_errors().await.unwrap(), [""; 0]);

    // A lost connection is noticed, and found again.
    browser.wait_until_text("connected 1").await.unwrap();
    browser.offline(true);
    browser.wait_until_text("connection lost").await.unwrap();
    browser.offline(false);
    browser.wait_until_text("connected 1").await.unwrap();

    // Everything that was transferred is counted: page, style, script.
    browser.reload().await.unwrap();
    let weight = browser.weight().await.unwrap();
    assert!(weight.total > (PAGE.len() + STYLE.len() + SCRIPT.len()) as u64, "{weight:?}");
    assert!(weight.total < 20_000, "{weight:?}");
    assert_eq!(weight.html, PAGE.len() as u64);

    // Light is light, dark is dark, a phone is narrow.
    for appearance in Appearance::ALL {
        let picture = std::fs::read(browser.screenshot("sample", appearance).await.unwrap()).unwrap();
        assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n"));
        let width = u32::from_be_bytes(picture[16..20].try_into().unwrap());
        assert_eq!(width, appearance.width);
        let color: String = browser.run("return getComputedStyle(document.body).color", vec![]).await.unwrap();
        assert_eq!(color, if appearance.dark { "rgb(238, 238, 238)" } else { "rgb(17, 17, 17)" });
        assert_eq!(browser.overflow().await.unwrap(), 0);
    }
    browser.appear(PHONE).await.unwrap();

    // What should be found is found.
    browser.goto("/faulty").await.unwrap();
    let violations = browser.axe().await.unwrap();
    let mut rules: Vec<&str> = violations.iter().map(|violation| violation.id.as_str()).collect();
    rules.sort_unstable();
    assert_eq!(rules, ["color-contrast", "image-alt"]);
    let listed = browser.expect_accessible().await.unwrap_err().to_string();
    assert!(listed.contains("Faint</p>"), "{listed}");
    assert_eq!(browser.title().await.unwrap(), "Faulty", "the policy forbids the inline script");
    let complaints = browser.console_errors().await.unwrap();
    assert!(complaints.len() == 1 && complaints[0].contains("Content Security Policy"), "{complaints:?}");
    let failed = browser.finish().await.unwrap_err().to_string();
    assert!(failed.contains("inline script"), "{failed}");
}

#[tokio::test]
async fn what_never_comes_is_told_with_the_page() {
    let browser = serve().await.with_timeout(std::time::Duration::from_millis(300));
    browser.goto("/").await.unwrap();
    let missing = format!("{:#}", browser.button("Coffee").await.err().unwrap());
    for text in ["no button \"Coffee\" among [\"Look\", \"Look\", \"Send\", \"Revise\"]", "PC_serial", "failed-browser"]
    {
        assert!(missing.contains(text), "{missing}");
    }
    browser.expect_console("status of 404");
    browser.goto("/nothing").await.unwrap();
    browser.finish().await.unwrap();
}
