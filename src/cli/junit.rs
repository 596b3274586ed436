//! Results in JUnit's XML, which every CI shows.

use std::time::Duration;

/// One test.
pub(super) struct Case<'a> {
    pub(super) name: &'a str,
    pub(super) took: Duration,
    /// What it said.
    pub(super) said: &'a str,
    /// What kind of failure it is; `None` where it passed. `error`: it did not run.
    pub(super) failure: Option<&'a str>,
    /// More about a failure, a line each.
    pub(super) details: &'a [String],
}

/// The file's text.
pub(super) fn text(suite: &str, cases: &[Case<'_>]) -> String {
    let is_error = |case: &&Case<'_>| case.failure == Some("error");
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let errors = cases.iter().filter(is_error).count();
    let time: Duration = cases.iter().map(|case| case.took).sum();
    let counts = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{errors}\" time=\"{:.3}\"",
        cases.len(),
        failures - errors,
        time.as_secs_f64()
    );
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let name = escape(suite);
    xml.push_str(&format!("<testsuites name=\"{name}\" {counts}>\n  <testsuite name=\"{name}\" {counts}>\n"));
    for case in cases {
        let head = format!(
            "    <testcase classname=\"scenarios\" name=\"{}\" time=\"{:.3}\">",
            escape(case.name),
            case.took.as_secs_f64()
        );
        let said = format!("      <system-out>{}</system-out>", escape(case.said));
        let failure = case.failure.map(|kind| {
            let element = if kind == "error" { "error" } else { "failure" };
            let details = escape(&case.details.join("\n"));
            let message = escape(case.said);
            format!("      <{element} type=\"{}\" message=\"{message}\">{details}</{element}>\n", escape(kind))
        });
        xml.push_str(&format!("{head}\n{}{said}\n    </testcase>\n", failure.unwrap_or_default()));
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

/// The text with XML's characters written out, and without those that XML cannot have.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_says_why_and_nothing_breaks_out_of_its_element() {
        let details = ["tickets/1 has `title` \"<b>&\u{1b}\"".to_owned()];
        let cases = [
            Case { name: "calm", took: Duration::from_millis(1_500), said: "converged", failure: None, details: &[] },
            Case {
                name: "storm",
                took: Duration::from_secs(2),
                said: "DIVERGED",
                failure: Some("diverged"),
                details: &details,
            },
            Case { name: "gone", took: Duration::ZERO, said: "no \"server\"", failure: Some("error"), details: &[] },
        ];
        let xml = text("omctl", &cases);
        assert!(xml.contains("tests=\"3\" failures=\"1\" errors=\"1\" time=\"3.500\""), "{xml}");
        assert!(xml.contains("name=\"calm\" time=\"1.500\">\n      <system-out>converged<"), "{xml}");
        assert!(xml.contains("<failure type=\"diverged\" message=\"DIVERGED\">tickets/1 has `title` &quot;&lt;b&gt;&amp;\u{fffd}&quot;</failure>"), "{xml}");
        assert!(xml.contains("<error type=\"error\" message=\"no &quot;server&quot;\"></error>"), "{xml}");
    }
}
