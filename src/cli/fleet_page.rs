//! What a fleet came to as one page of HTML: whole in itself, without scripts, for a browser, a phone or paper.
//!
//! *Invariant:* whatever comes from data is escaped by the template; only our own drawings go in as they are.

use serde::Serialize;

use super::fleet::{left, repeat};
use super::plot::{Axis, Chart, Ink, Scale, Series, Shape};
use super::ui::drives;
use super::{CliError, Exit};
use crate::catalog::Link;
use crate::clock::Clock;
use crate::simulate::{Plan, Report, Sample, Script, Spread};

/// The page; the ending of its name switches escaping on.
const TEMPLATE: (&str, &str) = ("fleet.html", include_str!("../../templates/report/fleet.html.tera"));

/// How fast something grows is told over so many seconds at least, and over one of so many parts of the run.
const RATE_STRETCH_S: f64 = 2.0;
const RATE_STRETCHES: f64 = 60.0;

/// Everything that the template shows.
#[derive(Serialize)]
struct Page {
    /// `good`, `bad` or `unsure`.
    tone: &'static str,
    /// The same as a character.
    sign: &'static str,
    headline: String,
    meaning: String,
    /// Which fleet it was.
    name: String,
    seed: u64,
    exit: u8,
    tiles: Vec<Tile>,
    story: String,
    expectations: Option<String>,
    breached: Vec<String>,
    command: String,
    latencies: Vec<Latency>,
    phases: Vec<PhaseLine>,
    plots: Vec<Plot>,
    tables: Vec<Table>,
    version: &'static str,
    made: String,
}

/// A figure that is seen first.
#[derive(Serialize)]
struct Tile {
    name: &'static str,
    value: String,
    alarm: bool,
}

#[derive(Serialize)]
struct Latency {
    name: &'static str,
    values: Vec<String>,
}

#[derive(Serialize)]
struct PhaseLine {
    number: usize,
    name: String,
    at: String,
}

#[derive(Serialize)]
struct Plot {
    title: &'static str,
    note: &'static str,
    svg: Option<String>,
}

#[derive(Serialize)]
struct Table {
    title: &'static str,
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    name: String,
    value: String,
    /// Its classes in the style.
    class: &'static str,
}

/// The report as a page. `again` is the command without what chance decides.
///
/// # Errors
/// Exit 70: the template is ours.
pub(super) fn page(plan: &Plan, report: &Report, exit: Exit, again: &str) -> Result<String, CliError> {
    let broken = |error: &dyn std::fmt::Display| {
        CliError::new(Exit::Bug, "bug", format!("the page of the report cannot be filled: {error}"))
    };
    let mut tera = tera::Tera::default();
    tera.autoescape_on([".html"]);
    tera.add_raw_template(TEMPLATE.0, TEMPLATE.1).map_err(|error| broken(&error))?;
    let mut context = tera::Context::new();
    context.insert("page", &gathered(plan, report, exit, again));
    tera.render(TEMPLATE.0, &context).map_err(|error| broken(&error))
}

fn gathered(plan: &Plan, report: &Report, exit: Exit, again: &str) -> Page {
    let (tone, sign, headline, meaning) = verdict(report, exit);
    let expectations = match (plan.expect.len(), report.breached.len()) {
        (0, 0) => None,
        (1, 0) => Some("What was expected holds.".to_owned()),
        (all, 0) => Some(format!("All {all} expectations hold.")),
        (all, 1) => Some(format!("1 of {all} expectations does not hold.")),
        (all, breached) => Some(format!("{breached} of {all} expectations do not hold.")),
    };
    let at = |(n, (at, name)): (usize, &(f64, String))| PhaseLine {
        number: n + 1,
        name: shown(name),
        at: format!("{at:.1} s"),
    };
    let now = jiff::Timestamp::from_millisecond(Clock::System.now_ms()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    Page {
        tone,
        sign,
        headline,
        meaning,
        name: plan
            .scenario
            .as_deref()
            .map(shown)
            .unwrap_or_else(|| format!("a fleet of {}", grouped(report.devices as u64))),
        seed: report.seed,
        exit: exit.code(),
        tiles: tiles(report),
        story: report.verdict.story.iter().map(|line| shown(line)).collect::<Vec<_>>().join("\n"),
        expectations,
        breached: report.breached.iter().map(|breach| shown(breach)).collect(),
        command: shown(&repeat(plan, report, again)),
        latencies: [("saved", &report.saved), ("visible elsewhere", &report.visible)]
            .into_iter()
            .filter_map(|(name, spread)| latency(name, spread))
            .collect(),
        phases: report.phases.iter().enumerate().map(at).collect(),
        plots: plots(report),
        tables: tables(plan, report),
        version: env!("CARGO_PKG_VERSION"),
        made: now.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    }
}

/// The verdict's tone, sign, headline and meaning.
fn verdict(report: &Report, exit: Exit) -> (&'static str, &'static str, String, String) {
    let verdict = &report.verdict;
    match exit {
        Exit::Ok => (
            "good",
            "✓",
            "converged".to_owned(),
            "Every device holds what its account sees in the backend, and every settled write is there once."
                .to_owned(),
        ),
        Exit::Diverged if !verdict.converged => (
            "bad",
            "✗",
            "DIVERGED".to_owned(),
            "Devices do not hold what their accounts see in the backend, or still have writes to send.".to_owned(),
        ),
        Exit::Diverged => (
            "bad",
            "✗",
            format!(
                "converged, but {} lost, {} duplicated, {} stale{}",
                verdict.lost,
                verdict.duplicated,
                verdict.stale,
                if verdict.torn > 0 { format!(", {} torn", verdict.torn) } else { String::new() }
            ),
            "Devices and backend hold the same, and it is not what was written or what was shown before.".to_owned(),
        ),
        Exit::Breached => (
            "bad",
            "✗",
            match report.breached.len() {
                1 => "expectation breached".to_owned(),
                several => format!("{several} expectations breached"),
            },
            "The fleet converged without a loss.".to_owned(),
        ),
        Exit::Inconclusive => (
            "unsure",
            "?",
            "inconclusive".to_owned(),
            match &verdict.inconclusive {
                Some(reason) => format!("Nothing was proved: {}.", shown(reason)),
                None => "Nothing was proved.".to_owned(),
            },
        ),
        _ => ("unsure", "?", "ended".to_owned(), "The fleet did not come to a verdict.".to_owned()),
    }
}

fn tiles(report: &Report) -> Vec<Tile> {
    let verdict = &report.verdict;
    let tile = |name, count: u64| Tile { name, value: grouped(count), alarm: false };
    let alarm = |name, count: u64| Tile { name, value: grouped(count), alarm: count > 0 };
    let latency = |name, percent| Tile {
        name,
        value: report.visible.percentile(percent).map_or("–".to_owned(), |ms| format!("{} ms", milliseconds(ms))),
        alarm: false,
    };
    vec![
        tile("devices", report.devices as u64),
        tile("mutations settled", verdict.mutations),
        alarm("lost", verdict.lost),
        alarm("duplicated", verdict.duplicated),
        alarm("stale or torn reads", verdict.stale + verdict.torn),
        tile("of unknown fate", verdict.unknown),
        latency("visible elsewhere, p50", 50.0),
        latency("visible elsewhere, p99", 99.0),
    ]
}

fn latency(name: &'static str, spread: &Spread) -> Option<Latency> {
    let [p50, p95, p99] = [50.0, 95.0, 99.0].map(|percent| spread.percentile(percent));
    let mut values: Vec<String> =
        [p50, p95, p99, spread.max()].into_iter().map(|ms| ms.map(milliseconds)).collect::<Option<_>>()?;
    values.push(grouped(spread.count()));
    Some(Latency { name, values })
}

fn tables(plan: &Plan, report: &Report) -> Vec<Table> {
    let verdict = &report.verdict;
    let mut fleet =
        vec![count("devices", report.devices as u64), detail("processes of their own", report.processes as u64)];
    for crew in &plan.crews {
        let link = Link::ALL.into_iter().find(|(_, link)| *link == crew.link);
        let name = match (link, &plan.script) {
            (Some((word, _)), Script::Steps(_)) => format!("{}, {word}", crew.name),
            // A tape has the networks among what happens.
            _ => crew.name.clone(),
        };
        fleet.push(detail(&shown(&name), crew.devices as u64));
    }
    fleet.push(Line { name: "delivery".to_owned(), value: report.delivery.replace('_', " "), class: "" });
    let mut settled = vec![count("mutations settled", verdict.mutations)];
    for word in ["create", "update", "delete"] {
        settled.push(detail(&format!("{word}, applied"), verdict.applied.get(word).copied().unwrap_or(0)));
    }
    settled.extend([count("conflicts", verdict.conflicts), count("rejected", verdict.rejected)]);
    if verdict.atomic_applied + verdict.atomic_rejected > 0 {
        settled.push(count("atomic transactions, applied", verdict.atomic_applied));
        settled.push(count("atomic transactions, rejected", verdict.atomic_rejected));
    }
    settled.extend(verdict.rejected_by.iter().map(|(code, times)| detail(&shown(code), *times)));
    settled.extend([count("of unknown fate", verdict.unknown), count("refused on devices", report.refused_on_devices)]);
    let mut proof = vec![
        count("records", verdict.records),
        count("rows compared", verdict.rows_compared),
        alarm("lost", verdict.lost),
        alarm("duplicated", verdict.duplicated),
        alarm("stale reads", verdict.stale),
        alarm("torn reads", verdict.torn),
    ];
    let left: Vec<_> = left(plan, report).map(|(channel, records)| (channel, records as u64)).collect();
    if !left.is_empty() {
        proof.push(count("made, and still there", left.iter().map(|(_, records)| records).sum()));
        proof.extend(left.iter().map(|(channel, records)| detail(channel.as_str(), *records)));
    }
    let network = vec![
        count("connections cut", report.cuts),
        count("lost requests", report.lost_requests),
        count("lost replies", report.lost_replies),
    ];
    let faults = vec![
        count("devices killed", report.kills),
        count("devices dropped", report.drops),
        count("devices set back", report.set_back),
        count("apps upgraded", report.upgrades),
        count("server killed", report.restarts),
        count("foreign writes", report.foreign),
        detail("refused by the backend", report.foreign_refused),
    ];
    [("Fleet", fleet), ("Writes", settled), ("Proof", proof), ("Network", network), ("Faults", faults)]
        .into_iter()
        .map(|(title, lines)| Table { title, lines })
        .collect()
}

fn count(name: &str, count: u64) -> Line {
    Line { name: name.to_owned(), value: grouped(count), class: if count == 0 { "zero" } else { "" } }
}

/// A part of the line above it.
fn detail(name: &str, count: u64) -> Line {
    Line { name: name.to_owned(), value: grouped(count), class: if count == 0 { "detail zero" } else { "detail" } }
}

/// What must be 0.
fn alarm(name: &str, count: u64) -> Line {
    Line { name: name.to_owned(), value: grouped(count), class: if count == 0 { "" } else { "alarm" } }
}

fn plots(report: &Report) -> Vec<Plot> {
    // All of them show the same time.
    let least = report.samples.first().zip(report.samples.last()).map(|(first, last)| (first.at_s, last.at_s));
    let x = Axis { label: "since the start", scale: Scale::Time, least };
    let marks: Vec<f64> = report.phases.iter().map(|(at, _)| *at).collect();
    let of = |name, ink, value: &dyn Fn(&Sample) -> Option<f64>| {
        let points = report.samples.iter().filter_map(|sample| Some((sample.at_s, value(sample)?)));
        Series { name, ink, points: points.collect() }
    };
    let over_time = |id, title, shape, (label, scale), series: Vec<Series<'_>>| {
        let y = Axis { label, scale, least: None };
        Chart { id, title, shape, x, y, series, marks: &marks }.svg()
    };
    let devices = vec![
        of("live", Ink::Blue, &|sample| Some(sample.live as f64)),
        of("catching up", Ink::Green, &|sample| Some(sample.catching_up as f64)),
        of("offline", Ink::Orange, &|sample| Some(sample.offline as f64)),
        of("down", Ink::Purple, &|sample| Some(sample.down as f64)),
    ];
    let queue = vec![
        of("all devices", Ink::Blue, &|sample| Some(sample.queued as f64)),
        of("the deepest", Ink::Orange, &|sample| Some(sample.deepest as f64)),
    ];
    let receipts = vec![
        of("receipts", Ink::Blue, &|sample| Some(sample.settled as f64)),
        of("conflicts", Ink::Orange, &|sample| Some(sample.conflicts as f64)),
        of("rejected", Ink::Purple, &|sample| Some(sample.rejected as f64)),
    ];
    let receipts_now = vec![
        Series { name: "receipts", ink: Ink::Blue, points: rate(&report.samples, |sample| sample.settled) },
        Series { name: "conflicts", ink: Ink::Orange, points: rate(&report.samples, |sample| sample.conflicts) },
    ];
    let visible =
        vec![of("p50", Ink::Blue, &|sample| sample.visible_p50), of("p99", Ink::Orange, &|sample| sample.visible_p99)];
    let counted = |label| (label, Scale::Count);
    vec![
        Plot {
            title: "Devices",
            note: "by what they do",
            svg: over_time("devices", "Devices by state", Shape::Stack, counted("devices"), devices),
        },
        Plot {
            title: "Queues",
            note: "writes that have no receipt yet",
            svg: over_time("queues", "Writes without a receipt", Shape::Step, counted("writes"), queue),
        },
        Plot {
            title: "Receipts",
            note: "all until then, and the conflicts and rejections among them",
            svg: over_time("receipts", "Receipts until then", Shape::Step, counted("receipts"), receipts),
        },
        Plot {
            title: "Receipts a second",
            note: "over a few seconds each",
            svg: over_time("rate", "Receipts a second", Shape::Line, ("a second", Scale::Linear), receipts_now),
        },
        Plot {
            title: "Visible elsewhere",
            note: "how long until another device showed a write, of all until then",
            svg: over_time("visible", "Time to visible elsewhere", Shape::Line, ("ms", Scale::Linear), visible),
        },
        Plot {
            title: "Latency by percentile",
            note: "how many of all writes took no longer than that",
            svg: percentiles(report),
        },
    ]
}

/// How fast a count grows, over a stretch that is long enough to be read.
fn rate(samples: &[Sample], count: impl Fn(&Sample) -> u64) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Vec::new() };
    let whole = last.at_s - first.at_s;
    // Of a run that is hardly longer it would tell nothing.
    if whole < 2.0 * RATE_STRETCH_S {
        return Vec::new();
    }
    let length = (whole / RATE_STRETCHES).max(RATE_STRETCH_S);
    let mut begins = 0;
    let mut points = Vec::new();
    for (n, sample) in samples.iter().enumerate() {
        while begins + 1 < n && samples[begins + 1].at_s <= sample.at_s - length {
            begins += 1;
        }
        let first = &samples[begins];
        if sample.at_s - first.at_s >= RATE_STRETCH_S / 2.0 {
            let grown = count(sample).saturating_sub(count(first));
            points.push((sample.at_s, grown as f64 / (sample.at_s - first.at_s)));
        }
    }
    points
}

fn percentiles(report: &Report) -> Option<String> {
    let series = vec![
        Series { name: "visible elsewhere", ink: Ink::Blue, points: curve(&report.visible) },
        Series { name: "saved", ink: Ink::Green, points: curve(&report.saved) },
    ];
    Chart {
        id: "percentiles",
        title: "Latency by percentile",
        shape: Shape::Line,
        x: Axis { label: "percentile", scale: Scale::Nines, least: None },
        y: Axis { label: "ms", scale: Scale::Log, least: None },
        series,
        marks: &[],
    }
    .svg()
}

/// The curve as far as it was measured: of a hundred writes none tells what one of a thousand takes.
fn curve(spread: &Spread) -> Vec<(f64, f64)> {
    let last = 1.0 - 1.0 / spread.count().max(1) as f64;
    if last <= 0.0 {
        return Vec::new();
    }
    spread.curve().into_iter().map(|(part, ms)| (part.min(last), ms)).collect()
}

/// Text without what would turn its direction or confuse a reader of the page.
fn shown(text: &str) -> String {
    text.chars().map(|c| if drives(c) { '\u{fffd}' } else { c }).collect()
}

/// A number with a comma at every thousand.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds, to a tenth where that says something.
fn milliseconds(ms: f64) -> String {
    if ms >= 100.0 { grouped(ms.round() as u64) } else { format!("{ms:.1}") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::catalog::{Bound, Expectation};
    use crate::simulate::{Crew, Verdict};

    fn plan() -> Plan {
        Plan {
            scenario: Some("rush-hour".to_owned()),
            crews: vec![Crew { name: "field".to_owned(), devices: 8, accounts: Vec::new(), link: Link::ThreeG }],
            script: Script::Steps(Vec::new()),
            expect: Vec::new(),
            seed: 42,
            processes: 0,
            command: Vec::new(),
            spawned: true,
            keep: None,
            capture: None,
            record: None,
            cleanup: false,
        }
    }

    fn spread(milliseconds: impl IntoIterator<Item = u64>) -> Spread {
        let mut spread = Spread::default();
        milliseconds.into_iter().for_each(|ms| spread.add(Duration::from_millis(ms)));
        spread
    }

    fn report() -> Report {
        let sample = |n: u64| Sample {
            at_s: n as f64 / 2.0,
            live: 8,
            queued: n % 7,
            settled: n * 3,
            visible_p50: (n > 4).then_some(20.0),
            visible_p99: (n > 4).then_some(80.0),
            ..Sample::default()
        };
        Report {
            verdict: Verdict { converged: true, mutations: 12_345, ..Verdict::default() },
            devices: 8,
            delivery: "exactly_once".to_owned(),
            visible: spread(1..=1_000),
            saved: spread([1, 2]),
            samples: (0..40).map(sample).collect(),
            phases: vec![(0.0, "activating".to_owned()), (5.0, "phase 1 of 2".to_owned())],
            seed: 42,
            ..Report::default()
        }
    }

    fn of(plan: &Plan, report: &Report, exit: Exit) -> String {
        let page = page(plan, report, exit, "omctl device simulate rush-hour --spawn").unwrap();
        assert!(!page.contains("NaN") && !page.contains(">inf") && !page.contains("None"), "{page}");
        page
    }

    #[test]
    fn a_page_shows_all_and_needs_nothing_else() {
        let page = of(&plan(), &report(), Exit::Ok);
        for shown in [
            "</span> converged</h1>",
            "exit code 0",
            "omctl device simulate rush-hour --spawn --seed 42",
            "12,345",
            "field, 3g",
            "exactly once",
            "<b>2</b> phase 1 of 2 (at 5.0 s)",
            "99.9 %",
        ] {
            assert!(page.contains(shown), "{shown} is not in {page}");
        }
        assert_eq!(page.matches("<svg class=\"plot\"").count(), 6);
        // Comments of the style may name a source; nothing is loaded, and nothing runs.
        for no in ["<script", "<link", "<img", "src=", "href=", "@import", "url(http"] {
            assert!(!page.contains(no), "{no} is in {page}");
        }
    }

    #[test]
    fn what_comes_from_data_is_escaped() {
        let mut report = report();
        let evil = "<script>alert('x')</script> \u{202e}\"&";
        report.verdict.story = vec![evil.to_owned()];
        report.verdict.rejected_by.insert(evil.to_owned(), 3);
        report.verdict.inconclusive = Some(evil.to_owned());
        report.breached = vec![evil.to_owned()];
        report.phases.push((6.0, evil.to_owned()));
        let mut plan = plan();
        plan.crews[0].name = evil.to_owned();
        plan.scenario = Some(evil.to_owned());
        for exit in [Exit::Diverged, Exit::Inconclusive, Exit::Breached] {
            let page = of(&plan, &report, exit);
            assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert("), "{page}");
            assert!(!page.contains('\u{202e}'));
        }
    }

    #[test]
    fn without_samples_nothing_was_measured() {
        for samples in [Vec::new(), vec![Sample { at_s: 1.0, live: 3, ..Sample::default() }]] {
            let report = Report { samples, ..Report::default() };
            let page = of(&plan(), &report, Exit::Inconclusive);
            assert!(!page.contains("<svg"), "{page}");
            assert_eq!(page.matches("nothing was measured").count(), 7);
        }
        // One write has a latency, and no curve.
        let page = of(&plan(), &Report { saved: spread([7]), ..Report::default() }, Exit::Ok);
        assert!(page.contains(">7.0</td>") && !page.contains("<svg"), "{page}");
    }

    #[test]
    fn headlines_tell_verdicts_apart() {
        let diverged = Report::default();
        let lossy = Report { verdict: Verdict { lost: 2, ..report().verdict }, ..report() };
        let breached = Report { breached: vec!["lost is 2, expected 0".to_owned()], ..report() };
        let reason = Verdict { inconclusive: Some("no record was visible".to_owned()), ..report().verdict };
        let inconclusive = Report { verdict: reason, ..report() };
        let mut expecting = plan();
        expecting.expect = vec![Expectation { of: "lost", bound: Bound::Exactly(0) }];
        for (report, exit, shown) in [
            (&diverged, Exit::Diverged, "</span> DIVERGED</h1>"),
            (&lossy, Exit::Diverged, "</span> converged, but 2 lost, 0 duplicated, 0 stale</h1>"),
            (&breached, Exit::Breached, "</span> expectation breached</h1>"),
            (&breached, Exit::Breached, "1 of 1 expectations does not hold."),
            (&inconclusive, Exit::Inconclusive, "Nothing was proved: no record was visible."),
            (&report(), Exit::Ok, "What was expected holds."),
        ] {
            let page = of(&expecting, report, exit);
            assert!(page.contains(shown), "{shown} is not in {page}");
        }
    }

    #[test]
    fn curves_end_where_nothing_more_was_measured() {
        assert_eq!(curve(&Spread::default()), []);
        assert_eq!(curve(&spread([7])), []);
        let points = curve(&spread(1..=100));
        assert!(points.iter().all(|(part, ms)| *part <= 0.99 && (0.9..=100.2).contains(ms)), "{points:?}");
        assert!(points.last().unwrap().1 >= 100.0, "the end is the longest: {points:?}");
    }

    #[test]
    fn a_rate_is_what_was_added_in_a_stretch() {
        let sample =
            |n: u64| Sample { at_s: n as f64 / 2.0, settled: if n < 20 { n * 4 } else { 76 }, ..Sample::default() };
        let points = rate(&(0..40).map(sample).collect::<Vec<_>>(), |sample| sample.settled);
        assert_eq!(points.first(), Some(&(1.0, 8.0)));
        assert!(points.iter().filter(|(at, _)| *at < 10.0).all(|(_, rate)| *rate == 8.0), "{points:?}");
        assert_eq!(points.last(), Some(&(19.5, 0.0)));
        assert_eq!(rate(&[], |sample| sample.settled), []);
        assert_eq!(rate(&[sample(0), sample(0)], |sample| sample.settled), []);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.04, 12.34, 1234.5].map(milliseconds), ["0.0", "12.3", "1,235"]);
    }
}
