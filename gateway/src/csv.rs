//! Cells of CSV files that spreadsheets open: of the pages' downloads, and of the client's output.

/// A cell that a spreadsheet shows as the text that it is.
///
/// A spreadsheet takes a text that begins like a formula for one, and would calculate what somebody wrote into a label:
/// `=`, `+`, `-`, `@`, the wide forms of these that some take for the same, also after blanks, and anything after a tab or
/// a line break. Such a text gets an apostrophe in front. A number is what it is.
pub fn harmless(cell: String) -> String {
    let breaks_out = cell.starts_with(['\t', '\r', '\n']);
    let begins = cell.trim_start_matches(|letter: char| letter.is_whitespace() || letter.is_control()).chars().next();
    let like_a_formula = begins.is_some_and(|letter| "=+-@\u{ff1d}\u{ff0b}\u{ff0d}\u{ff20}".contains(letter));
    if breaks_out || (like_a_formula && cell.parse::<f64>().is_err()) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_like_a_formula_stays_a_text_and_a_number_a_number() {
        for text in [
            "=cmd()",
            "=HYPERLINK(\"https://elsewhere.example\")",
            "+1+1",
            "-2+3",
            "@sum",
            "\ttab",
            "\r\n=1",
            "\nline",
            " =1+1",
            "\u{a0}=1",
            "\u{ff1d}1+1",
            "-",
        ] {
            assert_eq!(harmless(text.to_owned()), format!("'{text}"));
        }
        for text in ["", "-1.5", "+7", "1e5", "R1", "a=b", "2026-03-01T10:00:00Z", "'quoted"] {
            assert_eq!(harmless(text.to_owned()), text);
        }
    }
}
