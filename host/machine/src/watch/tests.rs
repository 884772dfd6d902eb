use super::*;
use nom_abi::application::{Phase, Status};
use nom_abi::statistics::{APPLICATIONS_AT, CALLS_AT, CHANNELS_AT, CORES_AT, Counter, WORDS, ends_word};
use nom_service::management::{Connections, Row, Rows, Words};

fn names() -> Names {
    Names { applications: vec!["kv".into(), "logger".into()], channels: vec!["lines".into()], cores: 2 }
}

fn machine(change: impl FnOnce(&mut [u64])) -> Machine {
    let mut words = [0; WORDS];
    change(&mut words);
    Machine { at_ns: 1000, words: Words::new(words) }
}

fn hub(names: Option<Names>) -> Hub {
    let serial = Serial::read(std::io::Cursor::new(b"one\ntwo\n".to_vec()));
    assert!(serial.wait_end(Duration::from_secs(10)));
    let about = About {
        port: 7,
        home: "guest",
        names,
        serials: vec![("serial", serial)],
        processes: vec![("self", std::process::id()), ("nobody", u32::MAX)],
    };
    Hub::open(about).unwrap()
}

fn ask(hub: &Hub, request: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(hub.folder.file(SOCKET)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // Who is turned away at once cannot even ask.
    let _ = stream.write_all(request.as_bytes());
    BufReader::new(stream)
}

fn line(reader: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or(Value::Null)
}

#[test]
fn a_page_is_told_in_words() {
    let told = page::describe(
        &machine(|words| {
            words[Counter::Frames as usize] = 100;
            words[CALLS_AT + 1] = 5;
            words[CORES_AT..CORES_AT + 3].copy_from_slice(&[2, 10, 900]);
            words[APPLICATIONS_AT] = Status { phase: Phase::Ended, code: 102, starts: 3 }.word();
            words[APPLICATIONS_AT + 3] = 25;
            words[CHANNELS_AT] = ends_word([Some(1), None], 2);
        }),
        &names(),
    );
    assert_eq!(told["memory_kib"], 400);
    assert_eq!(told["calls"], json!({ "Log": 5 }));
    let core = json!({ "core": 0, "owner": "logger", "halted": true, "halted_ns": 110 });
    assert_eq!(told["cores"][0], core);
    assert_eq!(told["cores"][1]["owner"], Value::Null);
    assert_eq!(told["applications"][0]["phase"], "ended");
    assert_eq!(told["applications"][0]["code"], 102);
    assert_eq!(told["applications"][1]["memory_kib"], 100);
    assert_eq!(told["channels"], json!([{ "name": "lines", "ends": ["logger", null], "memory_kib": 8 }]));
}

#[test]
fn a_page_of_lies_is_told_too() {
    let told = page::describe(&machine(|words| words.fill(u64::MAX)), &names());
    assert_eq!(told["memory_kib"], u64::MAX);
    assert_eq!(told["cores"][0]["owner"], format!("application {}", u64::MAX - 1));
    assert_eq!(told["channels"][0]["ends"][0], "application 254");
}

#[test]
fn a_guest_is_asked_when_somebody_watches_and_not_otherwise() {
    let hub = hub(Some(names()));
    assert!(hub.asks().is_empty(), "nobody watches");
    let mut watcher = ask(&hub, "top\n");
    let asked = Instant::now();
    while hub.asks() != [Command::Machine] {
        assert!(asked.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(hub.asks().is_empty(), "asked twice");
    hub.heard(&Message::Machine(machine(|words| words[Counter::Calls as usize] = 77)));
    let top = line(&mut watcher);
    assert_eq!(top["machine"]["counters"]["calls"], 77);
    assert_eq!(top["about"]["port"], 7);
    let processes = top["processes"].as_array().unwrap();
    assert!(processes.len() == 1 && processes[0]["resident_kib"].as_u64() > Some(0), "{processes:?}");
}

#[test]
fn a_service_that_cannot_tell_is_not_asked_again() {
    let hub = hub(Some(names()));
    assert!(!hub.refused("wrong token"), "that was not our question");
    let mut watcher = ask(&hub, "top\n");
    let asked = Instant::now();
    while hub.asks() != [Command::Machine] {
        assert!(asked.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(hub.refused("unknown command"));
    assert!(line(&mut watcher)["machine"]["error"].as_str().unwrap().contains("unknown command"));
    assert!(!hub.refused("wrong token"));
}

/// Waits until the run is to pass an order on.
fn passed_on(hub: &Hub) -> Command {
    let asked = Instant::now();
    loop {
        if let Some(order) = hub.asks().pop() {
            return order;
        }
        assert!(asked.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_order_is_passed_on_and_answered() {
    let hub = hub(None);
    hub.heard(&Message::Answered { good: 1, text: "nobody asked".into() });
    for (order, command, good) in [
        ("order freeze\n", Command::Freeze, 1),
        ("order set batch = 2 ms\n", Command::Set("batch".into(), "2 ms".into()), 0),
    ] {
        let mut watcher = ask(&hub, order);
        assert_eq!(passed_on(&hub), command);
        hub.heard(&Message::Answered { good, text: "said".into() });
        assert_eq!(line(&mut watcher), json!({ "good": good == 1, "text": "said" }));
    }
    // A service that does not know such orders refuses them, which is an answer.
    let mut watcher = ask(&hub, "order thaw\n");
    assert_eq!(passed_on(&hub), Command::Thaw);
    assert!(hub.refused("unknown command"));
    assert_eq!(line(&mut watcher), json!({ "good": false, "text": "unknown command" }));
    assert!(line(&mut ask(&hub, "order drain\n"))["error"].as_str().unwrap().contains("no order"));
}

#[test]
fn the_log_is_told_and_followed() {
    let hub = hub(None);
    let say = |text: &str| {
        hub.heard(&Message::Log { at_ns: 0, level: Level::Warning, text: text.into() });
    };
    say("three\x1b[2J");
    let mut log = ask(&hub, "log\n");
    let texts: Vec<Value> = (0..3).map(|_| line(&mut log)["text"].clone()).collect();
    assert_eq!(texts, ["one", "two", "three [2J"]);
    assert_eq!(line(&mut log), Value::Null, "it ends there");
    let mut follow = ask(&hub, "follow\n");
    let told = (0..3).map(|_| line(&mut follow)).last().unwrap();
    assert_eq!((&told["from"], &told["level"]), (&json!("service"), &json!("warning")));
    for number in 0..LOG_LINES_MAX + 10 {
        say(&number.to_string());
    }
    // Whoever comes late learns how much is missing.
    let mut late = ask(&hub, "log\n");
    assert_eq!(line(&mut late), json!({ "missed": 11 }));
    drop(hub);
    let mut count = 0;
    while line(&mut follow) != Value::Null {
        count += 1;
    }
    assert!(count > 0, "what was said before the end is told");
}

#[test]
fn nonsense_and_crowds_are_turned_away() {
    let hub = hub(None);
    let mut nonsense = ask(&hub, "tip\nabout\n");
    assert!(line(&mut nonsense)["error"].is_string());
    assert_eq!(line(&mut nonsense)["home"], "guest");
    let mut long = ask(&hub, &"x".repeat(400));
    assert_eq!(line(&mut long), Value::Null);
    let mut crowd: Vec<_> = (0..WATCHERS_MAX + 1).map(|_| ask(&hub, "follow\n")).collect();
    let turned_away = |one: &mut BufReader<UnixStream>| {
        let first = line(one);
        first["error"].as_str().is_some_and(|error| error.contains("too many"))
    };
    // All stay until the last was looked at: whoever left would make room for it.
    assert!(crowd.iter_mut().any(turned_away));
}

#[test]
fn more_connections_than_fit_in_a_line_are_told_in_several() {
    let hub = hub(None);
    let mut watcher = ask(&hub, "connections\n");
    let row = Row {
        peer: "fd00:1111:2222:3333:4444:5555:6666:7777".parse().unwrap(),
        peer_port: u16::MAX,
        port: u16::MAX,
        outgoing: false,
        state: "established".into(),
        congestion_window: u32::MAX,
        round_trip_ns: u64::MAX,
        round_trip_least_ns: u64::MAX,
        in_flight: u32::MAX,
        queued: u32::MAX,
        unread: u32::MAX,
        sent: u32::MAX,
        retries: u32::MAX,
    };
    for (from, next) in [(0, 2_500), (2_500, 0)] {
        assert_eq!(passed_on(&hub), Command::Connections(from));
        let rows = Rows(vec![row.clone(); 2_500]);
        hub.heard(&Message::Connections(Connections { at_ns: 9, next, rows }));
    }
    let (mut count, mut bytes) = (0, 0);
    loop {
        let mut text = String::new();
        watcher.read_line(&mut text).unwrap();
        assert!((text.len() as u64) < find::LINE_LEN_MAX, "a watcher does not read so long a line");
        bytes += text.len() as u64;
        let some: Value = serde_json::from_str(&text).unwrap();
        count += some["connections"].as_array().unwrap().len();
        if some["more"] == false {
            break;
        }
    }
    assert_eq!(count, 5_000);
    assert!(bytes > find::LINE_LEN_MAX, "the case in question");
}
