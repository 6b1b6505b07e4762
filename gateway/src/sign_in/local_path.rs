//! Where to go after signing in: always on this very site.

use std::fmt;

use url::form_urlencoded;

/// Longest path with query that is carried along. Encoded once more in another query, it is up to three times as long. What
/// people fill in is carried otherwise (see `saved_forms`).
const LONGEST: usize = 2_500;

/// A path with query on this site.
///
/// Invariant: visible ASCII without backslash, beginning with one slash only, so that no browser takes it for an address
/// of another site; and not one of signing in or out, which would lead in a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalPath(String);

impl LocalPath {
    /// Takes a path; `None` for anything that is none on this site.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'\\' && byte != b'#';
        let path = text.split('?').next().unwrap_or_default();
        let fits = text.len() <= LONGEST
            && text.starts_with('/')
            && !text.starts_with("//")
            && text.bytes().all(visible)
            && !path.starts_with("/sign-in")
            && path != "/sign-out";
        fits.then(|| Self(text.to_owned()))
    }

    /// The same, without its query where it is too long with it, or else the start page.
    pub(crate) fn or_start(text: &str) -> Self {
        let without_query = || Self::parse(text.split('?').next()?).filter(|_| text.len() > LONGEST);
        Self::parse(text).or_else(without_query).unwrap_or_default()
    }

    /// The path, without its query if it would be longer than this with it; the start page if it would be all the same.
    pub(crate) fn within(self, longest: usize) -> Self {
        if self.0.len() <= longest {
            return self;
        }
        let path = self.0.split('?').next().unwrap_or_default();
        if path.len() <= longest { Self(path.to_owned()) } else { Self::default() }
    }

    /// The path with this parameter in its query.
    pub(crate) fn with(self, name: &str, value: &str) -> Self {
        let parameter = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
        let separator = if self.0.contains('?') { '&' } else { '?' };
        Self(format!("{}{separator}{parameter}", self.0))
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As the value of a parameter.
    pub(crate) fn encoded(&self) -> String {
        form_urlencoded::byte_serialize(self.0.as_bytes()).collect()
    }
}

impl Default for LocalPath {
    fn default() -> Self {
        Self("/".to_owned())
    }
}

impl fmt::Display for LocalPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_on_this_site_is_taken() {
        for good in ["/", "/sessions?status=running&text=a%20b", "/definitions/d1/edit?cpu_cores=8"] {
            assert_eq!(LocalPath::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "sessions",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "/a\r\nSet-Cookie: x=y",
            "/a b",
            "/ä",
            "/a#b",
            "/sign-in?return_to=/",
            "/sign-in/link?token=x",
            "/sign-out",
            &format!("/{}", "x".repeat(LONGEST)),
        ] {
            assert_eq!(LocalPath::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_path_that_is_too_long_loses_its_query() {
        let long = format!("/sessions?text={}", "x".repeat(LONGEST));
        assert_eq!(LocalPath::or_start(&long).as_str(), "/sessions");
        assert_eq!(LocalPath::or_start(&format!("/{long}")), LocalPath::default());
        assert_eq!(LocalPath::or_start("/sessions?text=a").within(10).as_str(), "/sessions");
        assert_eq!(LocalPath::or_start("/sessions?a=b").with("c", "d&e").as_str(), "/sessions?a=b&c=d%26e");
    }
}
