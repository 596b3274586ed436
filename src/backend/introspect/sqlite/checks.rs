//! The CHECK constraints of a table, read from the text that made it: SQLite keeps them nowhere else.
//!
//! No parser of SQL: it finds the constraints by their balanced brackets and understands one form, a column that must be
//! one of some texts.

/// One CHECK constraint.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Check {
    /// What stands between its brackets, on one line.
    pub(super) text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A bare word.
    Word(String),
    /// A name in quotes of any kind.
    Quoted(String),
    /// A text.
    Text(String),
    /// Anything else, one character each.
    Other(char),
}

impl Token {
    /// A column's or keyword's name.
    fn name(&self) -> Option<&str> {
        match self {
            Self::Word(name) | Self::Quoted(name) => Some(name),
            Self::Text(_) | Self::Other(_) => None,
        }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(own) if own.eq_ignore_ascii_case(word))
    }
}

/// The constraints of a `CREATE TABLE`, in their order.
pub(super) fn checks(sql: &str) -> Vec<Check> {
    let tokens = tokens(sql);
    let mut checks = Vec::new();
    for (n, pair) in tokens.windows(2).enumerate() {
        if !(pair[0].0.is_word("check") && pair[1].0 == Token::Other('(')) {
            continue;
        }
        let Some(end) = closing(&tokens, n + 1) else { continue };
        let inside = &sql[tokens[n + 1].1 + 1..tokens[end].1];
        let text = inside.split_whitespace().collect::<Vec<_>>().join(" ");
        checks.push(Check { text, tokens: tokens[n + 2..end].iter().map(|(token, _)| token.clone()).collect() });
    }
    checks
}

/// Whether texts of the table are compared otherwise than letter by letter: then a list of words is no closed list.
pub(super) fn ignores_case(sql: &str) -> bool {
    tokens(sql).windows(2).any(|pair| {
        pair[0].0.is_word("collate") && pair[1].0.name().is_some_and(|name| !name.eq_ignore_ascii_case("binary"))
    })
}

impl Check {
    /// Whether it speaks of this column.
    pub(super) fn names(&self, column: &str) -> bool {
        self.tokens.iter().any(|token| token.name().is_some_and(|name| name.eq_ignore_ascii_case(column)))
    }

    /// The texts of `COLUMN IN ('a', 'b')`, also with `COLUMN IS NULL OR` before or behind it.
    pub(super) fn words_of(&self, column: &str) -> Option<Vec<String>> {
        let is_column = |token: &Token| token.name().is_some_and(|name| name.eq_ignore_ascii_case(column));
        let is_null =
            |rest: &[Token]| matches!(rest, [a, b, c] if is_column(a) && b.is_word("is") && c.is_word("null"));
        let mut tokens = self.tokens.as_slice();
        if let [first, second, third, or, rest @ ..] = tokens
            && is_null(&[first.clone(), second.clone(), third.clone()])
            && or.is_word("or")
        {
            tokens = rest;
        }
        if let Some(at) = tokens.len().checked_sub(4)
            && tokens[at].is_word("or")
            && is_null(&tokens[at + 1..])
        {
            tokens = &tokens[..at];
        }
        let [name, is_in, Token::Other('('), list @ .., Token::Other(')')] = tokens else { return None };
        if !is_column(name) || !is_in.is_word("in") {
            return None;
        }
        let mut words = Vec::new();
        for (n, token) in list.iter().enumerate() {
            match token {
                Token::Text(word) if n % 2 == 0 && !word.is_empty() && !words.contains(word) => {
                    words.push(word.clone())
                }
                Token::Other(',') if n % 2 == 1 => {}
                _ => return None,
            }
        }
        (!words.is_empty()).then_some(words)
    }
}

/// Where the bracket that opens at `open` is closed.
fn closing(tokens: &[(Token, usize)], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (n, (token, _)) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Other('(') => depth += 1,
            Token::Other(')') if depth == 1 => return Some(n),
            Token::Other(')') => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The tokens with the byte where each begins; comments and blanks are left out.
fn tokens(sql: &str) -> Vec<(Token, usize)> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let at = sql.len() - rest.len();
        let (token, length) = match first {
            _ if rest.starts_with("--") => (None, rest.find('\n').unwrap_or(rest.len())),
            _ if rest.starts_with("/*") => (None, rest.find("*/").map_or(rest.len(), |end| end + 2)),
            '\'' => quoted(rest, '\'', Token::Text),
            '"' | '`' => quoted(rest, first, Token::Quoted),
            '[' => {
                let end = rest.find(']').unwrap_or(rest.len() - 1);
                (Some(Token::Quoted(rest[1..end.max(1)].to_owned())), end + 1)
            }
            c if c.is_alphanumeric() || c == '_' => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
                (Some(Token::Word(rest[..end].to_owned())), end)
            }
            c if c.is_whitespace() => (None, c.len_utf8()),
            c => (Some(Token::Other(c)), c.len_utf8()),
        };
        tokens.extend(token.map(|token| (token, at)));
        rest = &rest[length.min(rest.len())..];
    }
    tokens
}

/// A token in quotes; a doubled quote is one.
fn quoted(rest: &str, quote: char, token: fn(String) -> Token) -> (Option<Token>, usize) {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            text.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            chars.next();
            text.push(quote);
        } else {
            return (Some(token(text)), at + 1);
        }
    }
    (Some(token(text)), rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_found_wherever_they_stand() {
        let found = checks(
            "CREATE TABLE t (a TEXT -- check (no)\n CHECK (a IN ('x''y', ')')), \"check\" INT, [b c] TEXT /* check(no) */,
             CONSTRAINT k CHECK (length([b c])\n  <= 5), d DEFAULT 'check (no)', check(\"d\" is null or D in ('q')))",
        );
        let texts: Vec<&str> = found.iter().map(|check| check.text.as_str()).collect();
        assert_eq!(texts, ["a IN ('x''y', ')')", "length([b c]) <= 5", "\"d\" is null or D in ('q')"]);
        assert_eq!(found[0].words_of("A"), Some(vec!["x'y".to_owned(), ")".to_owned()]));
        assert!(found[1].names("b c") && !found[1].names("a") && found[1].words_of("b c").is_none());
        assert_eq!(found[2].words_of("d"), Some(vec!["q".to_owned()]));
    }

    #[test]
    fn only_a_closed_list_of_texts_is_one() {
        for (check, words) in [
            ("a IN ('x', 'y') OR a IS NULL", Some(2)),
            ("a IN ('x', 1)", None),
            ("a IN ('x' || 'y')", None),
            ("a NOT IN ('x')", None),
            ("a IN ('x') OR a LIKE 'z%'", None),
            ("b IN ('x')", None),
            ("a IN ('')", None),
            ("a IN ('x', 'x')", None),
            ("a IN ()", None),
            ("lower(a) IN ('x')", None),
        ] {
            let found = checks(&format!("CREATE TABLE t (a, b, CHECK ({check}))"));
            assert_eq!(found[0].words_of("a").map(|words| words.len()), words, "{check}");
        }
        assert!(checks("CREATE TABLE t (a CHECK (a > (1)").is_empty(), "it does not end");
        assert!(ignores_case("a TEXT COLLATE nocase") && !ignores_case("a COLLATE BINARY, b DEFAULT 'collate nocase'"));
    }
}
