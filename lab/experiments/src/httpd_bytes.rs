//! What bytes and cores cost decides how small answers are: the same clients, the same site, under several prices.
//!
//! The site is this project's own documents, as text; each is asked for as often as its place in Zipf's law says, by clients
//! that take gzip. Nothing lies compressed beside the files. The server decides by itself (`web.compress = auto`) or is told to
//! (`no`, `start`), which are the two fixed settings. Bytes are those of the sealed ledger, headers and acknowledgements
//! too; profit is the ledger's.
//!
//! - `httpd.bytes_per_request` at the prices of a large provider (0.09 $/GB, 0.04 $ for a core's hour), and
//!   `httpd.bytes_per_request_cheap` where traffic is free;
//! - `httpd.profit_*`, dollars for a million answers, with both fixed settings beside;
//! - what coalescing adds to that ([`httpd_coalesce`]);
//! - `httpd.pressed_*`: how many files it compressed, where a terabyte costs a dollar and cores are cheap or dear.

use crate::Settings;
use crate::figures::Figure;
use crate::httpd_coalesce;
use crate::web_process::{Told, WebProcess};
use nom_abi::board::{Prices, Rate, Resource};
use nom_machine::artefacts;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_money::{PerByte, PerCoreNs};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What an answer is worth.
const VALUE: &str = "2 $/Mop";
/// How often the most wanted file is asked for in one round; the next one half as often, and so on.
const MOST: usize = 60;
const ROUNDS: usize = 40;
const PATIENCE: Duration = Duration::from_secs(60);

/// Prices that somebody asks for, or could.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    bandwidth: &'static str,
    core: &'static str,
}

const DEAR: Case = Case { name: "dear", bandwidth: "0.09 $/GB", core: "0.04 $/core/h" };
const CHEAP: Case = Case { name: "cheap", bandwidth: "0 $/GB", core: "0.04 $/core/h" };
const TERABYTE: Case = Case { name: "terabyte", bandwidth: "0.001 $/GB", core: "0.04 $/core/h" };
const DEAR_CORE: Case = Case { name: "dear_core", bandwidth: "0.001 $/GB", core: "40 $/core/h" };

/// What one run came to.
#[derive(Debug, Clone, Copy)]
struct Seen {
    bytes_per_request: f64,
    /// Dollars for a million answers.
    profit: f64,
    /// Files that were compressed.
    pressed: f64,
}

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let site = documents()?;
    let runs = settings.runs.unwrap_or(1);
    let mut figures = Vec::new();
    let mut seen = |case: Case, compress: &str| -> Outcome<Vec<Seen>> {
        (0..runs).map(|_| run(&site, case, compress, progress)).collect()
    };
    let of = |all: &[Seen], field: fn(&Seen) -> f64| all.iter().map(field).collect::<Vec<_>>();
    let bytes = |seen: &Seen| seen.bytes_per_request;
    let profit = |seen: &Seen| seen.profit;
    for case in [DEAR, CHEAP] {
        let auto = seen(case, "auto")?;
        let plain = seen(case, "no")?;
        let start = seen(case, "start")?;
        let name = case.name;
        let own = if name == DEAR.name { String::new() } else { format!("_{name}") };
        figures.push(Figure::of(&format!("httpd.bytes_per_request{own}"), "B", None, &of(&auto, bytes)));
        figures.push(Figure::of(&format!("httpd.profit_{name}"), "$/Mop", None, &of(&auto, profit)));
        for (setting, all) in [("plain", &plain), ("start", &start)] {
            let figure = |what: &str, unit, values: &[f64]| {
                let name = format!("httpd.{what}_{name}_{setting}");
                Figure::of(&name, unit, None, values).map(|figure| figure.against("a fixed setting"))
            };
            figures.push(figure("bytes_per_request", "B", &of(all, bytes)));
            figures.push(figure("profit", "$/Mop", &of(all, profit)));
        }
    }
    for case in [TERABYTE, DEAR_CORE] {
        let auto = seen(case, "auto")?;
        let pressed = of(&auto, |seen| seen.pressed);
        figures.push(Figure::of(&format!("httpd.pressed_{}", case.name), "", None, &pressed));
    }
    let mut figures: Vec<Figure> = figures.into_iter().flatten().collect();
    figures.extend(httpd_coalesce::measure(progress)?);
    Ok(figures)
}

/// The files, the most wanted first.
fn documents() -> Outcome<Vec<(String, Vec<u8>)>> {
    let folder = artefacts::root()?.join("docs");
    let what = || format!("cannot read {}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).context(what)? {
        let path = entry.context(what)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_string();
        if name.ends_with(".md") {
            files.push((name, fs::read(&path).context(what)?));
        }
    }
    files.sort();
    if files.is_empty() {
        Err(Trouble::new(format!("{}: no documents", folder.display())))
    } else {
        Ok(files)
    }
}

fn prices(case: Case) -> Outcome<Prices> {
    let mut prices = Prices::NONE;
    let rate = |atto_per_unit| Some(Rate { atto_per_unit, valid_until_ns: 0 });
    let wrong = |what: &str| Trouble::new(format!("{}: {what}", case.name));
    let bandwidth: PerByte = case.bandwidth.parse().map_err(|_| wrong(case.bandwidth))?;
    let core: PerCoreNs = case.core.parse().map_err(|_| wrong(case.core))?;
    prices.rates[Resource::Bandwidth as usize] = rate(bandwidth.0);
    prices.rates[Resource::Core as usize] = rate(core.0);
    Ok(prices)
}

fn run(
    site: &[(String, Vec<u8>)],
    case: Case,
    compress: &str,
    progress: &mut dyn FnMut(&str),
) -> Outcome<Seen> {
    let lines = format!(
        "tuner = off\nutility = simple\nvalue = {VALUE}\nlatency.limit = 60 s\nweb.compress = {compress}\n"
    );
    let server = WebProcess::start(site, &lines, &prices(case)?, progress)?;
    let management = server.management()?;
    let mut client = Client::new(&server)?;
    for _ in 0..ROUNDS {
        for (place, (name, _)) in site.iter().enumerate() {
            for _ in 0..(MOST / (place + 1)).max(1) {
                client.get(name)?;
            }
        }
    }
    drop(client);
    let told = server.drain(management, Told::default())?;
    let sum = |of: fn(&nom_ledger::Window) -> f64| told.windows.iter().map(of).sum::<f64>();
    let accepted = sum(|window| window.accepted as f64);
    let pressed = told.lines.iter().filter(|line| line.contains("from now on")).count();
    let seen = Seen {
        bytes_per_request: sum(|window| window.wire_bytes as f64) / accepted,
        profit: sum(|window| window.profit().0 as f64) / 1e12 / accepted * 1e6,
        pressed: pressed as f64,
    };
    progress(&format!(
        "{} at {}, web.compress = {compress}: {:.0} bytes a request, {:.3} $ for a million, {pressed} times compressed",
        case.bandwidth, case.core, seen.bytes_per_request, seen.profit
    ));
    if let Some(line) = told.lines.iter().find(|line| line.contains("larger than need be")) {
        progress(&format!("  it said: {line}"));
    }
    Ok(seen)
}

/// A client that takes gzip, over one connection.
struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn new(server: &WebProcess) -> Outcome<Self> {
        let stream = TcpStream::connect(server.address).context(|| "the server".into())?;
        stream.set_read_timeout(Some(PATIENCE)).context(|| "the server".into())?;
        stream.set_nodelay(true).context(|| "the server".into())?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    fn get(&mut self, name: &str) -> Outcome<()> {
        let what = || format!("asking for {name}");
        let request = format!("GET /{name} HTTP/1.1\r\nHost: nom\r\nAccept-Encoding: gzip\r\n\r\n");
        self.reader.get_mut().write_all(request.as_bytes()).context(what)?;
        let (mut len, mut line) = (None, String::new());
        loop {
            line.clear();
            if self.reader.read_line(&mut line).context(what)? == 0 {
                return Err(Trouble::new(format!("{}: the server ended the connection", what())));
            }
            if line.starts_with("HTTP/") && !line.starts_with("HTTP/1.1 200 ") {
                return Err(Trouble::new(format!("{}: {}", what(), line.trim())));
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                len = value.trim().parse().ok();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut content = vec![0; len.ok_or_else(|| Trouble::new(format!("{}: no length", what())))?];
        self.reader.read_exact(&mut content).context(what)
    }
}
