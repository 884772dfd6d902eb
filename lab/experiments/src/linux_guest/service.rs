//! A Linux guest that serves: Debian's cloud kernel, and one program of this system with the libraries that it needs.
//!
//! Which program that is, how it is started and what shows that it serves is data ([`Service`]). The first process
//! (`service_init.c`) loads the modules of the network card, gives the guest its address and its neighbour, and starts the
//! program; there is nothing else, no service manager and no file system but the initial one.

use super::archive::Archive;
use super::modules;
use super::{LinuxGuest, Program, compile, prepare_kernel};
use nom_machine::packages;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

/// A server of this system.
#[derive(Debug, Clone)]
pub struct Service {
    /// The program.
    pub program: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
    /// What it is told.
    pub arguments: Vec<String>,
    /// Files that it wants, with their contents.
    pub files: Vec<(&'static str, String)>,
    /// Folders that it wants.
    pub folders: &'static [&'static str],
}

impl Service {
    /// Debian's nginx with one worker, which is the process itself, as its handbook advises for small files. Content lies
    /// below `/content`.
    pub fn nginx(port: u16, content: Vec<(&'static str, String)>) -> Self {
        let text = format!(
            "daemon off; master_process off; worker_processes 1; user root; pid /tmp/nginx.pid; error_log stderr;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ default_type text/html; access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;\n\
             keepalive_timeout 65; keepalive_requests 1000000000; open_file_cache max=1000; open_file_cache_valid 60s;\n\
             client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c; uwsgi_temp_path /tmp/d;\n\
             scgi_temp_path /tmp/e; server {{ listen {port}; root /content; }} }}\n"
        );
        let configuration = ("/etc/nginx/nginx.conf", text);
        Self {
            program: "nginx",
            package: "nginx-core",
            arguments: ["-c", configuration.0, "-p", "/tmp"].map(String::from).to_vec(),
            files: content.into_iter().chain([configuration]).collect(),
            folders: &["content", "var/log/nginx"],
        }
    }
}

/// Where a guest finds itself in its network.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its address.
    pub address: Ipv4Addr,
    /// The mask of its network.
    pub mask: Ipv4Addr,
    /// Who is there too, for good: nobody asks for an Ethernet address while something is measured.
    pub neighbour: (Ipv4Addr, [u8; 6]),
}

const INIT: Program = Program { name: "service_init", source: include_str!("service_init.c"), flags: &[] };
/// What every program may look for.
const USERS: &str = "root:x:0:0:root:/:/none\nnobody:x:65534:65534:nobody:/:/none\n";
const GROUPS: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Fetches and builds such a guest, or finds its parts in the cache folder.
pub fn prepare(
    service: &Service,
    place: Place,
    cache: &Path,
    progress: &mut dyn FnMut(&str),
) -> Outcome<LinuxGuest> {
    let program = packages::ensure(service.program, service.package, progress)?;
    let (kernel, name) = prepare_kernel(cache, true, progress)?;
    let modules = modules::kept(cache)?;
    let mut archive = Archive::new(&compile(&INIT, cache)?);
    for folder in ["proc", "sys", "tmp", "run"].iter().chain(service.folders) {
        archive.folder(folder);
    }
    archive.file("etc/passwd", USERS.as_bytes());
    archive.file("etc/group", GROUPS.as_bytes());
    for (name, content) in &service.files {
        archive.file(name.trim_start_matches('/'), content.as_bytes());
    }
    let mut plan = String::new();
    for module in &modules {
        let file = format!("modules/{}", module.name);
        archive.file(&file, &module.bytes);
        let _ = writeln!(plan, "module /{file}");
    }
    for file in [program.display().to_string()].into_iter().chain(libraries(&program)?) {
        let bytes = fs::read(&file).context(|| format!("cannot read {file}"))?;
        archive.file(file.trim_start_matches('/'), &bytes);
    }
    let (neighbour, mac) = place.neighbour;
    let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let _ = writeln!(plan, "address {} {}", place.address, place.mask);
    let _ = writeln!(plan, "neighbour {neighbour} {}", mac.join(":"));
    let _ = writeln!(plan, "argument {}", program.display());
    for argument in &service.arguments {
        let _ = writeln!(plan, "argument {argument}");
    }
    archive.file("plan", plan.as_bytes());
    Ok(LinuxGuest { kernel, initial: archive.finish(), name: format!("{name}, {}", service.program) })
}

/// The libraries of a program and what loads them, by the names under which they are looked for.
fn libraries(program: &Path) -> Outcome<Vec<String>> {
    let output = Command::new("ldd")
        .arg(program)
        .stdin(Stdio::null())
        .output()
        .context(|| "cannot start ldd, which knows a program's libraries".into())?;
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(line) = text.lines().find(|line| line.contains("not found")) {
        return Err(Trouble::new(format!("{}: {}", program.display(), line.trim())));
    }
    Ok(listed(&text))
}

/// Reads `name => /path (address)` and `/path (address)`.
fn listed(text: &str) -> Vec<String> {
    let path = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = words.iter().find(|word| word.starts_with('/'))?;
        Some((*word).to_string())
    };
    text.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_listed_by_their_paths() {
        let text = "\tlinux-vdso.so.1 (0x7f4c)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x7f4cec02f000)\n";
        assert_eq!(listed(text), ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
        assert!(listed("\tstatically linked\n").is_empty());
    }
}
