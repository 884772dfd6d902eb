//! The web server as a person starts it: asked by clients that nobody here wrote, compared with nginx, changed under way,
//! drained.

mod peer;
mod started;

use nom_abi::board::{Prices, Rate, Resource};
use nom_load::{Mix, Pace, Plan, Stop, Web};
use nom_money::{PerByte, PerCoreNs};
use started::{PATIENCE, Process, ask, connect, find, wait_until};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Output, Stdio};

/// Runs a client; `None` where it is absent.
fn client(name: &str, arguments: &[&str]) -> Option<Output> {
    let Some(program) = find(name) else {
        println!("SKIPPED: {name} is absent");
        return None;
    };
    let output = Command::new("timeout")
        .arg("120")
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?} ended with {:?}: {words}", output.status.code());
    Some(output)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The number behind a name in a flat JSON line.
fn number(line: &str, name: &str) -> u64 {
    let (_, rest) = line.split_once(&format!("\"{name}\":")).unwrap();
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn real_clients_get_what_lies_there_and_the_ledger_counts_it() {
    let Some(mut process) = Process::start("clients", "") else { return };
    let management = process.management();
    let url = |path: &str| process.url(path);
    let content = |name: &str| fs::read(process.place.content(name)).unwrap();
    let mut answers = 0;
    if let Some(output) =
        client("curl", &["-sS", &url("/"), &url("/large.txt"), &url("/a%20b.txt"), &url("/folder/")])
    {
        answers += 4;
        let all = ["index.html", "large.txt", "a b.txt", "folder/index.html"].map(content).concat();
        assert!(output.stdout == all, "curl got other bytes");
        let code = ["-o", "/dev/null", "-sS", "-w", "%{http_code} %{num_redirects} %{size_download}"];
        let output = client("curl", &[&code[..], &["-L", &url("/folder")]].concat()).unwrap();
        answers += 2;
        assert_eq!(text(&output), "200 1 11");
        let output = client("curl", &["-sS", "-r", "100000-200000", &url("/large.txt")]).unwrap();
        assert!(output.stdout == content("large.txt")[100_000..=200_000]);
        let time = "Tue, 14 Nov 2023 22:13:20 GMT";
        let output = client("curl", &[&code[..], &["-z", time, &url("/")]].concat()).unwrap();
        assert_eq!(text(&output), "304 0 0");
        let output = client("curl", &["-sSI", &url("/large.txt")]).unwrap();
        assert!(text(&output).contains("Content-Length: 300000\r\n"));
        answers += 3;
    }
    if let Some(output) = client("ab", &["-q", "-k", "-n", "2000", "-c", "8", &url("/")]) {
        answers += 2_000;
        let said = text(&output);
        let line =
            |begin: &str| said.lines().find(|line| line.starts_with(begin)).unwrap_or_default().to_string();
        assert!(line("Failed requests:").ends_with(" 0") && !said.contains("Non-2xx"), "{said}");
        assert!(line("Keep-Alive requests:").ends_with(" 2000"), "{said}");
    }
    if let Some(output) = client("h2load", &["--h1", "-n", "2000", "-c", "8", "-m", "4", &url("/175.html")]) {
        answers += 2_000;
        let said = text(&output);
        assert!(said.contains("2000 succeeded, 0 failed"), "{said}");
    }
    // wrk ends in the middle of requests: how many were answered is known to it only roughly.
    let mut roughly = 0;
    if let Some(output) = client("wrk", &["-t", "1", "-c", "8", "-d", "1s", &url("/large.txt")]) {
        let said = text(&output);
        assert!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "{said}");
        let line = said.lines().find(|line| line.contains(" requests in ")).expect("wrk says how many");
        roughly = line.split_whitespace().next().unwrap().parse::<u64>().unwrap();
        assert!(roughly > 0, "{said}");
    }
    process.terminate();
    let lines: Vec<String> = BufReader::new(&management).lines().map(Result::unwrap).collect();
    assert!(process.child.wait().unwrap().success());
    let accepted =
        number(lines.iter().find(|line| line.starts_with("{\"bye\":")).expect("a bye"), "accepted");
    assert!(
        (answers + roughly..=answers + roughly + 64).contains(&accepted),
        "{accepted}, clients: {answers} + {roughly}"
    );
    let settled: u64 = lines
        .iter()
        .filter(|line| line.starts_with("{\"window\":"))
        .map(|line| number(line, "accepted"))
        .sum();
    assert_eq!(settled, accepted);
    let log = fs::read_to_string(process.place.0.join("access.log")).unwrap();
    assert!(log.lines().all(|line| line.starts_with("10.77.0.1 - - [")), "clients come through the porch");
    assert!(log.lines().count() as u64 >= accepted, "{} lines for {accepted} answers", log.lines().count());
}

#[test]
fn changes_in_the_folder_are_picked_up() {
    let Some(process) = Process::start("changes", "") else { return };
    let get = |path: &str, fields: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}Connection: close\r\n\r\n");
        String::from_utf8_lossy(&ask(process.address, request.as_bytes())).into_owned()
    };
    assert!(get("/new.txt", "").starts_with("HTTP/1.1 404 "));
    fs::write(process.place.content("new.txt"), "first").unwrap();
    wait_until("a new file is served", || get("/new.txt", "").ends_with("\r\n\r\nfirst"));
    fs::write(process.place.content("new.txt"), "second one").unwrap();
    wait_until("a changed file is served", || get("/new.txt", "").ends_with("\r\n\r\nsecond one"));
    fs::write(process.place.content("new.txt.gz"), "as if compressed").unwrap();
    let gzip = "Accept-Encoding: gzip\r\n";
    wait_until("a compressed form is found", || get("/new.txt", gzip).ends_with("\r\n\r\nas if compressed"));
    assert!(get("/new.txt", "").contains("Vary: Accept-Encoding\r\n"));
    fs::remove_file(process.place.content("new.txt")).unwrap();
    wait_until("a removed file is gone", || get("/new.txt", "").starts_with("HTTP/1.1 404 "));
    assert!(get("/", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn dear_bytes_leave_smaller_and_free_ones_as_they_are() {
    let Some(mut process) = Process::start("prices", "") else { return };
    let management = process.management();
    let publish = |process: &mut Process, bandwidth: &str| {
        let mut prices = Prices::NONE;
        let rate = |atto_per_unit| Some(Rate { atto_per_unit, valid_until_ns: 0 });
        let bandwidth: PerByte = bandwidth.parse().unwrap();
        prices.rates[Resource::Bandwidth as usize] = rate(bandwidth.0);
        prices.rates[Resource::Core as usize] = rate("0.04 $/core/h".parse::<PerCoreNs>().unwrap().0);
        process.board.publish(&prices).unwrap();
    };
    let address = process.address;
    let get = |fields: &str| {
        ask(
            address,
            format!("GET /large.txt HTTP/1.1\r\nHost: x\r\n{fields}Connection: close\r\n\r\n").as_bytes(),
        )
    };
    let gzip = "Accept-Encoding: gzip\r\n";
    publish(&mut process, "0 $/GB");
    for _ in 0..20 {
        assert!(get(gzip).len() > 300_000, "free bytes are sent as they are");
    }
    publish(&mut process, "0.09 $/GB");
    wait_until("dear bytes become fewer", || get(gzip).len() < 100_000);
    assert!(get("").len() > 300_000, "who takes nothing else gets it as it is");
    if let Some(output) = client("curl", &["-sS", "--compressed", &process.url("/large.txt")]) {
        let content = fs::read(process.place.content("large.txt")).unwrap();
        assert!(output.stdout == content, "curl unpacks other bytes");
    }
    process.terminate();
    let lines: Vec<String> = BufReader::new(&management).lines().map(Result::unwrap).collect();
    let said = |what: &str| lines.iter().any(|line| line.contains(what));
    assert!(
        said("times larger than need be, for") && said("/large.txt: ") && said("from now on"),
        "{lines:?}"
    );
}

#[test]
fn the_load_counts_what_the_ledger_counts_in_both_loops() {
    let Some(process) = Process::start("load", "") else { return };
    let management = process.management();
    let web = Web::new(&["/", "/175.html", "/large.txt", "/folder/"], "Accept-Encoding: gzip\r\n");
    let mut accepted = 0;
    for (pace, operations_max) in [(Pace::Closed, 3_000), (Pace::Poisson { per_s: 1_000.0 }, 1_000)] {
        let mix = Mix { web: Some(web.clone()), ..Mix::default() };
        let plan = Plan {
            mix,
            pace,
            operations_max,
            // Long enough on any machine: the number of operations ends it.
            duration: PATIENCE,
            grace: PATIENCE,
            ..Plan::new(process.address)
        };
        let report = nom_load::run(&plan, &Stop::default(), |_| {}).unwrap();
        let tally = &report.tally;
        let troubled = tally.wrong + tally.refused + tally.lost + tally.closed + tally.shed;
        assert_eq!((tally.answered, troubled), (operations_max, 0), "{pace:?}: {tally:?}");
        accepted += report.accepted();
    }
    process.terminate();
    let lines: Vec<String> = BufReader::new(&management).lines().map(Result::unwrap).collect();
    let bye = lines.iter().find(|line| line.starts_with("{\"bye\":")).expect("a bye");
    assert_eq!(number(bye, "accepted"), accepted);
}

#[test]
fn a_mirror_sends_back_in_chunks_what_curl_posts_in_chunks() {
    let Some(process) = Process::start("mirror", "web.mirror = /mirror\n") else { return };
    let (url, file) = (process.url("/mirror"), format!("@{}", process.place.content("large.txt").display()));
    let content = fs::read(process.place.content("large.txt")).unwrap();
    for framing in [&["-H", "Transfer-Encoding: chunked"][..], &["-H", "Expect: 100-continue"], &[]] {
        let arguments =
            [&["-sS", "-D", "-", "-H", "Content-Type: x/y", "--data-binary", &file, &url][..], framing];
        let Some(output) = client("curl", &arguments.concat()) else { return };
        let begin = output.stdout.len().checked_sub(content.len()).expect("all of it comes back");
        let head = String::from_utf8_lossy(&output.stdout[..begin]).into_owned();
        assert!(output.stdout[begin..] == content, "other bytes came back: {head}");
        let chunked = framing.iter().any(|word| word.contains("chunked"));
        assert_eq!(head.contains("\r\nTransfer-Encoding: chunked\r\n"), chunked, "{head}");
        assert_eq!(head.contains("\r\nContent-Length: 300000\r\n"), !chunked, "{head}");
    }
}

#[test]
fn the_access_log_is_told_where_no_file_takes_it() {
    let Some(mut process) = Process::start_with("told", "web.log = yes\n", &[]) else { return };
    let management = process.management();
    let answer = ask(process.address, b"GET /a%20b.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.ends_with(b"a blank"));
    process.terminate();
    let lines: Vec<String> = BufReader::new(&management).lines().map(Result::unwrap).collect();
    assert!(process.child.wait().unwrap().success());
    let told = lines.iter().filter(|line| line.contains("GET /a%20b.txt HTTP/1.1")).count();
    assert_eq!(told, 1, "{lines:?}");
}

#[test]
fn a_drain_lets_an_answer_that_was_begun_be_read_to_its_end() {
    let Some(mut process) = Process::start("drain", "") else { return };
    let management = process.management();
    let mut stream = connect(process.address);
    // More than sockets and pipes between here and there hold.
    let request = "GET /large.txt HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    stream.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 1000];
    stream.read_exact(&mut first).unwrap();
    process.terminate();
    let mut lines = BufReader::new(&management).lines();
    assert!(lines.any(|line| line.unwrap().contains("draining: no new connections")));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    drop(stream);
    let whole = [&first[..], &rest].concat();
    // What follows the answer that says so is not answered.
    let answers = whole.windows(9).filter(|place| place == b"HTTP/1.1 ").count();
    assert!(answers >= 1);
    let last = whole.windows(9).rposition(|place| place == b"HTTP/1.1 ").unwrap();
    let head = whole[last..].windows(4).position(|place| place == b"\r\n\r\n").unwrap();
    assert_eq!(whole.len() - last - head - 4, 300_000, "the last of {answers} answers is whole");
    assert!(process.child.wait().unwrap().success());
}

#[test]
fn what_it_cannot_serve_is_said_in_one_line() {
    let place = started::Place::new("refused", "");
    let run = |text: &str| {
        fs::write(place.0.join("httpd.conf"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nom-httpd-linux"));
        command
            .arg("--config")
            .arg(place.0.join("httpd.conf"))
            .arg("--run")
            .arg(&place.0)
            .args(["--port", "0"]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    assert!(run("tuner = off\n").contains("web.content = /srv/www"));
    assert!(run("web.content = /nowhere/at/all\n").contains("/nowhere/at/all: No such file"));
    assert!(run("web.content = x\nweb.headers = many\n").contains("lean or full is expected"));
}
