//! The web server as a Linux process beside Debian's nginx with one worker ([`crate::contest`]), asked by wrk. The content is
//! as long as nginx's own first page, 612 bytes; further rounds ask for 175 bytes, with `_175` in the figures' names. Our own
//! load asks the same as wrk with many connections (`httpd.load_wrk_ratio`), to see that the two agree.

use crate::Settings;
use crate::contest::{Contest, Heard, MANY, Server};
use crate::figures::Figure;
use crate::wrk::Wrk;
use nom_cable::SERVER_KERNEL;
use nom_load::{Mix, Plan, Stop, Web};
use nom_machine::machine::dying_with_us;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome};
use nom_machine::{artefacts, packages};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The contest.
pub const CONTEST: Contest = Contest { ours: "httpd", peer: "nginx", port: 8080 };
const GOALS: [Option<&str>; 6] = [Some(">=1.3"), Some(">=1.5"), Some(">=2.5"), None, None, None];
/// Content: its name, how long it is, and how figures about it are called.
const FILES: [(&str, usize, &str); 2] =
    [("612.html", 612, "httpd.linux"), ("175.html", 175, "httpd.linux_175")];
/// How long our own load lasts.
const LOAD: Duration = Duration::from_secs(3);

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let wrk = Wrk::new(progress)?;
    let program = packages::ensure("nginx", "nginx-core", progress)?;
    let httpd = artefacts::linux(&["nom-httpd-linux"], progress)?.remove(0);
    let start = |server, folder: &Scratch| {
        let root = content(folder, &FILES.map(|(name, len, _)| (name, len)))?;
        match server {
            Server::Peer => nginx(&program, folder, &root),
            Server::Ours { platform, wait } => ours(&httpd, folder, &root, (platform, wait), ""),
        }
    };
    let agreement = Arc::new(Mutex::new((0.0, Vec::new())));
    let agreed = Arc::clone(&agreement);
    let ask = move |target, place: usize, connections| {
        let path = format!("/{}", FILES[place].0);
        let seen = wrk.run(target, &path, connections)?;
        let mut agreed = agreed.lock().unwrap_or_else(PoisonError::into_inner);
        match (place, connections) {
            (0, MANY) => agreed.0 = seen.rate,
            // Behind the question of which the processor time counts.
            (0, _) => {
                let ratio = load(target, &path)? / agreed.0;
                agreed.1.push(ratio);
            }
            _ => {}
        }
        let crate::wrk::Seen { requests: operations, rate, mean_us, deviation_us, .. } = seen;
        Ok(Heard { operations, rate, mean_us, deviation_us })
    };
    let questions = [(0, ", 612 bytes"), (1, ", 175 bytes")];
    let rounds = CONTEST.hold(settings, &questions, start, ask, progress)?;
    let mut figures: Vec<Figure> = FILES
        .iter()
        .zip(&rounds)
        .flat_map(|((_, _, prefix), rounds)| CONTEST.figures(prefix, "nginx, one worker", GOALS, rounds))
        .collect();
    let ratios = agreement.lock().unwrap_or_else(PoisonError::into_inner);
    figures
        .extend(Figure::of("httpd.load_wrk_ratio", "x", None, &ratios.1).map(|figure| figure.against("wrk")));
    Ok(figures)
}

/// Answers a second that our own load gets in a closed loop.
fn load(target: SocketAddr, path: &str) -> Outcome<f64> {
    let mix = Mix { web: Some(Web::new(&[path], "")), ..Mix::default() };
    let plan = Plan { connections: MANY as usize, duration: LOAD, mix, ..Plan::new(target) };
    let report = nom_load::run(&plan, &Stop::default(), |_| {}).context(|| "our own load".into())?;
    Ok(report.per_s())
}

/// Files of so many bytes in a folder.
pub fn content(folder: &Scratch, files: &[(&str, usize)]) -> Outcome<PathBuf> {
    let root = folder.file("content");
    fs::create_dir(&root).context(|| "a folder for content".into())?;
    for (name, len) in files {
        fs::write(root.join(name), "x".repeat(*len)).context(|| "content".into())?;
    }
    Ok(root)
}

/// Ours, with these lines besides.
pub fn ours(
    program: &Path,
    folder: &Scratch,
    root: &Path,
    how: (&str, &str),
    lines: &str,
) -> Outcome<Command> {
    let lines = format!("web.content = {}\n{lines}", root.display());
    CONTEST.process(program, folder, how, &lines)
}

/// One worker, which is the process itself, with what its handbook advises for small files.
fn nginx(program: &Path, folder: &Scratch, root: &Path) -> Outcome<Command> {
    let file = folder.file("nginx.conf");
    let (own, port) = (folder.path().display(), CONTEST.port);
    let text = format!(
        "daemon off; master_process off; worker_processes 1; user root; pid {own}/nginx.pid; error_log {own}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ default_type text/html; access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;\n\
         keepalive_timeout 65; keepalive_requests 1000000000; open_file_cache max=1000; open_file_cache_valid 60s;\n\
         client_body_temp_path {own}/a; proxy_temp_path {own}/b; fastcgi_temp_path {own}/c; uwsgi_temp_path {own}/d;\n\
         scgi_temp_path {own}/e; server {{ listen {SERVER_KERNEL}:{port}; root {}; }} }}\n",
        root.display()
    );
    fs::write(&file, text).context(|| "a configuration".into())?;
    let mut command = dying_with_us(program);
    command.arg("-c").arg(file).arg("-p").arg(folder.path());
    Ok(command)
}
