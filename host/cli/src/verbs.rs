//! The table of commands: the help, the checks of what was typed, and the calls all come from here.

use crate::arguments::{Choice, Typed, Verb};
use nom_machine::trouble::Outcome;
use std::process::ExitCode;

/// What carries a command out.
pub type Act = fn(&Typed) -> Outcome<ExitCode>;

const fn choice(name: &'static str, value: &'static str, help: &'static str) -> Choice {
    Choice { name, value, help }
}

/// All commands, in the order of the help.
pub static VERBS: &[(Verb, Act)] = &[
    (
        Verb {
            name: "run",
            words: "[kv|httpd|echo]",
            words_max: 1,
            help: "start a service with prices and a small load, and watch it earn",
            choices: &[
                choice("app", "NAME", "kv (default), httpd or echo, where the word is left out"),
                choice("seconds", "N", "end after so many seconds (default: until Ctrl-C)"),
                choice("on", "HOME", "guest (default) or linux"),
                choice(
                    "port",
                    "N",
                    "port on localhost for any client (default 11211; httpd: 8080, echo: 7007)",
                ),
                choice("config", "FILE", "configuration (default examples/kv.conf, httpd.conf or echo.conf)"),
                choice("set", "KEY=VALUE", "overrides a line of the configuration; may be repeated"),
                choice(
                    "points",
                    "FILE",
                    "measured working points, or none (default examples/kv-HOME.points, or httpd-)",
                ),
                choice("prices", "FILE", "price schedule (default examples/day.prices)"),
                choice(
                    "utility",
                    "TERMS",
                    "what users pay: KIND, KEY=VALUE... or an expression (`nom help configuration`)",
                ),
                choice("slo", "PROMISE", "the cheapest setting that keeps it, such as 'p99 < 1 ms'"),
                choice("cores", "N", "serve on so many cores (kv)"),
                choice(
                    "rate",
                    "N",
                    "requests a second of the load, 0 for none (default 6000; httpd: none, or of its page /; echo: none)",
                ),
                choice("connections", "N", "connections of the load (default 64)"),
                choice("machine", "TYPE", "microvm (default) or q35"),
                choice("memory", "MIB", "memory of the machine (default 64)"),
                choice("image", "FILE", "start this image instead of assembling one"),
                choice(
                    "tap",
                    "NAME",
                    "a TAP device instead of the emulator's network: real throughput (docs/platforms.md)",
                ),
                choice("apps", "N", "so many of it behind one network card, on the ports that follow"),
                choice("kvm", "", "hardware virtualisation, where a probe guest shows that it works"),
                choice("metrics", "PORT", "show figures, health and readiness on this port of localhost"),
                choice(
                    "replay",
                    "ROUNDS",
                    "play the arrivals again, against each fixed setting (default 3 from --seconds 60 on)",
                ),
                choice(
                    "record",
                    "FILE",
                    "write down what the load sent, for `nom bench replay --recording FILE`",
                ),
                choice("picture", "FILE", "the live view at its end, as SVG"),
                choice("web", "[PORT]", "the live view as a page for a browser on this machine, too"),
                choice("plain", "", "plain lines instead of the live view, in a terminal too"),
                choice("ledger", "FILE", "keep the sealed windows here; an earlier file gets another name"),
                choice("json", "FILE", "one JSON object a line into a file, or - for standard output"),
            ],
        },
        crate::run::run,
    ),
    (
        Verb {
            name: "attach",
            words: "FOLDER",
            words_max: 1,
            help: "stand beside a process that was started by hand (--run FOLDER): its log, and top, log, set for it",
            choices: &[choice(
                "config",
                "FILE",
                "its configuration: the word that it wants to hear, and the port it is known by",
            )],
        },
        crate::attach::attach,
    ),
    (
        Verb {
            name: "top",
            words: "[PORT]",
            words_max: 1,
            help: "watch a running service: cores and owners, memory, kernel calls, interrupts, upcalls",
            choices: &[
                choice("once", "", "look once and end"),
                choice("interval", "MS", "between two looks (default 1000)"),
                choice("json", "", "one JSON object a look instead of a page"),
            ],
        },
        crate::top::top,
    ),
    (
        Verb {
            name: "log",
            words: "[PORT]",
            words_max: 1,
            help: "show what a running service and its kernel have said",
            choices: &[
                choice("follow", "", "go on until the service ends"),
                choice("json", "", "one JSON object a line"),
            ],
        },
        crate::log::log,
    ),
    (
        Verb {
            name: "connections",
            words: "[PORT]",
            words_max: 1,
            help: "the connections of a running service: peer, state, window, round trip, bytes, queues",
            choices: &[choice("json", "", "one JSON object instead of a table")],
        },
        crate::connections::connections,
    ),
    (
        Verb {
            name: "capture",
            words: "[PORT]",
            words_max: 1,
            help: "what a running service sends and gets, as pcapng, for tcpdump -r - or wireshark -k -i -",
            choices: &[
                choice("out", "FILE", "where to put it (default: standard output)"),
                choice("frames", "N", "end after so many frames"),
                choice(
                    "seconds",
                    "N",
                    "end after so many seconds (default: until Ctrl-C or the service's end)",
                ),
            ],
        },
        crate::capture::capture,
    ),
    (
        Verb {
            name: "freeze",
            words: "[PORT]",
            words_max: 1,
            help: "keep the setting of a running service as it is, whatever prices and load do",
            choices: &[],
        },
        crate::order::freeze,
    ),
    (
        Verb {
            name: "thaw",
            words: "[PORT]",
            words_max: 1,
            help: "let the tuner of a frozen service go on",
            choices: &[],
        },
        crate::order::thaw,
    ),
    (
        Verb {
            name: "set",
            words: "KEY=VALUE [PORT]",
            words_max: 2,
            help: "change a key of a running service's configuration (`nom help configuration` says which can)",
            choices: &[],
        },
        crate::order::set,
    ),
    (
        Verb {
            name: "reload",
            words: "[PORT]",
            words_max: 1,
            help: "have a running process read its configuration file again",
            choices: &[],
        },
        crate::order::reload,
    ),
    (
        Verb {
            name: "prices",
            words: "show|record|replay WHAT",
            words_max: 2,
            help: "show a schedule or ask a feed, write a feed's prices down, or serve a schedule like a metadata service",
            choices: &[
                choice("speed", "N", "so many times faster (a day at 100 takes 864 s)"),
                choice("out", "FILE", "record: where to write"),
                choice("seconds", "N", "record, replay: end after so many seconds"),
                choice("changes", "N", "record: end after so many prices"),
                choice("port", "N", "replay: the port on localhost (default: a free one)"),
                choice("ca", "FILE", "believe these authorities about https:// instead of the system's"),
            ],
        },
        crate::prices::prices,
    ),
    (
        Verb {
            name: "ledger",
            words: "verify|csv|json|recover FILE",
            words_max: 2,
            help: "check and add up sealed windows, as a table, as JSON, or what a crash left of them",
            choices: &[
                choice("config", "FILE", "compute revenue again by this configuration's contract, too"),
                choice("out", "FILE", "where to put it (default: standard output)"),
            ],
        },
        crate::ledger::ledger,
    ),
    (
        Verb {
            name: "profile",
            words: "[kv|httpd]",
            words_max: 1,
            help: "measure the working points between which the tuner chooses, as a points file",
            choices: &[
                choice(
                    "settings",
                    "LIST",
                    "with commas (default: halt, halt and gather for 2 ms, spin, poll)",
                ),
                choice("seconds", "N", "for each block (default 4)"),
                choice("rounds", "N", "blocks of each setting (default 5)"),
                choice("seed", "N", "of the order of the blocks (default 1)"),
                choice("out", "FILE", "where to put the points (default: standard output)"),
                choice("note", "TEXT", "goes into the file as a comment: machine, date"),
                choice("on", "HOME", "guest (default) or linux"),
                choice("config", "FILE", "configuration (default examples/kv.conf, or httpd.conf)"),
                choice("set", "KEY=VALUE", "overrides a line of the configuration; may be repeated"),
                choice(
                    "rate",
                    "N",
                    "requests a second of the load (default 6000); of httpd they ask for its page /",
                ),
                choice("connections", "N", "connections of the load (default 64)"),
                choice("machine", "TYPE", "microvm (default) or q35"),
                choice("memory", "MIB", "memory of the machine (default 64)"),
                choice("kvm", "", "hardware virtualisation, where a probe guest shows that it works"),
            ],
        },
        crate::run::profile::profile,
    ),
    (
        Verb {
            name: "image",
            words: "[show FILE]",
            words_max: 2,
            help: "assemble an image and check it, or show what is in one",
            choices: &[
                choice("config", "FILE", "configuration (default examples/kv.conf)"),
                choice("set", "KEY=VALUE", "overrides a line of the configuration; may be repeated"),
                choice(
                    "points",
                    "FILE",
                    "measured working points, or none (default examples/kv-guest.points)",
                ),
                choice("application", "NAME", "which application (default kv)"),
                choice("apps", "N", "so many of it, each with its own address, behind one network card"),
                choice("out", "FILE", "where to put it (default kv.image)"),
            ],
        },
        crate::image::image,
    ),
    (
        Verb {
            name: "test",
            words: "[PART]...",
            words_max: 8,
            help: "everything that a submission is checked by: style, unit, guest, devices, switch, end-to-end, operation, deaths, replay, counts, bad-input",
            choices: &[choice(
                "devices",
                "",
                "with the part guest: devices on every kind of machine, and nothing else",
            )],
        },
        crate::test::test,
    ),
    (
        Verb {
            name: "bench",
            words: "[NAME]",
            words_max: 1,
            help: "list what can be measured and what each claims, or measure it",
            choices: &[
                choice("json", "FILE", "one JSON object a figure into a file, or - for standard output"),
                choice("runs", "N", "runs of each side"),
                choice("cost", "", "kv, httpd: instructions a request (what is measured without it, too)"),
                choice("cycles", "", "kv: cycles of a request where the link costs nothing"),
                choice("hits", "", "kv: items held and requests that hit, beside memcached"),
                choice("soak", "", "kv: 10,000 connections for a minute, with clients that misbehave"),
                choice("overload", "", "kv: goodput when up to three times as much is asked as it can serve"),
                choice(
                    "bytes",
                    "",
                    "httpd: bytes of an answer and profit, where traffic is dear and where it is free",
                ),
                choice("peer", "DIR", "memcached-suite, conformance, packetdrill: a checkout of the tests"),
                choice(
                    "on",
                    "HOME",
                    "kv, httpd, netpipe: on linux, on vm, or paper (the scenarios of the nom paper); knobs: simnet, linux or vm",
                ),
                choice(
                    "quick",
                    "",
                    "paper, knobs: shorter blocks and fewer runs, to see that everything works",
                ),
                choice(
                    "claim",
                    "NAME",
                    "paper: these claims alone, separated by commas (systems, earnings, profit, nine, batching, open, cores, two, together, days, native, bytes, replay)",
                ),
                choice(
                    "resume",
                    "",
                    "paper: what an interrupted run has finished is taken from where the report goes",
                ),
                choice("out", "FOLDER", "paper: where the report goes (default .cache/paper)"),
                choice("recording", "FILE", "replay: recorded arrivals (default: drawn from a seed)"),
                choice("prices", "FILE", "replay: price schedule (default: the test's own)"),
                choice("kvm", "", "hardware virtualisation, where a probe guest shows that it works"),
            ],
        },
        crate::bench::bench,
    ),
    (
        Verb {
            name: "fuzz",
            words: "[TARGET]",
            words_max: 1,
            help: "hostile bytes for everything that takes bytes from outside; memcached: the same lines to it and to kv",
            choices: &[
                choice("seconds", "N", "for each target (default 10)"),
                choice("seed", "N", "the same seed tries the same inputs (default 1)"),
                choice(
                    "guided",
                    "",
                    "see where inputs go, and build on those that go new ways (kept in .cache/fuzz/corpus)",
                ),
                choice("input", "FILE", "try the bytes of a file again"),
            ],
        },
        crate::fuzz::fuzz,
    ),
];

/// Every setting of a configuration file.
pub fn configuration_help() -> String {
    nom_service::configuration::help()
}

/// The command of this name.
pub fn find(name: &str) -> Option<(&'static Verb, Act)> {
    VERBS.iter().find(|(verb, _)| verb.name == name).map(|(verb, act)| (verb, *act))
}
