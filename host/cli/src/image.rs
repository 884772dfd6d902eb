//! `nom image`: assembles an image and checks it, or shows what is in one.

use crate::arguments::Typed;
use crate::service::{self, progress};
use crate::shared;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, configuration as lines, content, image as images};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Applications that can be put into an image: the name a person types, and the package.
pub const APPLICATIONS: &[(&str, &str)] = &[
    ("kv", "nom-kv-guest"),
    ("httpd", "nom-httpd-guest"),
    ("echo", "nom-echo-guest"),
    ("netpipe", "nom-netpipe-guest"),
    ("switch", "nom-switch-guest"),
    ("trial", "nom-trial-guest"),
    ("drivers", "nom-drivers-guest"),
];

/// The command.
pub fn image(typed: &Typed) -> Outcome<ExitCode> {
    match typed.words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => assemble(typed),
        ["show", file] => {
            print!("{}", images::describe(&images::read(Path::new(file))?)?);
            Ok(ExitCode::SUCCESS)
        }
        ["show"] => Err(Trouble::new("nom image show: which FILE?")),
        [word, ..] => Err(Trouble::new(format!("nom image: {word:?} is not known; did you mean `show`?"))),
    }
}

fn assemble(typed: &Typed) -> Outcome<ExitCode> {
    let text = service::configuration(typed, &[])?;
    let name = typed.text("application").unwrap_or("kv");
    let bytes = match shared::count(typed)? {
        None => build(name, &text)?,
        Some(_) if name != "kv" => {
            return Err(Trouble::new("--apps is for kv: leave out --application, or --apps"));
        }
        Some(count) => shared::build(count, &text)?,
    };
    let out = Path::new(typed.text("out").unwrap_or("kv.image"));
    std::fs::write(out, &bytes).context(|| format!("cannot write {}", out.display()))?;
    println!(
        "{}: {} bytes; `nom image show {}` lists what is in it",
        out.display(),
        bytes.len(),
        out.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Builds the kernel and an application, and assembles them with a configuration.
pub fn build(application: &str, configuration: &str) -> Outcome<Vec<u8>> {
    let [kernel, program] = programs(application)?;
    let content = lines::value(configuration, "web.content").filter(|_| application == "httpd");
    let contents = match content {
        Some(folder) => vec![(application, content::pack(Path::new(folder))?)],
        None => Vec::new(),
    };
    images::assemble_with(&kernel, configuration, &[(application, &program)], &contents)
}

/// Builds the kernel and an application, and assembles an image that holds it under several names.
pub fn build_several(application: &str, names: &[&str], configuration: &str) -> Outcome<Vec<u8>> {
    let [kernel, program] = programs(application)?;
    let parts: Vec<(&str, &Path)> = names.iter().map(|&name| (name, program.as_path())).collect();
    images::assemble(&kernel, configuration, &parts)
}

/// Builds the kernel and applications, and assembles them: each part has a name in the image and an application.
pub fn build_parts(parts: &[(&str, &str)], configuration: &str) -> Outcome<Vec<u8>> {
    let mut files = Vec::new();
    let mut kernel = PathBuf::new();
    for (name, application) in parts {
        let [ring0, program] = programs(application)?;
        kernel = ring0;
        files.push((*name, program));
    }
    let parts: Vec<(&str, &Path)> = files.iter().map(|(name, program)| (*name, program.as_path())).collect();
    images::assemble(&kernel, configuration, &parts)
}

/// Builds the kernel and an application.
pub fn programs(application: &str) -> Outcome<[PathBuf; 2]> {
    let Some((_, package)) = APPLICATIONS.iter().find(|(name, _)| *name == application) else {
        let names: Vec<&str> = APPLICATIONS.iter().map(|(name, _)| *name).collect();
        return Err(Trouble::new(format!("no application {application:?}: {}", names.join(", "))));
    };
    let programs = artefacts::guest(&["nom-kernel", package], &mut progress)?;
    programs.try_into().map_err(|_| Trouble::new("cargo built another number of programs than asked for"))
}
