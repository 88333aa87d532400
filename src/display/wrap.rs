//! Sentences in lines that fit.

use console::measure_text_width;

/// `text` in lines of at most `width` columns, broken between words, after `begins` and set in as far as that
/// reaches. A word that is longer than a line stays whole.
pub fn wrapped(begins: &str, text: &str, width: usize) -> Vec<String> {
    let indent = measure_text_width(begins);
    let mut lines = Vec::new();
    let (mut line, mut used) = (begins.to_owned(), indent);
    for word in text.split_whitespace() {
        let columns = measure_text_width(word);
        if used > indent && used + 1 + columns > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            used = indent;
        }
        if used > indent {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += columns;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_break_between_words_and_are_set_in() {
        let text = "warm-up and cosine reach 95 % sooner";
        insta::assert_snapshot!(wrapped("confirmed  ", text, 24).join("\n"), @r"
        confirmed  warm-up and
                   cosine reach
                   95 % sooner
        ");
        assert_eq!(wrapped("", "short", 24), ["short"]);
        assert_eq!(wrapped("x ", "", 24), ["x "]);
        assert_eq!(wrapped("  ", "a-long-word and", 10), ["  a-long-word", "  and"]);
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_and_no_word_is_lost(
            words in prop::collection::vec("[a-zé字]{1,8}", 0..20),
            width in 24..80_usize,
        ) {
            let lines = wrapped("    ", &words.join(" "), width);
            for line in &lines {
                prop_assert!(measure_text_width(line) <= width, "{line:?}");
            }
            let again: Vec<&str> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
            prop_assert_eq!(again, words);
        }
    }
}
