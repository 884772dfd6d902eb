//! Configuration texts as the command handles them: lines that a person overrides, lines that the command adds.
//! What the lines mean is `nom_service::configuration`'s business.

use crate::trouble::{Outcome, Trouble};

/// The text with these keys set: their old lines go, new ones stand at the end, under a comment that says so.
pub fn with(text: &str, settings: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if !settings.iter().any(|(key, _)| key_of(line) == Some(key)) {
            out.push_str(line);
            out.push('\n');
        }
    }
    if !settings.is_empty() {
        out.push_str("\n# Set by the command that started this:\n");
    }
    for (place, (key, value)) in settings.iter().enumerate() {
        // The last word counts when one key was given twice.
        if !settings[place + 1..].iter().any(|(later, _)| later == key) {
            out.push_str(&format!("{key} = {value}\n"));
        }
    }
    out
}

/// The text without the lines of these keys.
pub fn without(text: &str, keys: &[&str]) -> String {
    let kept = |line: &&str| !keys.iter().any(|key| key_of(line) == Some(key));
    text.lines().filter(kept).flat_map(|line| [line, "\n"]).collect()
}

/// The value of a key, as it stands.
pub fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .filter(|line| key_of(line) == Some(key))
        .filter_map(|line| line.split_once('='))
        .map(|(_, value)| value.split('#').next().unwrap_or_default().trim())
        .next_back()
}

/// Splits what a person typed after `--set`.
pub fn setting(typed: &str) -> Outcome<(&str, &str)> {
    match typed.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() && !typed.contains(['\n', '\r', '#']) => {
            Ok((key.trim(), value.trim()))
        }
        _ => Err(Trouble::new(format!("--set {typed}: KEY=VALUE is expected, as in --set wait=poll"))),
    }
}

fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split('#').next()?.split_once('=')?;
    Some(key.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_replaced_and_the_rest_stays() {
        let text = "# comment = here\nlisten = 11211\nwait=halt # old\n";
        let new = with(text, &[("wait", "spin"), ("memory.items", "8 MiB"), ("wait", "poll")]);
        assert_eq!(
            new,
            "# comment = here\nlisten = 11211\n\n# Set by the command that started this:\n\
             memory.items = 8 MiB\nwait = poll\n"
        );
        assert_eq!(value(&new, "wait"), Some("poll"));
        assert_eq!(value(&new, "comment"), None);
        assert_eq!(value(text, "wait"), Some("halt"));
        assert_eq!(with(text, &[]), text);
    }

    #[test]
    fn a_setting_is_a_key_and_a_value() {
        assert_eq!(setting("wait = poll"), Ok(("wait", "poll")));
        assert!(setting("wait").is_err());
        assert!(setting("=x").is_err());
        assert!(setting("a=b\nimage.trusted=yes").is_err());
    }
}
