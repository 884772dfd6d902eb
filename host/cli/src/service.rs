//! What commands that start or assemble a service share: its configuration, and words for the person who waits.

use crate::arguments::Typed;
use crate::{points, worth};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, configuration as lines, file};
use nom_service::configuration::Configuration;
use std::path::{Path, PathBuf};

const HEAP: &str = "kernel.heap";
/// What a further core takes of a guest's heap for its stack, and what each has for each other one.
const CORE_MIB: usize = 4;
const CORES_MIB: usize = 2;

/// Applications that can be run by name; each has an example.
pub const NAMES: [&str; 3] = ["kv", "httpd", "echo"];
/// Longest configuration text; more is a mistake, and a guest would refuse it.
const TEXT_LEN_MAX: u64 = 64 << 10;

/// Says what takes so long.
pub fn progress(line: &str) {
    eprintln!("nom: {line}");
}

/// The file that a person named, or an example of ours.
pub fn file_or_example(typed: &Typed, option: &str, example: &str) -> Outcome<PathBuf> {
    Ok(match typed.text(option) {
        Some(file) => file.into(),
        None => artefacts::root()?.join(example),
    })
}

/// Reads a text that a person wrote.
pub fn read_text(path: &Path) -> Outcome<String> {
    file::text(path, TEXT_LEN_MAX)
}

/// What a person named as the application, by a word or by an option.
pub fn named(typed: &Typed) -> Option<&str> {
    let word = typed.words.first().map(String::as_str);
    word.or(typed.text("app")).or(typed.text("application"))
}

/// Which application a person named; kv without a name.
pub fn application(typed: &Typed) -> Outcome<&'static str> {
    let word = typed.words.first().map(String::as_str);
    let option = typed.text("app").or(typed.text("application"));
    if let (Some(word), Some(option)) = (word, option)
        && word != option
    {
        return Err(Trouble::new(format!("{word} and {option}: one application is served, leave one out")));
    }
    match named(typed) {
        None => Ok(NAMES[0]),
        Some(word) => NAMES
            .into_iter()
            .find(|name| *name == word)
            .ok_or_else(|| Trouble::new(format!("no application {word:?}; there are {}", NAMES.join(", ")))),
    }
}

/// The configuration that was asked for, with what the person and the command set, checked.
pub fn configuration(typed: &Typed, ours: &[(&str, &str)]) -> Outcome<String> {
    let name = application(typed).unwrap_or(NAMES[0]);
    let path = file_or_example(typed, "config", &format!("examples/{name}.conf"))?;
    let text = read_text(&path)?;
    check(&text).context(|| path.display().to_string())?;
    let text = worth::replaced(typed, points::added(typed, text)?)?;
    let mut settings = ours.to_vec();
    if let Some(cores) = typed.text("cores") {
        settings.push(("kv.cores", cores));
    }
    for typed in typed.all("set") {
        settings.push(lines::setting(typed)?);
    }
    // A folder of content is named from where the configuration lies.
    let beside = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let content = lines::value(&text, "web.content").map(|folder| beside.join(folder).display().to_string());
    if let Some(folder) = &content {
        settings.insert(0, ("web.content", folder));
    }
    let text = lines::with(&text, &settings);
    check(&text).context(|| "with what was set".into())?;
    let set = settings.iter().any(|(key, _)| *key == HEAP);
    Ok(if set { text } else { roomy(text) })
}

/// A file's heap is meant for one core: several have more.
fn roomy(text: String) -> String {
    let cores = Configuration::parse(&text).map_or(1, |configuration| configuration.cores);
    let mebibytes =
        lines::value(&text, HEAP).and_then(|heap| heap.strip_suffix("MiB")?.trim().parse::<usize>().ok());
    match mebibytes {
        Some(mebibytes) if cores > 1 => {
            let heap = mebibytes + (cores - 1) * CORE_MIB + cores * (cores - 1) * CORES_MIB;
            lines::with(&text, &[(HEAP, &format!("{heap} MiB"))])
        }
        _ => text,
    }
}

/// Checks a configuration's text as the application would.
fn check(text: &str) -> Result<(), String> {
    Configuration::parse(text).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_cores_have_more_heap() {
        let heap = |text: &str| lines::value(&roomy(text.into()), HEAP).map(String::from);
        assert_eq!(heap("kernel.heap = 13 MiB\n").as_deref(), Some("13 MiB"));
        assert_eq!(heap("kernel.heap = 13 MiB\nkv.cores = 2\n").as_deref(), Some("21 MiB"));
        assert_eq!(heap("kv.cores = 2\n"), None, "what nobody said is the kernel's to choose");
    }
}
