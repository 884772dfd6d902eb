//! `nom freeze`, `nom thaw`, `nom set` and `nom reload`: orders for a running service, passed on by its `nom run`.

use crate::arguments::Typed;
use nom_machine::trouble::{Outcome, Trouble};
use nom_machine::watch::{all, choose};
use std::process::ExitCode;

/// The setting in force stays.
pub fn freeze(typed: &Typed) -> Outcome<ExitCode> {
    order("freeze", typed.words.first())
}

/// The tuner goes on.
pub fn thaw(typed: &Typed) -> Outcome<ExitCode> {
    order("thaw", typed.words.first())
}

/// The configuration is read again.
pub fn reload(typed: &Typed) -> Outcome<ExitCode> {
    order("reload", typed.words.first())
}

/// One key of the configuration changes.
pub fn set(typed: &Typed) -> Outcome<ExitCode> {
    let Some((key, value)) = typed.words.first().and_then(|word| word.split_once('=')) else {
        return Err(Trouble::new("nom set KEY=VALUE [PORT]: say which key, such as tuner=off"));
    };
    order(&format!("set {} = {}", key.trim(), value.trim()), typed.words.get(1))
}

fn order(order: &str, service: Option<&String>) -> Outcome<ExitCode> {
    if order.contains(['\n', '\r']) {
        return Err(Trouble::new("an order is one line"));
    }
    let mut watched = choose(all(), service.map(String::as_str))?;
    watched.ask(&format!("order {order}"))?;
    let answer = watched.line()?.ok_or_else(|| Trouble::new("the service has ended"))?;
    let text = answer["text"].as_str().unwrap_or_default();
    match answer["good"].as_bool() {
        Some(true) => {
            println!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(Trouble::new(format!("refused, nothing has changed: {text}"))),
    }
}
