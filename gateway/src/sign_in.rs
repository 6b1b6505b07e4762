//! Signing in with a browser.

/// A browser that is signed in.
#[derive(Debug, Clone)]
pub(crate) struct BrowserSession {
    /// What every change from a page of this session has to carry.
    pub(crate) csrf_token: String,
}

/// Whether what a form carries is this session's token.
pub(crate) fn csrf_matches(session: &BrowserSession, presented: &str) -> bool {
    use subtle::ConstantTimeEq as _;
    session.csrf_token.as_bytes().ct_eq(presented.as_bytes()).into()
}
