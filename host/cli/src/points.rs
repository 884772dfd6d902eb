//! The working points that go into a configuration: those of a file, or those that were measured for the example.

use crate::arguments::Typed;
use crate::service::{application, read_text};
use nom_machine::artefacts;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_points::Points;
use std::path::{Path, PathBuf};

/// The configuration's text with points: those of `--points`; without it those measured with the example, for the
/// home where the service runs; never in place of points that the configuration brings.
pub fn added(typed: &Typed, text: String) -> Outcome<String> {
    let own = nom_machine::configuration::value(&text, "points").is_some();
    let file = match typed.text("points") {
        Some("none") => None,
        Some(_) if own => {
            return Err(Trouble::new("the configuration has points of its own: leave out --points"));
        }
        Some(file) => Some(PathBuf::from(file)),
        None if own || typed.has("config") => None,
        None => {
            let home = typed.text("on").unwrap_or("guest");
            let name = application(typed)?;
            let file = artefacts::root()?.join(format!("examples/{name}-{home}.points"));
            // Not every application has been measured in every home.
            file.is_file().then_some(file)
        }
    };
    match file {
        Some(file) => Ok(text + &lines(&file, application(typed)?)?),
        None => Ok(text),
    }
}

/// The points of a file as lines of a configuration. What was measured of another application says nothing about this one.
fn lines(file: &Path, application: &str) -> Outcome<String> {
    let text = read_text(file)?;
    let points =
        Points::parse(&text).map_err(|error| error.to_string()).context(|| file.display().to_string())?;
    if points.application != application {
        return Err(Trouble::new(format!(
            "{}: measured of {}, and this is {application}: `nom profile {application}` measures its own",
            file.display(),
            points.application
        )));
    }
    let mut lines = String::from("\n");
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if !line.is_empty() {
            lines.push_str(&format!("points = {line}\n"));
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nom_tuner::{Moment, Quoted, Rules, Tuner};

    #[test]
    fn the_points_of_the_examples_are_points_and_go_into_a_configuration() {
        for home in ["guest", "linux"] {
            let typed = Typed::default().with("on", home);
            let text = added(&typed, "listen = 11211\n".into()).unwrap();
            let configuration = nom_service::configuration::Configuration::parse(&text).unwrap();
            assert!(configuration.points.is_some_and(|points| points.classes[0].points.len() >= 2));
            let again = added(&typed.with("points", "x"), text.clone()).unwrap_err();
            assert!(again.to_string().contains("points of its own"), "{again}");
            assert_eq!(added(&typed, text.clone()).unwrap(), text);
        }
        let of_kv = artefacts::root().unwrap().join("examples/kv-guest.points");
        let mut httpd = Typed::default().with("points", of_kv.to_str().unwrap());
        httpd.words.push("httpd".into());
        let other = added(&httpd, String::new()).unwrap_err();
        assert!(other.to_string().contains("measured of kv, and this is httpd"), "{other}");
        let nothing = added(&Typed::default().with("points", "none"), String::new()).unwrap();
        assert_eq!(nothing, "");
    }

    /// Whoever measures the points again hears here when the demonstrations show nothing any more.
    #[test]
    fn the_prices_of_the_examples_move_a_knob_between_their_points() {
        for (application, home, configuration, prices, dear_s, gathering) in [
            ("kv", "guest", "kv.conf", "day.prices", 8..15, "wait=halt batch=2ms"),
            ("kv", "linux", "kv.conf", "day.prices", 8..15, "wait=halt batch=2ms"),
            ("httpd", "linux", "httpd.conf", "day.prices", 8..15, "wait=halt batch=2ms"),
            ("kv", "linux", "patient.conf", "scarce.prices", 6..12, "wait=halt batch=1ms"),
        ] {
            let there_and_back = [(dear_s.start, gathering.into()), (dear_s.end, "wait=halt batch=0".into())];
            assert_eq!(
                moves(application, home, configuration, prices),
                there_and_back,
                "{home}, {configuration}, {prices}"
            );
        }
    }

    /// When the tuner changes what, in the example's first round of prices.
    fn moves(application: &str, home: &str, configuration: &str, prices: &str) -> Vec<(u64, String)> {
        let folder = artefacts::root().unwrap().join("examples");
        let schedule = nom_feeds::Schedule::parse(&read_text(&folder.join(prices)).unwrap()).unwrap();
        let text = read_text(&folder.join(configuration)).unwrap();
        let mut typed = Typed::default().with("on", home);
        typed.words.push(application.into());
        let text = added(&typed, text).unwrap();
        let configuration = nom_service::configuration::Configuration::parse(&text).unwrap();
        let (contract, points) = (configuration.contract.unwrap(), configuration.points.unwrap());
        let mut tuner = Tuner::new(contract, points, Rules::default());
        let mut moves = Vec::new();
        for now_s in 1..18 {
            let now_ns = now_s * 1_000_000_000;
            let step = schedule.at(now_ns);
            let quoted = Some(Quoted { prices: step.prices, generation: step.generation, valid_until_ns: 0 });
            let moment = Moment { now_ns, quoted, announced: None, arrival_per_s: 6_000.0, connections: 5.0 };
            let change = tuner.decide(&moment).and_then(|decision| decision.change);
            moves.extend(change.map(|setting| (now_s, setting.to_string())));
        }
        moves
    }
}
