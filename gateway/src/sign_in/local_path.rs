//! Where to go after signing in: always on this very site.

use std::fmt;

use url::form_urlencoded;

/// Longest path with query that is carried along. Put into another query once more, it is up to three times as long,
/// and an address of that length is still accepted everywhere.
const LONGEST: usize = 16_000;

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

    /// The same, or the start page.
    pub(crate) fn or_start(text: &str) -> Self {
        Self::parse(text).unwrap_or_default()
    }

    /// The path with these fields added to its query, as far as they fit.
    pub(crate) fn with_fields<'a>(self, fields: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut path = self.0;
        for (name, value) in fields {
            let field = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
            if path.len() + 1 + field.len() <= LONGEST {
                path.push(if path.contains('?') { '&' } else { '?' });
                path.push_str(&field);
            }
        }
        Self(path)
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
    fn fields_are_added_to_the_query_as_far_as_they_fit() {
        let long = "x".repeat(LONGEST);
        let fields = [("reason", "a & b ü"), ("note", long.as_str()), ("cpu_cores", "8")];
        let path = LocalPath::or_start("/definitions/d1/edit?from=max").with_fields(fields.into_iter());
        assert_eq!(path.as_str(), "/definitions/d1/edit?from=max&reason=a+%26+b+%C3%BC&cpu_cores=8");
        assert_eq!(LocalPath::parse(path.as_str()), Some(path));
    }
}
