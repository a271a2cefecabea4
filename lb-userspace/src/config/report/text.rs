//! Plain text for terminals of 80 columns.

/// Columns that text takes at most (a path or word that is longer by itself isn't broken).
pub const WIDTH: usize = 80;

/// Breaks `text` between words, later lines behind `indent`; ends with a line's end. Spaces before the
/// first word stay.
pub fn wrap(text: &str, indent: &str) -> String {
    let lead = text.len() - text.trim_start().len();
    let mut out = text.get(..lead).unwrap_or("").to_owned();
    let mut column = lead;
    let mut line_is_empty = true;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if !line_is_empty && column + 1 + width > WIDTH {
            out.push('\n');
            out.push_str(indent);
            column = indent.len();
            line_is_empty = true;
        }
        if !line_is_empty {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
        line_is_empty = false;
    }
    out.push('\n');
    out
}

/// At most `width` characters of `text`, an ellipsis where some are left out.
pub fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_alone() {
        let long = "x".repeat(90);
        assert_eq!(wrap("  a  b", "    "), "  a b\n");
        assert_eq!(wrap("", "  "), "\n");
        assert_eq!(wrap(&format!("a {long} b"), "  "), format!("a\n  {long}\n  b\n"));
        let words = "word ".repeat(60);
        assert!(wrap(&words, "    ").lines().all(|line| line.chars().count() <= WIDTH));
        assert_eq!(wrap(&words, "").split_whitespace().count(), 60);
    }

    #[test]
    fn clipped_text_says_so() {
        assert_eq!(clip("abc", 3), "abc");
        assert_eq!(clip("abcd", 3), "ab…");
    }
}
