//! `nom.h` says what the library has: every function with its types, every number, every place in a structure.

use nom::{Event, Price};
use std::fs;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(file: &str) -> String {
    fs::read_to_string(folder().join(file)).unwrap()
}

/// The header without its comments, each run of white space as one blank.
fn header() -> String {
    let text = text("include/nom.h");
    let mut plain = String::new();
    for piece in text.split("/*") {
        plain.push_str(piece.split_once("*/").map_or(piece, |(_, after)| after));
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A type of Rust's as C writes it, with a blank or a star before the name that follows.
fn in_c(rust: &str) -> String {
    let plain = match rust {
        "c_int" => "int ",
        "c_long" => "long ",
        "i64" => "int64_t ",
        "u64" => "uint64_t ",
        "usize" => "size_t ",
        "*const c_char" => "const char *",
        "*mut c_char" => "char *",
        "*const *const c_char" => "const char *const *",
        "*mut u8" => "uint8_t *",
        "*const u8" => "const uint8_t *",
        "*mut Event" => "struct nom_event *",
        "*mut Price" => "struct nom_price *",
        other => panic!("a type that the header cannot have yet: {other}"),
    };
    plain.into()
}

/// The prototypes that the library's functions have in C.
fn prototypes() -> Vec<String> {
    let face = text("src/face.rs");
    let mut found = Vec::new();
    for piece in face.split("#[unsafe(no_mangle)]\n").skip(1) {
        let piece = piece.split_once("extern \"C\" fn ").unwrap().1;
        let (name, rest) = piece.split_once('(').unwrap();
        let (arguments, rest) = rest.split_once(") -> ").unwrap();
        let result = rest.split_once(" {").unwrap().0;
        let arguments: Vec<String> = arguments
            .split(',')
            .filter(|argument| !argument.trim().is_empty())
            .map(|argument| {
                let (name, kind) = argument.trim().split_once(": ").unwrap();
                format!("{}{name}", in_c(kind))
            })
            .collect();
        let arguments = if arguments.is_empty() { "void".into() } else { arguments.join(", ") };
        found.push(format!("{}{name}({arguments});", in_c(result)));
    }
    found
}

#[test]
fn every_function_stands_there_as_it_is_and_no_other() {
    let (header, prototypes) = (header(), prototypes());
    assert!(prototypes.len() >= 15, "{prototypes:?}");
    for prototype in &prototypes {
        assert!(header.contains(prototype.as_str()), "nom.h lacks: {prototype}");
    }
    assert_eq!(header.matches(");").count(), prototypes.len(), "nom.h has functions that the library lacks");
}

#[test]
fn every_number_is_the_same() {
    let header = header();
    let mut count = 0;
    let events = text("src/event.rs");
    for line in events.lines().filter_map(|line| line.strip_prefix("pub const ")) {
        let (name, value) = line.trim_end_matches(';').split_once(": u32 = ").unwrap();
        assert!(header.contains(&format!("NOM_{name} = {value}")), "nom.h lacks NOM_{name} = {value}");
        count += 1;
    }
    let troubles = text("src/trouble.rs");
    for line in troubles.lines().map(str::trim).filter(|line| line.contains(" = -")) {
        let (name, value) = line.trim_end_matches(',').split_once(" = ").unwrap();
        let name = name.to_uppercase();
        assert!(header.contains(&format!("NOM_{name} = {value}")), "nom.h lacks NOM_{name} = {value}");
        count += 1;
    }
    assert_eq!(count, 14);
}

#[test]
fn structures_lie_as_the_compiler_of_c_lays_them() {
    let place = |structure: &str, field: &str, at: usize| {
        format!("_Static_assert(offsetof(struct {structure}, {field}) == {at}, \"{field}\");\n")
    };
    let program = [
        "#include <nom.h>\n".to_string(),
        place("nom_event", "what", offset_of!(Event, what)),
        place("nom_event", "detail", offset_of!(Event, detail)),
        place("nom_event", "connection", offset_of!(Event, connection)),
        place("nom_event", "tag", offset_of!(Event, tag)),
        place("nom_price", "atto_per_unit", offset_of!(Price, atto_per_unit)),
        place("nom_price", "valid_for_ns", offset_of!(Price, valid_for_ns)),
        place("nom_price", "generation", offset_of!(Price, generation)),
        format!("_Static_assert(sizeof(struct nom_event) == {}, \"\");\n", size_of::<Event>()),
        format!("_Static_assert(sizeof(struct nom_price) == {}, \"\");\n", size_of::<Price>()),
    ];
    compiles("layout", "c", &["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"], &program.concat());
    // Programs in C++ may have it too; a compiler for it need not be there.
    if Command::new("c++").arg("--version").output().is_ok() {
        compiles("plus", "c++", &["-Wall", "-Wextra", "-Werror"], "#include <nom.h>\nint x = NOM_AGAIN;\n");
    }
}

fn compiles(name: &str, language: &str, options: &[&str], program: &str) {
    let file = std::env::temp_dir().join(format!("nom-header-{name}-{}", std::process::id()));
    fs::write(&file, program).unwrap();
    let include = Path::new(&folder()).join("include");
    let mut command = Command::new("cc");
    command.args(["-fsyntax-only", "-x", language]).args(options).arg("-I").arg(include).arg(&file);
    let output = command.output().expect("a C compiler is needed");
    fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
