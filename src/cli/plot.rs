//! Charts as SVG: lines, steps and stacked areas over axes with ticks, marks and a legend. Numbers go in, text comes out.
//!
//! Inks are classes that the page's style fills, so that one drawing serves light screens, dark ones and paper; no ink is
//! told by its colour alone. *Invariants:* every coordinate is a finite number; every text is escaped.

/// The drawing's width in its own units; the page scales it.
const WIDTH: f64 = 440.0;

/// Where the axes are: left, top, right, bottom.
const LEFT: f64 = 46.0;
const TOP: f64 = 38.0;
const RIGHT: f64 = WIDTH - 12.0;
const BOTTOM: f64 = 198.0;

/// Room of a legend's line, and of one character in it. Narrow screens have larger letters, so that this is generous.
const LEGEND_LINE: f64 = 20.0;
const LEGEND_CHAR: f64 = 7.6;
const LEGEND_SWATCH: f64 = 46.0;

/// Marks that are closer share a label.
const MARK_ROOM: f64 = 22.0;

/// A mark that is so much before the first point stands at the edge, in the axis's unit.
const MARK_EARLY: f64 = 0.1;

/// The least value that a logarithmic axis shows.
const LOG_LEAST: f64 = 0.01;

/// The largest part that an axis of nines shows.
const NINES_MOST: f64 = 0.999_999;

/// How values become places on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    /// From 0, in whole numbers.
    Count,
    /// Seconds, from the first to the last.
    Time,
    /// Logarithms of what is above 0.
    Log,
    /// Parts below 1 by their nines: 0, 90 %, 99 %, 99.9 % are equally far apart.
    Nines,
}

/// One axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis<'a> {
    /// What it measures, with the unit; a time's unit is added.
    pub(super) label: &'a str,
    /// How.
    pub(super) scale: Scale,
    /// What it shows at least, whatever there is to draw.
    pub(super) least: Option<(f64, f64)>,
}

impl Axis<'_> {
    /// What it shows of these values; `None` where there are none.
    fn span(&self, values: impl Iterator<Item = f64>) -> Option<Span> {
        let mut values = values.peekable();
        values.peek()?;
        Span::of(self.scale, values.chain(self.least.into_iter().flat_map(|(from, to)| [from, to])))
    }
}

/// How points are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Straight from point to point.
    Line,
    /// A value holds until the next.
    Step,
    /// As steps, each series on top of the one before; all have the same places on the x axis.
    Stack,
}

/// A colour with a dash pattern for lines and a hatching for areas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Blue,
    Green,
    Orange,
    Purple,
}

impl Ink {
    fn class(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
            Self::Orange => "orange",
            Self::Purple => "purple",
        }
    }

    /// The lines of its hatching, in a square of 8; the first ink is plain.
    fn hatching(self) -> Option<&'static str> {
        match self {
            Self::Blue => None,
            Self::Green => Some("M0 4H8"),
            Self::Orange => Some("M-2 2L2 -2M0 8L8 0M6 10L10 6"),
            Self::Purple => Some("M4 0V8M0 4H8"),
        }
    }
}

/// What belongs together.
#[derive(Clone, Debug)]
pub(super) struct Series<'a> {
    pub(super) name: &'a str,
    pub(super) ink: Ink,
    /// In the order of x.
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Chart<'a> {
    /// A word of its own on the page.
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    pub(super) shape: Shape,
    pub(super) x: Axis<'a>,
    pub(super) y: Axis<'a>,
    pub(super) series: Vec<Series<'a>>,
    /// Places on the x axis, which are numbered from 1.
    pub(super) marks: &'a [f64],
}

impl Chart<'_> {
    /// The drawing; `None` where there are not two points to draw.
    pub(super) fn svg(&self) -> Option<String> {
        let layers = self.layers();
        let x = self.x.span(layers.iter().flatten().map(|point| point.x))?;
        let y = self.y.span(layers.iter().flatten().map(|point| point.high))?;
        if layers.iter().all(|layer| layer.len() < 2) {
            return None;
        }
        let (legend, height) = self.legend();
        let (id, title) = (escape(self.id), escape(self.title));
        let mut svg = format!(
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-title\" aria-describedby=\"{id}-desc\">\n\
             <title id=\"{id}-title\">{title}</title>\n<desc id=\"{id}-desc\">{}</desc>\n",
            escape(&self.told())
        );
        svg.push_str(&self.hatchings());
        svg.push_str(&self.axes(&x, &y));
        // A mark is seen through on an area, and is behind a line.
        let marks = self.marked(&x);
        if self.shape != Shape::Stack {
            svg.push_str(&marks);
        }
        let at = |point: &Point, value: f64| (place_x(&x, point.x), place_y(&y, value));
        for (series, layer) in self.series.iter().zip(&layers) {
            let tops: Vec<(f64, f64)> = layer.iter().map(|point| at(point, point.high)).collect();
            let class = series.ink.class();
            match self.shape {
                Shape::Line => svg.push_str(&format!("<path class=\"line {class}\" d=\"{}\"/>\n", line(&tops))),
                Shape::Step => svg.push_str(&format!("<path class=\"line {class}\" d=\"{}\"/>\n", steps(&tops))),
                Shape::Stack => {
                    let bases: Vec<(f64, f64)> = layer.iter().map(|point| at(point, point.low)).collect();
                    svg.push_str(&self.filled(series.ink, &format!("<path d=\"{}\"/>", area(&tops, &bases))));
                }
            }
        }
        if self.shape == Shape::Stack {
            svg.push_str(&marks);
        }
        svg.push_str(&legend);
        svg.push_str("</svg>");
        Some(svg)
    }

    /// The points that can be drawn, each with what is below it.
    fn layers(&self) -> Vec<Vec<Point>> {
        let mut below: Vec<f64> = Vec::new();
        let mut layers = Vec::new();
        for series in &self.series {
            let finite = series.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
            let mut layer: Vec<Point> = finite.map(|(x, y)| Point { x: *x, low: 0.0, high: *y }).collect();
            if self.shape == Shape::Stack {
                below.resize(layer.len().max(below.len()), 0.0);
                for (point, below) in layer.iter_mut().zip(&mut below) {
                    (point.low, point.high) = (*below, *below + point.high);
                    *below = point.high;
                }
            }
            layers.push(layer);
        }
        layers
    }

    /// The same in words, for whoever does not see it.
    fn told(&self) -> String {
        let one = |series: &Series<'_>| {
            let values = series.points.iter().map(|(_, y)| *y).filter(|y| y.is_finite());
            let (least, most) = extremes(values)?;
            let (_, last) = series.points.last()?;
            let (least, most, last) = (number(least), number(most), number(*last));
            Some(format!("{}: from {least} to {most}, at the end {last}.", series.name))
        };
        let told: Vec<String> = self.series.iter().filter_map(one).collect();
        format!("{} over {}. {}", self.y.label, self.x.label, told.join(" "))
    }

    fn hatchings(&self) -> String {
        if self.shape != Shape::Stack {
            return String::new();
        }
        let pattern = |series: &Series<'_>| {
            let lines = series.ink.hatching()?;
            Some(format!(
                "<pattern id=\"{}-{}\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">\
                 <path class=\"hatching\" d=\"{lines}\"/></pattern>",
                escape(self.id),
                series.ink.class()
            ))
        };
        format!("<defs>{}</defs>\n", self.series.iter().filter_map(pattern).collect::<String>())
    }

    /// A shape that is filled with an ink and its hatching.
    fn filled(&self, ink: Ink, shape: &str) -> String {
        let class = ink.class();
        let mut text = format!("<g class=\"area {class}\">{shape}</g>\n");
        if ink.hatching().is_some() {
            text.push_str(&format!("<g fill=\"url(#{}-{class})\">{shape}</g>\n", escape(self.id)));
        }
        text
    }

    fn axes(&self, x: &Span, y: &Span) -> String {
        let mut text = String::new();
        for (part, label) in y.ticks() {
            let at = BOTTOM - part * (BOTTOM - TOP);
            text.push_str(&format!(
                "<path class=\"grid\" d=\"M{} {}H{}\"/><text class=\"end\" x=\"{}\" y=\"{}\">{}</text>\n",
                short(LEFT),
                short(at),
                short(RIGHT),
                short(LEFT - 6.0),
                short(at + 4.0),
                escape(&label)
            ));
        }
        for (part, label) in x.ticks() {
            let at = LEFT + part * (RIGHT - LEFT);
            text.push_str(&format!(
                "<path class=\"tick\" d=\"M{} {BOTTOM}v5\"/><text class=\"middle\" x=\"{}\" y=\"{}\">{}</text>\n",
                short(at),
                short(at),
                short(BOTTOM + 18.0),
                escape(&label)
            ));
        }
        let unit = x.unit().map(|unit| format!(" ({unit})")).unwrap_or_default();
        text.push_str(&format!(
            "<path class=\"axis\" d=\"M{LEFT} {BOTTOM}H{RIGHT}\"/>\
             <text class=\"label\" x=\"4\" y=\"12\">{}</text>\
             <text class=\"label end\" x=\"{RIGHT}\" y=\"{}\">{}{unit}</text>\n",
            escape(self.y.label),
            BOTTOM + 38.0,
            escape(self.x.label)
        ));
        text
    }

    /// Lines at the marks, with their numbers on top. Marks that are too close to each other share a label.
    fn marked(&self, x: &Span) -> String {
        let mut text = String::new();
        let mut labels: Vec<(f64, usize, usize)> = Vec::new();
        for (n, mark) in self.marks.iter().enumerate() {
            let Some(part) = x.mark(*mark) else { continue };
            let at = LEFT + part * (RIGHT - LEFT);
            let path = format!("d=\"M{} {TOP}V{BOTTOM}\"", short(at));
            text.push_str(&format!("<path class=\"halo\" {path}/><path class=\"mark\" {path}/>\n"));
            match labels.last_mut().filter(|(last, ..)| at - *last < MARK_ROOM) {
                Some((_, _, last)) => *last = n + 1,
                None => labels.push((at, n + 1, n + 1)),
            }
        }
        for (at, first, last) in labels {
            let label = if first == last { first.to_string() } else { format!("{first}–{last}") };
            text.push_str(&format!(
                "<text class=\"marked middle\" x=\"{}\" y=\"{}\">{label}</text>\n",
                short(at),
                TOP - 10.0
            ));
        }
        text
    }

    /// What means what, and the height of the drawing with it.
    fn legend(&self) -> (String, f64) {
        let (mut text, mut left, mut top) = (String::new(), 4.0, BOTTOM + 60.0);
        for series in &self.series {
            let width = LEGEND_SWATCH + LEGEND_CHAR * series.name.chars().count() as f64;
            if left > 4.0 && left + width > WIDTH {
                (left, top) = (4.0, top + LEGEND_LINE);
            }
            let (class, middle) = (series.ink.class(), top - 4.0);
            text.push_str(&match self.shape {
                Shape::Stack => {
                    let (left, top) = (short(left), short(middle - 7.0));
                    let swatch = format!("<rect x=\"{left}\" y=\"{top}\" width=\"24\" height=\"14\"/>");
                    self.filled(series.ink, &swatch)
                }
                Shape::Line | Shape::Step => {
                    format!("<path class=\"line {class}\" d=\"M{} {}h28\"/>\n", short(left), short(middle))
                }
            });
            let (at, name) = (short(left + 34.0), escape(series.name));
            text.push_str(&format!("<text x=\"{at}\" y=\"{}\">{name}</text>\n", short(top)));
            left += width;
        }
        (text, top + 8.0)
    }
}

/// A point, and where its area begins.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    x: f64,
    low: f64,
    high: f64,
}

/// What an axis shows, in the measure of its scale.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Span {
    /// The span of these values; `None` where it has no length.
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Option<Self> {
        let (least, most) = extremes(values)?;
        let (low, high) = match scale {
            Scale::Linear | Scale::Count if most <= 0.0 => (0.0, 1.0),
            Scale::Linear | Scale::Count => {
                let step = step_of(scale, most);
                (0.0, (most / step - 1e-9).ceil() * step)
            }
            Scale::Time => (least, most),
            Scale::Log => {
                let low = round(least.max(LOG_LEAST), false);
                let high = round(most.max(LOG_LEAST), true);
                (low.log10(), if high > low { high } else { round(low * 1.5, true) }.log10())
            }
            Scale::Nines => (0.0, nines(most).max(1.0)),
        };
        (low < high).then_some(Self { scale, low, high })
    }

    /// Where a value is, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let measured = match self.scale {
            Scale::Linear | Scale::Count | Scale::Time => value,
            Scale::Log => value.max(LOG_LEAST).log10(),
            Scale::Nines => nines(value),
        };
        ((measured - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Where a mark is; `None` where it is not on the axis.
    fn mark(&self, at: f64) -> Option<f64> {
        (self.low - MARK_EARLY..=self.high).contains(&at).then(|| self.part(at))
    }

    /// Places with labels.
    fn ticks(&self) -> Vec<(f64, String)> {
        let ticks: Vec<(f64, String)> = match self.scale {
            Scale::Linear | Scale::Count => {
                let step = step_of(self.scale, self.high);
                multiples(step, 0.0, self.high).map(|value| (value, number_in(value, step))).collect()
            }
            Scale::Time => {
                let step = seconds_step(self.high - self.low);
                multiples(step, self.low, self.high).map(|value| (value, self.clock(value, step))).collect()
            }
            Scale::Log => {
                let decades = (self.low.floor() as i32)..=(self.high.ceil() as i32);
                let values = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|first| first * 10f64.powi(decade)));
                let within = |value: &f64| (self.low - 1e-9..=self.high + 1e-9).contains(&value.log10());
                // Of many decades the ends have a label, and every power of ten.
                let is = |value: &f64, other: f64| (value.log10() - other).abs() < 1e-9;
                let few = self.high - self.low < 2.5;
                let kept = |value: &f64| {
                    few || is(value, self.low) || is(value, self.high) || is(value, value.log10().round())
                };
                values.filter(within).filter(kept).map(|value| (value, number(value))).collect()
            }
            Scale::Nines => {
                let parts = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
                let within = parts.into_iter().filter(|part| nines(*part) <= self.high + 1e-9);
                within.map(|part| (part, format!("{} %", number(part * 100.0)))).collect()
            }
        };
        ticks.into_iter().map(|(value, label)| (self.part(value), label)).collect()
    }

    /// The unit of a time.
    fn unit(&self) -> Option<&'static str> {
        match self.scale {
            Scale::Time if self.high <= 120.0 => Some("s"),
            Scale::Time if self.high <= 7_200.0 => Some("min:s"),
            Scale::Time => Some("h:min"),
            _ => None,
        }
    }

    fn clock(&self, seconds: f64, step: f64) -> String {
        let whole = seconds.round() as i64;
        match self.unit() {
            Some("min:s") => format!("{}:{:02}", whole / 60, whole % 60),
            Some("h:min") => format!("{}:{:02}", whole / 3_600, whole / 60 % 60),
            _ => number_in(seconds, step),
        }
    }
}

/// The least and the greatest of what is finite.
fn extremes(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |found, value| match found {
        None => Some((value, value)),
        Some((least, most)) => Some((least.min(value), most.max(value))),
    })
}

/// How many nines a part has: 0.9 has one.
fn nines(part: f64) -> f64 {
    -(1.0 - part.clamp(0.0, NINES_MOST)).log10()
}

/// The next number of 1, 2, 5, 10, 20, …
fn round(value: f64, up: bool) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let candidates = [1.0, 2.0, 5.0, 10.0].map(|first| first * decade);
    let found = match up {
        true => candidates.into_iter().find(|one| *one >= value * (1.0 - 1e-9)),
        false => candidates.into_iter().rev().find(|one| *one <= value * (1.0 + 1e-9)),
    };
    found.unwrap_or(value)
}

/// From tick to tick of an axis from 0.
fn step_of(scale: Scale, most: f64) -> f64 {
    let step = round(most / 5.0, true);
    if scale == Scale::Count { step.max(1.0) } else { step }
}

/// From tick to tick of a time.
fn seconds_step(length: f64) -> f64 {
    const STEPS: [f64; 17] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 3_600.0, 7_200.0, 21_600.0,
    ];
    STEPS.into_iter().find(|step| length / step <= 7.0).unwrap_or_else(|| round(length / 7.0, true))
}

fn multiples(step: f64, low: f64, high: f64) -> impl Iterator<Item = f64> {
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(move |n| n as f64 * step)
}

/// A number with as many decimals as the step between such numbers has.
fn number_in(value: f64, step: f64) -> String {
    if step >= 1.0 {
        return number(value);
    }
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.decimals$}")
}

/// A number in few characters.
fn number(value: f64) -> String {
    let (value, suffix) = match value.abs() {
        large if large >= 1e6 => (value / 1e6, "M"),
        large if large >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{}{suffix}", if text == "-0" { "0" } else { text })
}

fn place_x(span: &Span, value: f64) -> f64 {
    LEFT + span.part(value) * (RIGHT - LEFT)
}

fn place_y(span: &Span, value: f64) -> f64 {
    BOTTOM - span.part(value) * (BOTTOM - TOP)
}

/// A coordinate, to a tenth.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// Without the points within a level stretch: they are not seen.
fn without_level(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let level =
        |n: usize| n > 0 && n + 1 < points.len() && points[n - 1].1 == points[n].1 && points[n].1 == points[n + 1].1;
    (0..points.len()).filter(|n| !level(*n)).map(|n| points[n]).collect()
}

fn line(points: &[(f64, f64)]) -> String {
    let points = without_level(points);
    let place =
        |(n, (x, y)): (usize, &(f64, f64))| format!("{}{} {}", if n == 0 { 'M' } else { 'L' }, short(*x), short(*y));
    points.iter().enumerate().map(place).collect()
}

fn steps(points: &[(f64, f64)]) -> String {
    let points = without_level(points);
    let Some((x, y)) = points.first() else { return String::new() };
    let further = points[1..].iter().map(|(x, y)| format!("H{}V{}", short(*x), short(*y)));
    format!("M{} {}{}", short(*x), short(*y), further.collect::<String>())
}

/// What is between two lines of steps: along the upper one, and back along the lower one.
fn area(tops: &[(f64, f64)], bases: &[(f64, f64)]) -> String {
    let bases = without_level(bases);
    let Some((x, y)) = bases.last() else { return String::new() };
    let back = bases.iter().rev().skip(1).map(|(x, y)| format!("V{}H{}", short(*y), short(*x)));
    format!("{}L{} {}{}Z", steps(tops), short(*x), short(*y), back.collect::<String>())
}

/// Text that is no markup.
fn escape(text: &str) -> String {
    let mut escaped = Vec::with_capacity(text.len());
    match tera::escape_html(text, &mut escaped) {
        Ok(()) => String::from_utf8(escaped).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: Axis<'_> = Axis { label: "time", scale: Scale::Time, least: None };
    const Y: Axis<'_> = Axis { label: "writes", scale: Scale::Count, least: None };

    fn chart<'a>(shape: Shape, series: Vec<Series<'a>>, marks: &'a [f64]) -> Chart<'a> {
        Chart { id: "queue", title: "Queue <&> depth", shape, x: X, y: Y, series, marks }
    }

    fn series(name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Series<'_> {
        Series { name, ink: Ink::Orange, points: points.into_iter().collect() }
    }

    fn labels(span: &Span) -> Vec<String> {
        span.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn values_become_places() {
        let span = Span::of(Scale::Count, [3.0, 37.0].into_iter()).unwrap();
        assert_eq!((span.low, span.high), (0.0, 40.0));
        assert_eq!([0.0, 20.0, 40.0, 99.0].map(|value| place_y(&span, value)), [BOTTOM, 118.0, TOP, TOP]);
        let span = Span::of(Scale::Time, [10.0, 20.0].into_iter()).unwrap();
        assert_eq!([10.0, 15.0, 20.0].map(|value| place_x(&span, value)), [LEFT, 237.0, RIGHT]);
        let span = Span::of(Scale::Nines, [0.0, 0.999].into_iter()).unwrap();
        let places = [0.0, 0.9, 0.99, 0.999, 1.0].map(|value| (span.part(value) * 300.0).round());
        assert_eq!(places, [0.0, 100.0, 200.0, 300.0, 300.0]);
        let span = Span::of(Scale::Log, [0.0, 3.0, 700.0].into_iter()).unwrap();
        assert!((10f64.powf(span.low) - 0.01).abs() < 1e-9 && (10f64.powf(span.high) - 1_000.0).abs() < 1e-9);
        assert_eq!(span.part(0.0), 0.0);
    }

    #[test]
    fn a_span_without_a_length_is_none() {
        assert_eq!(Span::of(Scale::Time, [4.0, 4.0].into_iter()), None);
        assert_eq!(Span::of(Scale::Linear, [f64::NAN, f64::INFINITY].into_iter()), None);
        // What stays at 0, or at one value, has an axis all the same.
        assert!(Span::of(Scale::Count, [0.0].into_iter()).is_some());
        assert!(Span::of(Scale::Log, [5.0].into_iter()).is_some());
    }

    #[test]
    fn ticks_are_round() {
        let of = |scale, values: &[f64]| labels(&Span::of(scale, values.iter().copied()).unwrap());
        assert_eq!(of(Scale::Count, &[3.0]), ["0", "1", "2", "3"]);
        assert_eq!(of(Scale::Count, &[0.0]), ["0", "1"]);
        assert_eq!(of(Scale::Linear, &[0.7]), ["0.0", "0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(of(Scale::Linear, &[23_000.0]), ["0", "5000", "10k", "15k", "20k", "25k"]);
        assert_eq!(of(Scale::Time, &[0.6, 61.0]), ["10", "20", "30", "40", "50", "60"]);
        assert_eq!(of(Scale::Time, &[0.6, 305.0]), ["1:00", "2:00", "3:00", "4:00", "5:00"]);
        assert_eq!(of(Scale::Time, &[0.0, 9_000.0]), ["0:00", "1:00", "2:00"]);
        assert_eq!(of(Scale::Log, &[2.0, 90.0]), ["2", "5", "10", "20", "50", "100"]);
        assert_eq!(of(Scale::Log, &[0.3, 400.0]), ["0.2", "1", "10", "100", "500"]);
        assert_eq!(of(Scale::Nines, &[0.995]), ["0 %", "50 %", "90 %", "99 %"]);
        assert_eq!(of(Scale::Nines, &[0.2]), ["0 %", "50 %", "90 %"]);
    }

    #[test]
    fn steps_hold_until_the_next_and_areas_come_back() {
        let points = [(0.0, 10.0), (5.0, 20.0), (9.0, 20.0)];
        assert_eq!(steps(&points), "M0 10H5V20H9V20");
        assert_eq!(line(&points), "M0 10L5 20L9 20");
        assert_eq!(area(&points, &[(0.0, 30.0), (5.0, 40.0), (9.0, 40.0)]), "M0 10H5V20H9V20L9 40V40H5V30H0Z");
        assert_eq!(line(&[(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0)]), "M0 1L3 1");
    }

    #[test]
    fn areas_stand_on_each_other() {
        let of = |values: [f64; 2]| series("n", [(0.0, values[0]), (1.0, values[1])]);
        let layers = chart(Shape::Stack, vec![of([3.0, 2.0]), of([1.0, 4.0])], &[]).layers();
        let spans = |layer: &[Point]| layer.iter().map(|point| (point.low, point.high)).collect::<Vec<_>>();
        assert_eq!(spans(&layers[0]), [(0.0, 3.0), (0.0, 2.0)]);
        assert_eq!(spans(&layers[1]), [(3.0, 4.0), (2.0, 6.0)]);
    }

    #[test]
    fn a_drawing_names_what_it_shows_and_escapes_it() {
        let points = [(0.0, 1.0), (1.0, f64::NAN), (2.0, 7.0)];
        for shape in [Shape::Line, Shape::Step, Shape::Stack] {
            let svg = chart(shape, vec![series("<b>all</b>", points)], &[0.5]).svg().unwrap();
            assert!(svg.contains("role=\"img\" aria-labelledby=\"queue-title\" aria-describedby"), "{svg}");
            assert!(svg.contains("<title id=\"queue-title\">Queue &lt;&amp;&gt; depth</title>"), "{svg}");
            assert!(svg.contains("&lt;b&gt;all&lt;/b&gt;: from 1 to 7, at the end 7."), "{svg}");
            assert!(svg.contains("time (s)") && svg.contains("class=\"mark\""), "{svg}");
            assert!(!svg.contains("<b>") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn without_two_points_there_is_no_drawing() {
        for points in [vec![], vec![(1.0, 1.0)], vec![(1.0, 1.0), (1.0, 2.0)], vec![(f64::NAN, 1.0), (2.0, 2.0)]] {
            assert_eq!(chart(Shape::Line, vec![series("n", points)], &[]).svg(), None);
        }
        assert_eq!(chart(Shape::Stack, vec![], &[]).svg(), None);
    }

    #[test]
    fn an_axis_shows_more_than_its_points_where_that_is_wanted() {
        let wide = Axis { least: Some((0.0, 50.0)), ..X };
        let chart = Chart { x: wide, ..chart(Shape::Line, vec![series("n", [(10.0, 1.0), (11.0, 2.0)])], &[]) };
        assert!(chart.svg().unwrap().contains(">40</text>"));
        let nothing = Chart { series: vec![series("n", [])], ..chart };
        assert_eq!(nothing.svg(), None);
    }

    #[test]
    fn close_marks_share_a_label() {
        let all = series("n", [(1.0, 1.0), (101.0, 2.0)]);
        let svg = chart(Shape::Line, vec![all], &[0.2, 0.95, 2.0, 60.0, 200.0]).svg().unwrap();
        assert_eq!(svg.matches("class=\"mark\"").count(), 3, "the first is too early, the last too late: {svg}");
        assert!(svg.contains(">2–3</text>") && svg.contains(">4</text>"), "{svg}");
    }

    #[test]
    fn a_long_legend_has_lines() {
        let names = ["one that is rather long", "another that is", "and a third one", "four"];
        let all = names.map(|name| series(name, [(0.0, 1.0), (1.0, 1.0)]));
        let chart = chart(Shape::Line, all.to_vec(), &[]);
        assert_eq!(chart.legend().1, BOTTOM + 68.0 + LEGEND_LINE);
        assert_eq!(chart.svg().unwrap().matches("class=\"line orange\"").count(), 8);
    }
}
