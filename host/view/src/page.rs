//! A page of a terminal from a snapshot: pure, so that tests see what a person sees.
//!
//! The page is made of parts. What does not fit is left out part by part, the least important one first, so that a small
//! screen still shows the money.

use crate::paint::{Line, Paint};
use crate::plot::{Mark, course, scatter};
use crate::snapshot::{Decision, Fixed, Money, Snapshot};
use crate::{dollars, duration, grouped, short};

/// Below so many columns words are left out.
const NARROW: usize = 64;
/// From so many columns on, the frontier stands beside its table.
const WIDE: usize = 76;
/// From so many columns on, the right half has the decisions.
const VERY_WIDE: usize = 132;
/// Columns of names at the left.
const NAMES: usize = 13;
/// Rows of the frontier, axes included: at least, and at most.
const FRONTIER_ROWS: (usize, usize) = (7, 14);

/// A part of the page.
struct Part {
    /// Parts with the greatest number are left out first.
    rank: u8,
    lines: Vec<Line>,
}

/// The page for a screen of so many columns and rows.
pub fn page(now: &Snapshot, columns: usize, rows: usize) -> Vec<Line> {
    let mut parts = vec![
        Part { rank: 0, lines: vec![title(now, columns)] },
        Part { rank: 0, lines: vec![profit(now, columns)] },
        Part { rank: 3, lines: money(now, columns) },
        Part { rank: 1, lines: prices(now, columns) },
        Part { rank: 2, lines: vec![load(now, columns)] },
        Part { rank: 1, lines: vec![served(now, columns)] },
        Part { rank: 2, lines: vec![latency(now, columns)] },
        Part { rank: 4, lines: request(now, columns) },
        Part { rank: 1, lines: vec![setting(now)] },
    ];
    let used: usize = parts.iter().map(|part| part.lines.len()).sum();
    let left = rows.saturating_sub(used + 1);
    let height = (left / 2).clamp(FRONTIER_ROWS.0, FRONTIER_ROWS.1);
    let frontier = match left > height && columns >= WIDE {
        true => frontier(now, columns * 2 / 5, height),
        false => Vec::new(),
    };
    let beside = if frontier.is_empty() { 0 } else { columns * 2 / 5 + 2 };
    let mut table = fixed(now, columns - beside);
    if !frontier.is_empty() {
        let height = frontier.len().max(table.len());
        let mut plot = frontier.into_iter();
        table.resize(height, Line::new());
        table = table
            .into_iter()
            .map(|line| plot.next().unwrap_or_default().cut(beside - 2).to(beside).join(line))
            .collect();
    }
    parts.push(Part { rank: 5, lines: spaced(table) });
    let used: usize = parts.iter().map(|part| part.lines.len()).sum();
    parts.push(Part { rank: 6, lines: spaced(decisions(now, columns, rows.saturating_sub(used + 1))) });

    while parts.iter().map(|part| part.lines.len()).sum::<usize>() > rows.max(1) && parts.len() > 1 {
        let last = (0..parts.len()).rev().max_by_key(|place| parts[*place].rank).unwrap_or(0);
        parts.remove(last);
    }
    parts.into_iter().flat_map(|part| part.lines).map(|line| line.cut(columns)).take(rows).collect()
}

/// An empty line before a part that has something to say.
fn spaced(mut lines: Vec<Line>) -> Vec<Line> {
    if !lines.is_empty() {
        lines.insert(0, Line::new());
    }
    lines
}

/// The begin of a line: what it is about.
fn about(name: &str) -> Line {
    Line::new().add(Paint::Quiet, format!("{name:<NAMES$}"))
}

fn title(now: &Snapshot, columns: usize) -> Line {
    let time = match now.ends {
        Some(ends) => format!("{:.0} s of {:.0} s", now.elapsed.as_secs_f64(), ends.as_secs_f64()),
        None => format!("{:.0} s", now.elapsed.as_secs_f64()),
    };
    let mut line = Line::new().add(Paint::Now, "nom ").add(Paint::Strong, &now.service);
    if columns >= NARROW && !now.place.is_empty() {
        line = line.add(Paint::Quiet, " on ").add(Paint::Plain, &now.place);
    }
    let room = columns.saturating_sub(time.len());
    line = line.cut(room.saturating_sub(1)).to(room);
    line.add(Paint::Quiet, time)
}

/// Money that came in or went out.
fn sign(amount: f64) -> Paint {
    if amount < 0.0 { Paint::Bad } else { Paint::Good }
}

/// Dollars with as many digits as there are.
fn amount(dollars: f64) -> String {
    format!("{dollars:+.6} $")
}

fn profit(now: &Snapshot, columns: usize) -> Line {
    let Some(rates) = &now.rates else {
        return about("profit").add(Paint::Quiet, "no window is settled yet");
    };
    let profit = rates.profit();
    let line = about("profit").add(sign(profit), format!("{:>13}", dollars(profit)));
    if columns < NARROW {
        return line;
    }
    let total = now.total.profit();
    let line = line.add(sign(total), format!("{:>15}", amount(total))).add(Paint::Quiet, " so far   ");
    let room = columns.saturating_sub(line.width()).min(48);
    line.add(sign(profit), course(&now.profits, room))
}

fn money(now: &Snapshot, columns: usize) -> Vec<Line> {
    let Some(rates) = &now.rates else { return Vec::new() };
    let wide = columns >= NARROW;
    let row = |name: &str, pick: fn(&Money) -> f64, what: Line| {
        let line = about(name).add(Paint::Plain, format!("{:>13}", dollars(pick(rates))));
        if !wide {
            return line;
        }
        line.add(Paint::Plain, format!("{:>15}  ", amount(pick(&now.total)))).join(what)
    };
    let part = |name, figure| Line::new().add(Paint::Quiet, name).add(Paint::Plain, format!(" {figure:.3} "));
    let costs =
        part("core", rates.core).join(part("bytes", rates.bandwidth)).join(part("memory", rates.memory));
    vec![row("revenue", |money| money.revenue, Line::new()), row("cost", |money| -money.cost(), costs)]
}

fn prices(now: &Snapshot, columns: usize) -> Vec<Line> {
    if now.prices.is_empty() {
        return vec![about("prices").add(Paint::Quiet, "none is known")];
    }
    let mut lines: Vec<Line> = Vec::new();
    let mut line = about("prices");
    for price in &now.prices {
        let moves = price.course.windows(2).any(|pair| pair[0] != pair[1]);
        let bars = if moves && columns >= NARROW { course(&price.course, 16) } else { String::new() };
        let piece = Line::new()
            .add(Paint::Quiet, format!("{} ", price.name))
            .add(Paint::Strong, &price.text)
            .add(Paint::Plain, if bars.is_empty() { "" } else { " " })
            .add(Paint::Now, bars)
            .add(Paint::Plain, "   ");
        if line.width() > NAMES && line.width() + piece.width() > columns + 3 {
            lines.push(std::mem::replace(&mut line, about("")));
        }
        line = line.join(piece);
    }
    lines.push(line);
    lines
}

fn load(now: &Snapshot, columns: usize) -> Line {
    let arriving = now.operations_per_s + now.refused_per_s;
    let mut line = about("load").add(Paint::Plain, format!("{}/s arrive", grouped(arriving.round() as u64)));
    if let Some(capacity) = now.capacity_per_s.filter(|capacity| *capacity > 0.0) {
        line = line.add(Paint::Plain, format!(", {:.0}% of capacity", 100.0 * arriving / capacity));
    }
    if columns >= NARROW {
        line = line.add(Paint::Quiet, format!(", {} connections", grouped(now.connections)));
    }
    line
}

fn served(now: &Snapshot, columns: usize) -> Line {
    let mut line =
        about("throughput").add(Paint::Strong, format!("{}/s", grouped(now.operations_per_s.round() as u64)));
    if now.refused_per_s >= 0.5 {
        line = line.add(Paint::Bad, format!(", {}/s refused", grouped(now.refused_per_s.round() as u64)));
    }
    if columns >= NARROW {
        line = line.to(NAMES + 15).add(Paint::Plain, course(&now.operations, 24));
    }
    line
}

fn latency(now: &Snapshot, columns: usize) -> Line {
    let line = about("latency");
    let Some(latency) = &now.latency else { return line.add(Paint::Quiet, "nothing was answered") };
    let figures = [
        ("p50", latency.p50_ns, Paint::Strong),
        ("p99", latency.p99_ns, Paint::Strong),
        ("jitter ~", latency.jitter_ns, Paint::Plain),
        ("p90 ~", latency.p90_ns, Paint::Plain),
        ("p99.9 ~", latency.p999_ns, Paint::Plain),
    ];
    // Half a figure would be another one.
    figures.into_iter().fold(line, |line, (name, ns, paint)| {
        let more = line.clone().add(Paint::Quiet, format!("{name} ")).add(paint, duration(ns));
        if more.width() > columns { line } else { more.add(Paint::Plain, "  ") }
    })
}

fn request(now: &Snapshot, columns: usize) -> Vec<Line> {
    let Some(request) = &now.request else { return Vec::new() };
    let mut line = about("a request").add(
        Paint::Plain,
        format!(
            "{:.1} us of a core, {:.0} bytes in, {:.0} out",
            request.core_ns / 1e3,
            request.in_bytes,
            request.out_bytes
        ),
    );
    if columns >= NARROW {
        line = line.add(Paint::Quiet, format!(", {:.2} kicks, {:.2} sleeps", request.kicks, request.sleeps));
    }
    vec![line]
}

fn setting(now: &Snapshot) -> Line {
    let text = if now.setting.is_empty() { "none is said" } else { &now.setting };
    about("setting").add(Paint::Now, text)
}

/// Letters that stand for fixed settings in the frontier's picture.
fn letter(place: usize) -> char {
    b"123456789abcdefghijklmnopqrstuvwxyz".get(place).map_or('*', |letter| char::from(*letter))
}

/// What an operation costs, in dollars a million of them.
fn per_million(dollars: f64) -> String {
    short(dollars * 1e6)
}

/// Cost over latency of all fixed settings at the prices in force, and where the service is now.
fn frontier(now: &Snapshot, columns: usize, rows: usize) -> Vec<Line> {
    let mut marks: Vec<Mark> = Vec::new();
    let mark = |x, y, letter, paint| Mark { x, y, letter, paint };
    if let (Some(latency), Some(request)) = (&now.latency, &now.request) {
        marks.push(mark(latency.mean_ns as f64, request.cost, '●', Paint::Now));
    }
    let mut points: Vec<(usize, &Fixed)> = now.fixed.iter().enumerate().collect();
    points.sort_by_key(|(_, fixed)| fixed.current);
    if points.is_empty() {
        return Vec::new();
    }
    marks.extend(points.into_iter().map(|(place, fixed)| {
        let paint = if fixed.current { Paint::Now } else { Paint::Plain };
        mark(fixed.latency_ns, fixed.cost, letter(place), paint)
    }));
    let mut lines = vec![Line::new().add(Paint::Quiet, "frontier today: $/Mop by latency")];
    lines.extend(scatter(&marks, (columns, rows), |ns| duration(ns.max(0.0) as u64), per_million));
    lines
}

fn fixed(now: &Snapshot, columns: usize) -> Vec<Line> {
    if now.fixed.is_empty() {
        return Vec::new();
    }
    let wide = columns >= 44;
    let wider = columns >= 56;
    let mut lines = vec![Line::new().add(Paint::Quiet, "fixed settings would have made (estimate)")];
    let row = |name: Line, rate: String, total: f64, rest: String| {
        let mut line = name.cut(22).to(23);
        if wider {
            line = line.add(Paint::Plain, format!("{rate:>13} "));
        }
        line = line.add(sign(total), format!("{:>15}", amount(total)));
        if wide { line.add(Paint::Quiet, rest) } else { line }
    };
    for (place, fixed) in now.fixed.iter().enumerate() {
        let paint = if fixed.current { Paint::Now } else { Paint::Plain };
        let name = Line::new().add(paint, format!("{} ", letter(place))).add(paint, &fixed.setting);
        let rest = match (fixed.current, fixed.frontier) {
            (true, _) => " now",
            (false, true) => "",
            (false, false) => " worse in all",
        };
        lines.push(row(name, dollars(fixed.profit_per_h), fixed.total, rest.into()));
    }
    let name = Line::new().add(Paint::Now, "● ").add(Paint::Strong, "nom, measured");
    let rate = now.rates.map_or_else(String::new, |rates| dollars(rates.profit()));
    lines.push(row(name, rate, now.total.profit(), String::new()));
    if columns >= 44 {
        lines.push(Line::new().add(Paint::Quiet, "  ● is latency as the service sees it,"));
        lines.push(Line::new().add(Paint::Quiet, "  numbers are as clients were measured to"));
    }
    lines
}

fn decisions(now: &Snapshot, columns: usize, rows: usize) -> Vec<Line> {
    if now.decisions.is_empty() || rows < 2 {
        return Vec::new();
    }
    let reasons = if columns >= VERY_WIDE { 2 } else { 3 };
    let mut lines = Vec::new();
    for decision in now.decisions.iter().rev() {
        let head = Line::new()
            .add(Paint::Quiet, format!("{:>6.1} s ", decision.at.as_secs_f64()))
            .add(Paint::Plain, &decision.before)
            .add(Paint::Quiet, " → ")
            .add(Paint::Strong, &decision.after)
            .add(Paint::Quiet, format!("  {} after the price was seen", duration(decision.took_ns)));
        let why = wrapped(reason(decision), columns.saturating_sub(10), reasons);
        let why = why.into_iter().map(|text| Line::new().to(9).add(Paint::Quiet, text));
        if lines.len() + 1 + why.len() > rows {
            // At least what was done last is said, if not all of why.
            if lines.is_empty() {
                lines.push(head);
                lines.extend(why.take(rows - 1));
            }
            break;
        }
        lines.push(head);
        lines.extend(why);
    }
    lines
}

/// Why, without the settings that stand before it already.
fn reason(decision: &Decision) -> &str {
    let said = format!("change {} -> {} ", decision.before, decision.after);
    decision.why.strip_prefix(&said).unwrap_or(&decision.why)
}

/// Words in lines of so many columns, and at most so many lines.
fn wrapped(text: &str, columns: usize, lines_max: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let count = lines.len();
        let line = lines.last_mut().expect("there is one");
        let long = !line.is_empty() && line.chars().count() + 1 + word.chars().count() > columns;
        if long && count == lines_max {
            line.push_str(" ..");
            break;
        }
        match (long, line.is_empty()) {
            (true, _) => lines.push(word.into()),
            (false, true) => line.push_str(word),
            (false, false) => line.extend([" ", word]),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_and_cut() {
        assert_eq!(wrapped("one two three four", 9, 2), ["one two", "three .."]);
        assert_eq!(wrapped("", 9, 2), [""]);
        assert_eq!(wrapped("extraordinary a", 5, 9), ["extraordinary", "a"]);
    }
}
