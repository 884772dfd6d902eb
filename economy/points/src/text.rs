//! The readable form of working points.
//!
//! ```text
//! nom-points 2
//! application kv
//! noise throughput=0.03 bytes=0.002 cores=0.17 memory=0.02 latency=0.23
//! capacity_per_s 40000
//! class single open utilisation 0..0.3 connections 1..4
//! point wait=halt batch=0 : throughput_per_s=18000 ... samples=10000 late=750us:12,1ms:3
//! class many closed utilisation 0.3.. connections 4..
//! point ...
//! ```
//!
//! A `#` begins a comment. The order of the header's lines is fixed, every figure of a point must be there once,
//! classes must not overlap, and a setting stands once in a class. A class may end in `measured 0.25`, the utilisation that
//! its points were measured under, and a point may say in `server_ns=` what the server itself saw of the latency. Version 1, which
//! is still read, had one `noise 0.02` for all figures. `point SETTING : unmeasured` names a setting that is possible
//! and of which nothing is known.

use crate::{Class, LATE_MAX, Late, LoadKind, Noise, Point, Points, Range, Setting};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::fmt::Write;
use nom_money::{parse_duration_ns, print_duration};

/// Longest text that is read.
pub const BYTES_MAX: usize = 256 * 1024;
/// Most classes in a file.
pub const CLASSES_MAX: usize = 64;
/// Most points in a class.
pub const POINTS_MAX: usize = 256;
/// No figure is larger: what is, is a mistake.
const FIGURE_MAX: f64 = 1e15;

/// Why a text holds no points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointsError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there and what is expected.
    pub message: String,
}

impl fmt::Display for PointsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// What a point says beside its figures where it was noted.
const SERVER: &str = "server_ns";

/// Stands for all figures of a point that is only known to be possible.
const UNMEASURED: &str = "unmeasured";

const FIGURES: [&str; 9] = [
    "throughput_per_s",
    "useful_bytes",
    "wire_bytes",
    "core_ns",
    "idle_cores",
    "memory_bytes",
    "mean_ns",
    "jitter_ns",
    "p99_ns",
];

impl Points {
    /// Reads points; strict, with the line at fault.
    pub fn parse(text: &str) -> Result<Self, PointsError> {
        if text.len() > BYTES_MAX {
            return Err(PointsError { line: 1, message: "the file is larger than 256 KiB".into() });
        }
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.split('#').next().unwrap_or("").trim()))
            .filter(|(_, line)| !line.is_empty());
        let end = text.lines().count() + 1;
        let mut header = |key: &str, expected: &str| -> Result<(usize, String), PointsError> {
            let (line, found) = lines.next().unwrap_or((end, ""));
            match found.split_once(char::is_whitespace) {
                Some((word, value)) if word == key => Ok((line, value.trim().to_string())),
                _ => Err(PointsError { line, message: alloc::format!("expected '{key} {expected}'") }),
            }
        };
        let (line, version) = header("nom-points", "2")?;
        let one_noise = match version.as_str() {
            "1" => true,
            "2" => false,
            _ => return Err(at(line, "this version of points is not known; expected 'nom-points 2', or 1")),
        };
        let (line, application) = header("application", "NAME")?;
        name(line, &application)?;
        let (line, noise) = header("noise", if one_noise { "0.02" } else { "throughput=0.02 ..." })?;
        let noise = if one_noise { Noise::same(part(line, &noise)?) } else { noises(line, &noise)? };
        let (line, capacity) = header("capacity_per_s", "40000")?;
        let capacity_per_s = figure(line, &capacity)?;
        if capacity_per_s < 1.0 {
            return Err(at(line, "expected at least 1 operation a second"));
        }
        let mut classes: Vec<Class> = Vec::new();
        for (line, content) in lines {
            match content.split_once(char::is_whitespace) {
                Some(("class", rest)) => {
                    let class = class(line, rest)?;
                    if let Some(same) = classes.iter().find(|known| {
                        known.name == class.name
                            || known.utilisation.overlaps(&class.utilisation)
                                && known.connections.overlaps(&class.connections)
                    }) {
                        let message = alloc::format!("class {} overlaps class {}", class.name, same.name);
                        return Err(PointsError { line, message });
                    }
                    if classes.len() == CLASSES_MAX {
                        return Err(at(line, "more than 64 classes"));
                    }
                    classes.push(class);
                }
                Some(("point", rest)) => {
                    let point = point(line, rest)?;
                    let Some(class) = classes.last_mut() else {
                        return Err(at(line, "a point before any class"));
                    };
                    if class.find(point.setting).is_some() {
                        return Err(at(line, "this setting stands twice in its class"));
                    }
                    if class.points.len() == POINTS_MAX {
                        return Err(at(line, "more than 256 points in a class"));
                    }
                    class.points.push(point);
                }
                _ => return Err(at(line, "expected 'class ...' or 'point ...'")),
            }
        }
        match classes.iter().find(|class| class.points.is_empty()) {
            Some(empty) => {
                Err(PointsError { line: end, message: alloc::format!("class {} has no points", empty.name) })
            }
            None if classes.is_empty() => Err(at(end, "no class")),
            None => Ok(Self { application, noise, capacity_per_s, classes }),
        }
    }
}

fn at(line: usize, message: &str) -> PointsError {
    PointsError { line, message: message.into() }
}

fn name(line: usize, word: &str) -> Result<(), PointsError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if word.is_empty() || word.len() > 40 || !word.bytes().all(good) {
        return Err(at(line, "expected a name of at most 40 letters, digits, - and _"));
    }
    Ok(())
}

/// A figure: digits, point, exponent, and nothing below zero, infinite or absurd.
fn figure(line: usize, text: &str) -> Result<f64, PointsError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'-'));
    text.parse()
        .ok()
        .filter(|value| plain && (0.0..=FIGURE_MAX).contains(value))
        // -0 is read as 0 so that it is written as 0.
        .map(|value: f64| value + 0.0)
        .ok_or_else(|| PointsError {
            line,
            message: alloc::format!(
                "'{}' is no figure; expected a number from 0 to 1e15",
                text.chars().take(40).collect::<String>().escape_debug()
            ),
        })
}

/// Noise: less than the whole figure.
fn part(line: usize, text: &str) -> Result<f64, PointsError> {
    let part = figure(line, text)?;
    if part < 1.0 { Ok(part) } else { Err(at(line, "noise is a part of a figure: expected less than 1")) }
}

/// Noise for each kind of figure, all of them, each once.
fn noises(line: usize, text: &str) -> Result<Noise, PointsError> {
    let mut parts = [None; Noise::NAMES.len()];
    for word in text.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let Some(place) = Noise::NAMES.iter().position(|known| *known == name) else {
            let message = alloc::format!("noise: expected {}, each with =PART", Noise::NAMES.join(", "));
            return Err(PointsError { line, message });
        };
        if parts[place].replace(part(line, value)?).is_some() {
            return Err(PointsError { line, message: alloc::format!("noise: {name} stands twice") });
        }
    }
    match parts.iter().position(Option::is_none) {
        Some(place) => {
            Err(PointsError { line, message: alloc::format!("noise: {} is missing", Noise::NAMES[place]) })
        }
        None => Ok(Noise::of(parts.map(Option::unwrap_or_default))),
    }
}

fn range(line: usize, text: &str) -> Result<Range, PointsError> {
    let Some((from, to)) = text.split_once("..") else {
        return Err(at(line, "expected a range such as 0..0.3 or 4.."));
    };
    let from = figure(line, from)?;
    let to = if to.is_empty() { f64::INFINITY } else { figure(line, to)? };
    if from < to { Ok(Range { from, to }) } else { Err(at(line, "a range must rise")) }
}

fn class(line: usize, rest: &str) -> Result<Class, PointsError> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (words, measured) = match words[..] {
        [.., "measured", measured] => (&words[..words.len() - 2], Some(figure(line, measured)?)),
        _ => (&words[..], None),
    };
    let [class_name, kind, "utilisation", utilisation, "connections", connections] = *words else {
        return Err(at(
            line,
            "expected 'class NAME open|closed utilisation FROM..TO connections FROM..TO [measured UTILISATION]'",
        ));
    };
    name(line, class_name)?;
    let kind = match kind {
        "open" => LoadKind::Open,
        "closed" => LoadKind::Closed,
        _ => return Err(at(line, "expected open or closed")),
    };
    Ok(Class {
        name: class_name.into(),
        kind,
        utilisation: range(line, utilisation)?,
        connections: range(line, connections)?,
        measured,
        points: Vec::new(),
    })
}

fn point(line: usize, rest: &str) -> Result<Point, PointsError> {
    let Some((setting, figures)) = rest.split_once(" : ") else {
        return Err(at(line, "expected 'point SETTING : FIGURES'"));
    };
    let setting: Setting =
        setting.parse().map_err(|error| PointsError { line, message: alloc::format!("{error}") })?;
    if setting == Setting::Nothing {
        return Err(at(line, "'nothing' is always a point and is not written"));
    }
    if figures.trim() == UNMEASURED {
        return Ok(Point::unmeasured(setting));
    }
    let mut values = [None; FIGURES.len()];
    let (mut samples, mut late, mut server_ns) = (None, None, None);
    for word in figures.split_whitespace() {
        let Some((key, value)) = word.split_once('=') else {
            return Err(at(line, "expected FIGURE=NUMBER"));
        };
        let twice = if let Some(place) = FIGURES.iter().position(|known| *known == key) {
            values[place].replace(figure(line, value)?).is_some()
        } else if key == "samples" {
            let count: u64 = value.parse().map_err(|_| at(line, "samples: expected a whole number"))?;
            samples.replace(count).is_some()
        } else if key == SERVER {
            server_ns.replace(figure(line, value)?).is_some()
        } else if key == "late" {
            late.replace(counts(line, value)?).is_some()
        } else {
            let known = FIGURES.join(", ");
            let message = alloc::format!(
                "'{}' is not known; expected {known}, {SERVER}, samples, late",
                key.chars().take(40).collect::<String>().escape_debug()
            );
            return Err(PointsError { line, message });
        };
        if twice {
            return Err(PointsError { line, message: alloc::format!("{key} stands twice") });
        }
    }
    let value = |place: usize| {
        values[place]
            .ok_or_else(|| PointsError { line, message: alloc::format!("{} is missing", FIGURES[place]) })
    };
    let samples = samples.ok_or_else(|| at(line, "samples is missing"))?;
    let late = late.unwrap_or_default();
    if late.iter().any(|late| late.above > samples) {
        return Err(at(line, "more late operations than samples"));
    }
    let point = Point {
        setting,
        throughput_per_s: value(0)?,
        useful_bytes: value(1)?,
        wire_bytes: value(2)?,
        core_ns: value(3)?,
        idle_cores: value(4)?,
        memory_bytes: value(5)?,
        mean_ns: value(6)?,
        server_ns: server_ns.unwrap_or(0.0),
        jitter_ns: value(7)?,
        p99_ns: value(8)?,
        samples,
        late,
    };
    if point.idle_cores > 1.0 {
        return Err(at(line, "idle_cores is a share: expected at most 1"));
    }
    Ok(point)
}

fn counts(line: usize, text: &str) -> Result<Vec<Late>, PointsError> {
    let mut late: Vec<Late> = Vec::new();
    for pair in text.split(',') {
        let Some((threshold, above)) = pair.split_once(':') else {
            return Err(at(line, "late: expected THRESHOLD:COUNT,..., such as 750us:12"));
        };
        let threshold_ns = parse_duration_ns(threshold)
            .map_err(|error| PointsError { line, message: alloc::format!("late: {error}") })?;
        let above = above.parse().map_err(|_| at(line, "late: expected a whole number of operations"))?;
        if let Some(last) = late.last()
            && (last.threshold_ns >= threshold_ns || last.above < above)
        {
            return Err(at(line, "late: thresholds must rise and counts must not"));
        }
        if late.len() == LATE_MAX {
            return Err(at(line, "late: more than 8 thresholds"));
        }
        late.push(Late { threshold_ns, above });
    }
    Ok(late)
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "nom-points 2\napplication {}\nnoise {}", self.application, self.noise)?;
        writeln!(f, "capacity_per_s {}", self.capacity_per_s)?;
        for class in &self.classes {
            let kind = match class.kind {
                LoadKind::Open => "open",
                LoadKind::Closed => "closed",
            };
            write!(f, "class {} {kind} utilisation ", class.name)?;
            write_range(f, class.utilisation)?;
            f.write_str(" connections ")?;
            write_range(f, class.connections)?;
            if let Some(measured) = class.measured {
                write!(f, " measured {measured}")?;
            }
            f.write_char('\n')?;
            for point in &class.points {
                write_point(f, point)?;
            }
        }
        Ok(())
    }
}

fn write_range(f: &mut fmt::Formatter<'_>, range: Range) -> fmt::Result {
    write!(f, "{}..", range.from)?;
    if range.to.is_finite() { write!(f, "{}", range.to) } else { Ok(()) }
}

fn write_point(f: &mut fmt::Formatter<'_>, point: &Point) -> fmt::Result {
    write!(f, "point {} :", point.setting)?;
    if *point == Point::unmeasured(point.setting) {
        return writeln!(f, " {UNMEASURED}");
    }
    let values = [
        point.throughput_per_s,
        point.useful_bytes,
        point.wire_bytes,
        point.core_ns,
        point.idle_cores,
        point.memory_bytes,
        point.mean_ns,
        point.jitter_ns,
        point.p99_ns,
    ];
    for (name, value) in FIGURES.iter().zip(values) {
        write!(f, " {name}={value}")?;
    }
    if point.server_ns > 0.0 {
        write!(f, " {SERVER}={}", point.server_ns)?;
    }
    write!(f, " samples={}", point.samples)?;
    for (place, late) in point.late.iter().enumerate() {
        let lead = if place == 0 { " late=" } else { "," };
        write!(f, "{lead}{}:{}", print_duration(late.threshold_ns), late.above)?;
    }
    f.write_char('\n')
}

#[cfg(test)]
mod tests;
