use super::*;
use alloc::string::ToString;
use nom_feeds::http::{Host, Url};
use nom_stack::knobs::{Batching, Wait};

#[test]
fn an_empty_configuration_is_one() {
    let configuration = Configuration::parse("").unwrap();
    assert_eq!(configuration.listen, 11211);
    assert_eq!((configuration.address, configuration.prefix_len), (Ipv4Addr::new(10, 0, 2, 15), 24));
    assert_eq!(configuration.knobs, Knobs::default());
    assert_eq!((configuration.contract, configuration.prices), (None, PriceSource::Board));
}

#[test]
fn everything_can_be_said() {
    let text = "# A cache\nlisten=1234 # here\n address = 10.1.2.3/16\ngateway = 10.1.0.1\nmemory.items = 16 MiB\n\
                wait = spin 50 us\nbatch = 14 us\ntuner = observe\nutility = penalty\nvalue = 0.2 $/Mop\n\
                latency.limit = 750 us\npenalty.factor = 100\nwindow = 500 ms\n\
                prices = http://10.1.0.1:8080/prices?x=1\nmanagement.token = 00112233445566778899\n\
                points = nom-points 1\npoints = application kv\npoints = noise 0.02\npoints = capacity_per_s 40000\n\
                points = class all open utilisation 0.. connections 0..\n\
                points = point wait=halt batch=0 : throughput_per_s=18000 useful_bytes=100 wire_bytes=166 core_ns=9000 idle_cores=0.01 memory_bytes=0 mean_ns=63000 jitter_ns=13000 p99_ns=90000 samples=10\nkernel.heap = 9 MiB\nimage.trusted = yes\nlimit.spending = 3 $/h\n";
    let configuration = Configuration::parse(text).unwrap();
    assert_eq!(configuration.listen, 1234);
    assert_eq!(configuration.knobs.wait, Wait::Spin { budget_ns: 50_000 });
    assert_eq!(configuration.knobs.batching, Batching::Hold { delay_ns: 14_000 });
    assert_eq!(configuration.items_bytes, 16 << 20);
    assert_eq!(configuration.tuning, Tuning::Observe);
    assert!(configuration.contract.is_some() && configuration.spending_max.is_some());
    assert_eq!(configuration.points.map(|points| points.classes.len()), Some(1));
    assert_eq!(
        configuration.prices,
        PriceSource::Feeds(alloc::vec![Feed::metadata(Url {
            secure: false,
            host: Host::Address(Ipv4Addr::new(10, 1, 0, 1)),
            port: 8080,
            path: "/prices?x=1".into()
        })])
    );
    assert_eq!(configuration.crc, crc32(text.as_bytes()));
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, line, said) in [
        ("\nlistne = 1", 2, "did you mean 'listen'?"),
        ("memory.item = 1 MiB", 1, "did you mean 'memory.items'?"),
        ("zzzzzzzzzzzzzzzzzzzzzzzzzzz = 1", 1, "unknown key"),
        ("processors = 1", 1, "remove the line"),
        ("listen", 1, "key = value"),
        ("listen =", 1, "such as listen = 11211"),
        ("listen = 0", 1, "from 1 to 65535"),
        ("listen = 1\n\nlisten = 2", 3, "already in line 1"),
        ("address = 10.0.2.15", 1, "10.0.2.15/24"),
        ("address = 10.0.2.15/40", 1, "prefix"),
        ("address = 0.0.0.0/8", 1, "nobody"),
        ("gateway = x", 1, "10.0.2.2"),
        ("memory.items = 8", 1, "unit is missing"),
        ("memory.items = 8 s", 1, "MiB"),
        ("memory.items = 1 B", 1, "from 64KiB"),
        ("memory.items = 512 KiB", 0, "larger than memory.items"),
        ("wait = sleep", 1, "halt, poll"),
        ("utility = simple\nlatency.limit = 1 ms\nvalue = 1001 $/op", 3, "beyond belief"),
        ("utility = simple\nlatency.limit = 1 ms\nvalue = 1001 $/Gbit", 3, "beyond belief"),
        ("tuner.budget = 11 %", 1, "from 0 % to 10 %"),
        ("tuner.budget = 1", 1, "from 0 % to 10 %"),
        ("points = nom-points 1\n\npoints = app", 3, "application"),
        ("wait = spin", 1, "duration"),
        ("batch = maybe", 1, "0, queued"),
        ("tuner = yes", 1, "on, observe or off"),
        ("utility = penalty", 0, "value"),
        ("utility = profit\nvalue = 1 $/Mop", 1, "penalty"),
        ("prices = ftp://x", 1, "http://10.0.2.2:8080/prices, or board"),
        ("prices = https://10.0.0.1/", 1, "nom-priced-linux"),
        ("prices = http://10.0.0.1:0/", 1, "port"),
        ("prices = http://prices.example/", 1, "say dns = ADDRESS"),
        ("prices = http://prices..example/", 1, "no IPv4 address and no name"),
        ("dns = 10.0.2.3, 10.0.2.4, 10.0.2.5", 1, "up to 2 addresses"),
        ("dns = 224.0.0.251", 1, "up to 2 addresses"),
        ("dns = ns.example", 1, "up to 2 addresses"),
        ("prices = board\nprices = http://10.0.0.1/", 1, "or board"),
        ("prices = http://10.0.0.1/\nprices = spot http://10.0.0.1/", 2, "instance="),
        ("prices = day-ahead http://10.0.0.1/ watts=1 convert=EUR", 1, "EUR:1.08"),
        ("utility = own\nvalue = 1 $/Mop * late\nlatency.limit = 1 ms", 2, "axiom"),
        ("utility = own\nvalue = 1 $/Mop * (1 - late)", 0, "latency.limit"),
        ("slo = fast", 1, "p99 < 1 ms"),
        ("slo = p99 < 1 ms\nutility = simple", 2, "remove one"),
        ("slo = p99 < 1 ms\ntuner.stop = yes", 2, "remove one"),
        ("management.token = secret", 1, "hexadecimal"),
        ("window = 1 h 1", 1, "duration"),
    ] {
        let error = Configuration::parse(text).unwrap_err();
        assert!(error.message.contains(said) && error.line == line, "{text}: {error}");
    }
    let secret = Configuration::parse("management.token = 0123456789abcdefX").unwrap_err();
    assert!(!secret.message.contains("0123"), "a token is never repeated");
    assert!(Configuration::parse(&"x".repeat(LEN_MAX + 1)).is_err());
}

#[test]
fn examples_and_defaults_of_the_table_hold() {
    for key in KEYS {
        assert!(help().contains(key.name) && !key.meaning.is_empty());
        for value in [key.default, key.example].into_iter().filter(|value| !value.is_empty()) {
            let terms = match key.name {
                "utility" => "value = 1 $/Mop\nlatency.limit = 1 ms\npenalty.factor = 1\n",
                "value" => "utility = simple\nlatency.limit = 1 ms\n",
                "latency.limit" => "utility = simple\nvalue = 1 $/Mop\n",
                "penalty.factor" => "utility = penalty\nvalue = 1 $/Mop\nlatency.limit = 1 ms\n",
                "penalty.tail" => {
                    "utility = penalty\nvalue = 1 $/Mop\nlatency.limit = 1 ms\npenalty.factor = 1\n"
                }
                "refund" => "utility = refund\nvalue = 1 $/Mop\n",
                "bonus" => "utility = bonus\nvalue = 1 $/Mop\n",
                "network" => "network.interface = eth0\n",
                "network.queue" | "network.copying" | "network.busy_poll" => {
                    "network = xdp\nnetwork.interface = eth0\n"
                }
                "memory.items.min" => "miss.cost = 2 $/Mop\n",
                "miss.cost" => "memory.items.min = 1 MiB\n",
                "gateway6" => "address6 = fd00::2/64\n",
                "bonus.max" => "utility = bonus\nvalue = 1 $/Mop\nbonus = 0.00001 $ s/Mop\n",
                _ => "",
            };
            if key.name == "points" {
                // One line alone is no points file; `everything_can_be_said` has a whole one.
                continue;
            }
            let text = format!("{terms}{} = {value}\n", key.name);
            assert!(Configuration::parse(&text).is_ok(), "{text}{:?}", Configuration::parse(&text));
        }
    }
}

#[test]
fn mangled_texts_never_break_the_reader() {
    let whole = "listen = 11211\naddress = 10.0.2.15/24\nwait = spin 50 us\nprices = http://10.0.2.2:80/p\n\
                 utility = penalty\nvalue = 0.2 $/Mop\nlatency.limit = 750 us\npenalty.factor = 100\n";
    let mut seed = 3u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize
    };
    for _ in 0..5_000 {
        let mut bytes = whole.as_bytes().to_vec();
        for _ in 0..1 + next() % 4 {
            let place = next() % bytes.len();
            bytes[place] = b"\n =#0.-9x/:$ \xc3\xa9"[next() % 15];
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Err(error) = Configuration::parse(&text) {
            assert!(error.to_string().len() < 400);
        }
    }
}

#[test]
fn the_checksum_is_the_usual_one() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn feeds_stand_in_the_order_in_which_they_are_believed() {
    let text = "prices = http://10.0.2.2:8080/prices\n\
                prices = day-ahead http://10.0.2.2:8081/api watts=12 convert=EUR:1.08 core=0.004$/core/h # at night\n";
    let PriceSource::Feeds(feeds) = Configuration::parse(text).unwrap().prices else { panic!() };
    assert!(feeds.len() == 2 && feeds[0].holds() && !feeds[1].holds());
    let line = "prices = http://10.0.2.2:8080/prices\n";
    assert!(Configuration::parse(&line.repeat(4)).is_ok());
    assert_eq!(Configuration::parse(&line.repeat(5)).unwrap_err().line, 5);
}

#[test]
fn a_promise_takes_the_cheapest_point_that_keeps_it() {
    let configuration = Configuration::parse("slo = p99 < 1 ms").unwrap();
    assert_eq!((configuration.latency_max_ns, configuration.may_stop), (Some(1_000_000), false));
    let point = |setting: &str, core_ns: u32, idle: f64, p99_us: u32| {
        format!(
            "point {setting} : throughput_per_s=40000 useful_bytes=100 wire_bytes=166 core_ns={core_ns} \
             idle_cores={idle} memory_bytes=1 mean_ns=60000 jitter_ns=1000 p99_ns={} samples=100000\n",
            p99_us * 1_000
        )
    };
    let text = "nom-points 1\napplication kv\nnoise 0.02\ncapacity_per_s 40000\n\
                class all open utilisation 0.. connections 0..\n"
        .to_string()
        + &point("wait=poll batch=0", 9_000, 1.0, 200)
        + &point("wait=halt batch=0", 12_000, 0.01, 900)
        + &point("wait=halt batch=900us", 6_000, 0.01, 1_900);
    let points = Points::parse(&text).unwrap();
    let rules = nom_tuner::Rules {
        latency_max_ns: configuration.latency_max_ns,
        may_stop: configuration.may_stop,
        ..nom_tuner::Rules::default()
    };
    let prices = nom_money::Prices { core: Some("1 $/core/h".parse().unwrap()), ..nom_money::Prices::NONE };
    let contract = configuration.contract.unwrap();
    let evaluator = contract.at(&prices);
    let best = nom_tuner::best(&evaluator, &points.classes[0], 10_000.0, &rules, |_| true).unwrap();
    assert_eq!(
        best.setting.to_string(),
        "wait=halt batch=0",
        "cheaper than polling, and the cheapest is too slow"
    );
}

#[test]
fn an_application_has_lines_of_its_own() {
    let text = "listen = 1\nprices = http://10.1.0.1:8080/a\napplication.b.listen = 2\napplication.b.prices = board\n\
                application.c.network = switch\napplication.c.management = no\nswitch.learns = b, c\n\
                switch.lifetime = 3 s\n";
    let general = Configuration::parse(text).unwrap();
    assert_eq!((general.listen, general.management, general.lifetime_ns), (1, true, Some(3_000_000_000)));
    assert_eq!(general.learning, ["b", "c"]);
    let own = Configuration::parse_for(text, "b").unwrap();
    assert_eq!((own.listen, own.prices, own.crc), (2, PriceSource::Board, general.crc));
    let other = Configuration::parse_for(text, "c").unwrap();
    assert_eq!((other.listen, other.network, other.management), (1, Network::Switch, false));
    assert_eq!(other.prices, general.prices);
    for (text, line, said) in [
        ("application.a.listne = 1", 1, "did you mean 'listen'?"),
        ("listen = 1\napplication.a.listen = 0", 2, "from 1 to 65535"),
        ("application.a.listen = 1\n application.a.listen = 2", 2, "already in line 1"),
        ("application.listen = 1", 1, "application.NAME.KEY"),
        ("application..listen = 1", 1, "application.NAME.KEY"),
    ] {
        let error = Configuration::parse(text).unwrap_err();
        assert!(error.line == line && error.message.contains(said), "{text}: {error}");
    }
}

#[test]
fn there_are_only_so_many_applications() {
    let of = |count: usize| -> String {
        (0..count).map(|number| format!("application.a{number}.listen = 1\n")).collect()
    };
    assert!(Configuration::parse(&of(APPLICATIONS_MAX)).is_ok());
    let error = Configuration::parse(&of(APPLICATIONS_MAX + 1)).unwrap_err();
    assert_eq!(error.line, APPLICATIONS_MAX + 1);
    assert!(error.message.contains("more than 16 applications"), "{error}");
}

#[test]
fn what_is_refused_is_repeated_without_what_would_steer_a_terminal() {
    for key in ["gateway", "tuner"] {
        let error = Configuration::parse(&format!("{key} = \x1b[2J{}", "x".repeat(5_000))).unwrap_err();
        assert!(error.message.len() < 200 && !error.message.contains('\x1b'), "{error}");
    }
}

#[test]
fn what_several_cores_do_not_have_is_refused_where_it_is_asked_for() {
    assert_eq!(Configuration::parse("kv.cores = 2\n").unwrap().cores, 2);
    for (line, key) in [
        ("network = switch", "network"),
        ("address = dhcp", "address"),
        ("address6 = auto", "address6"),
        ("commands.debugtime = yes", "commands.debugtime"),
        ("tuner.stop = yes", "tuner.stop"),
    ] {
        assert!(Configuration::parse(line).is_ok(), "{line} alone");
        let error = Configuration::parse(&format!("kv.cores = 2\n{line}\n")).unwrap_err();
        assert_eq!(error.line, 2, "{error}");
        assert!(error.message.starts_with(&format!("{key}: several cores")), "{error}");
    }
}

#[test]
fn a_bad_point_is_told_with_its_own_line_whatever_stands_between() {
    let good = "points = nom-points 2\nlisten = 7\n# Measured.\npoints = application kv\n";
    let rest = "wait = poll\npoints = capacity_per_s 40000\n";
    let error = Configuration::parse(&format!("{good}points = nonsense\n{rest}")).unwrap_err();
    assert_eq!(error.line, 5, "{error}");
    assert!(error.message.starts_with("points: "), "{error}");
}
