//! A position of the log, short enough to read.

use app::log::Position;
use askama::Template;
use askama::filters::HtmlSafe;

/// A position's numbers without the zeros that make positions sort as texts, with the whole at hand.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(source = r#"<span class="id nowrap" title="{{ whole }}">{{ self.short() }}</span>"#, ext = "html")]
pub(crate) struct ShortPosition {
    whole: String,
}

impl HtmlSafe for ShortPosition {}

impl ShortPosition {
    /// This position.
    pub(crate) fn new(position: &Position) -> Self {
        Self { whole: position.to_string() }
    }

    fn short(&self) -> String {
        let number = |part: &str| match part.trim_start_matches('0') {
            "" => "0".to_owned(),
            number => number.to_owned(),
        };
        self.whole.split('-').map(number).collect::<Vec<_>>().join("-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_short_with_the_whole_at_hand() {
        let place = ShortPosition { whole: "0000000001-00000000000000001386-0000000000000000111".to_owned() };
        assert_eq!(place.short(), "1-1386-111");
        assert_eq!(ShortPosition::new(&Position::START).short(), "0-0-0");
        assert!(place.render().unwrap().contains("title=\"0000000001-"));
    }
}
