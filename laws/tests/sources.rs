//! Laws 2 and 3 and the habits: what the Rust files of each room may contain.

use nom_laws::manifest::{Section, members};
use nom_laws::rust_text::{code, has_word, shipped};
use nom_laws::{files, root, shown, text};
use std::path::Path;

/// Rooms of pure code: no platform, no clock, no thread, no entropy, no unsafe code.
const PURE: [&str; 12] = [
    "abi",
    "kernel/core",
    "hardware/",
    "economy/",
    "network/stack",
    "network/port",
    "network/switch",
    "apps/",
    "feeds",
    "service",
    "user/threads",
    "drivers/dma",
];
/// Rooms that may contain unsafe code.
const UNSAFE: [&str; 6] =
    ["kernel/image", "user/", "drivers/", "platforms/linux/", "lab/packetdrill", "lab/guided"];
/// Rooms in which `no_std` is required although they touch a machine.
const BARE: [&str; 10] = [
    "kernel/image",
    "user/",
    "platforms/guest",
    "images/kv-guest",
    "images/httpd-guest",
    "images/echo-guest",
    "images/netpipe-guest",
    "images/trial-guest",
    "images/drivers-guest",
    "images/switch-guest",
];
/// Lines that a file may have.
const FILE_LINES_MAX: usize = 800;
/// Lines above an unsafe block among which its reason is looked for.
const REASON_LINES: usize = 12;

fn within(folder: &str, rooms: &[&str]) -> bool {
    rooms.iter().any(|room| folder == *room || (room.ends_with('/') && folder.starts_with(room)))
}

/// `drivers/dma` is pure in what it does but its fakes and regions are handles to memory.
fn pure(folder: &str) -> bool {
    within(folder, &PURE) && folder != "drivers/dma"
}

#[test]
fn pure_rooms_are_pure() {
    let all = members();
    for member in all.iter().filter(|member| pure(&member.folder)) {
        let entry = text(&member.entry());
        for line in ["#![no_std]", "#![forbid(unsafe_code)]"] {
            assert!(entry.contains(line), "{}: {line} is missing", shown(&member.entry()));
        }
        for file in files(&root().join(&member.folder).join("src"), &[".rs"]) {
            let all_code = code(&text(&file));
            for (number, line) in shipped(&all_code).lines().enumerate() {
                let ships_std = (has_word(line, "std::") || line.contains("extern crate std"))
                    && !test_only(&all_code, number);
                assert!(!ships_std, "{}:{}: std in a pure room", shown(&file), number + 1);
            }
        }
        for dependency in member.dependencies.iter().filter(|dependency| dependency.section == Section::Ships)
        {
            let ours = all.iter().find(|other| other.package == dependency.name);
            assert!(
                ours.is_none_or(|other| pure(&other.folder)),
                "{} is pure and depends on {}, which is not",
                member.folder,
                dependency.name
            );
        }
    }
}

/// Whether `#[cfg(test)]` stands right above a line, or the file belongs to tests as a whole.
fn test_only(all_code: &str, number: usize) -> bool {
    number > 0 && all_code.lines().nth(number - 1).is_some_and(|above| above.contains("cfg(test)"))
        || all_code.contains("#![cfg(test)]")
}

#[test]
fn bare_rooms_have_no_system_below_them() {
    for member in members().iter().filter(|member| within(&member.folder, &BARE)) {
        assert!(text(&member.entry()).contains("#![no_std]"), "{} is not no_std", member.folder);
    }
}

#[test]
fn unsafe_code_is_where_it_may_be_and_says_why_it_holds() {
    for member in members() {
        let allowed = within(&member.folder, &UNSAFE);
        if !allowed {
            let entry = text(&member.entry());
            assert!(
                entry.contains("#![forbid(unsafe_code)]"),
                "{}: #![forbid(unsafe_code)] is missing",
                shown(&member.entry())
            );
        }
        for file in files(&root().join(&member.folder), &[".rs"]) {
            let source = text(&file);
            let lines: Vec<&str> = source.lines().collect();
            for (number, line) in code(&source).lines().enumerate() {
                if !has_word(line, "unsafe") || line.contains("#!") {
                    continue;
                }
                let at = format!("{}:{}", shown(&file), number + 1);
                assert!(allowed, "{at}: unsafe code in a room that may not have it");
                let opens = line.contains("unsafe {") || line.contains("unsafe impl");
                let above = &lines[number.saturating_sub(REASON_LINES)..=number];
                let reason = above.iter().any(|line| line.contains("SAFETY:"));
                assert!(!opens || reason, "{at}: say under // SAFETY: why it holds");
            }
        }
    }
}

#[test]
fn no_leftovers_and_no_traces_of_a_machine() {
    // Split, so that this file does not break its own law.
    let banned = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("HA", "CK"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/tmp/", "target"),
        concat!("cfg(fea", "ture"),
    ];
    let endings = [".rs", ".md", ".toml", ".sh", ".conf", ".prices", ".ld", ".S"];
    for file in files(&root(), &endings) {
        for (number, line) in text(&file).lines().enumerate() {
            for word in banned {
                assert!(!line.contains(word), "{}:{}: {word:?} may not stay", shown(&file), number + 1);
            }
        }
    }
}

#[test]
fn files_stay_readable() {
    for file in files(&root(), &[".rs"]) {
        let lines = text(&file).lines().count();
        assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines: split it by what happens", shown(&file));
    }
}

#[test]
fn every_room_says_what_it_is_for() {
    for member in members() {
        let entry = text(&member.entry());
        let says =
            entry.lines().find(|line| !line.starts_with("#!")).is_some_and(|line| line.starts_with("//! "));
        assert!(says, "{} does not open with what it is for", shown(&member.entry()));
    }
    assert!(Path::new(&root().join("LICENSE")).is_file());
}
