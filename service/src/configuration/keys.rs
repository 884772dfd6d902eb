//! The table of keys.

use super::live::LIVE;
use alloc::string::String;
use core::fmt::Write;

/// A key of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it decides.
    pub meaning: &'static str,
    /// What holds when it is absent; empty when there is nothing then.
    pub default: &'static str,
    /// A value.
    pub example: &'static str,
    /// It may stand in several lines.
    pub repeats: bool,
}

const fn key(name: &'static str, default: &'static str, example: &'static str, meaning: &'static str) -> Key {
    Key { name, meaning, default, example, repeats: false }
}

const fn repeating(name: &'static str, example: &'static str, meaning: &'static str) -> Key {
    Key { name, meaning, default: "", example, repeats: true }
}

/// All keys, in the order of their documentation.
pub const KEYS: &[Key] = &[
    key("listen", "11211", "11211", "Port that is served."),
    key(
        "address",
        "10.0.2.15/24",
        "10.0.2.15/24",
        "Our IPv4 address, with the prefix length of our link, or dhcp: a server on the link lends one.",
    ),
    key("gateway", "", "10.0.2.2", "Who forwards what is not on our link."),
    key(
        "dns",
        "",
        "10.0.2.3, 10.0.2.4",
        "Of a guest: up to two servers that know the names of price services; with address = dhcp those that the lease names, unless \
         some are said here.",
    ),
    key(
        "address6",
        "none",
        "fd00::2/64",
        "Our IPv6 address, with the prefix length of our link; auto to make one from a prefix that a router tells; none \
         to speak no IPv6.",
    ),
    key(
        "gateway6",
        "",
        "fd00::1",
        "Who forwards IPv6 that is not on our link. With auto a router says so itself.",
    ),
    repeating(
        "allow",
        "192.168.7.0/24, fd00::/8",
        "Who may open connections: prefixes or addresses with commas between; without any line, everybody. Others are \
         not answered, and counted.",
    ),
    repeating("deny", "192.168.7.66", "Who may not, allowed or not."),
    key(
        "network",
        "tap",
        "xdp",
        "Where a Linux process gets its frames: tap (a network of its own, reached through the host's loopback), xdp \
         (AF_XDP beside the kernel on an interface), packet (AF_PACKET beside it). A guest has its own card, or, with \
         switch, a port of the application called switch, which has the card.",
    ),
    key(
        "network.interface",
        "",
        "eth0",
        "The interface for xdp and packet. For tap, the one that is made in the network where the process is started, \
         instead of in one of its own.",
    ),
    key(
        "network.queue",
        "",
        "0",
        "For xdp: the queue of the interface that is served. Without it the interface must have a single one.",
    ),
    key(
        "network.copying",
        "automatic",
        "copy",
        "For xdp: automatic, copy, or zero (refused where the driver cannot).",
    ),
    key(
        "network.busy_poll",
        "",
        "20us",
        "For xdp: drive the card from our own looks, each for at most this long, while its interrupts rest.",
    ),
    key("connections", "10000", "10000", "Most connections at the same time; further ones are refused."),
    key(
        "kv.cores",
        "1",
        "2",
        "Cores of a cache: each has a stack of its own and a part of the items, of the connections and of all memory. \
         One tuner and one ledger are for all. A guest needs as many processors.",
    ),
    key("memory.items", "8 MiB", "64 MiB", "Memory for items and their index, taken at the start."),
    key(
        "memory.items.max",
        "",
        "128 MiB",
        "Most that clients may make of it (cache_memlimit); without it they may only make it smaller.",
    ),
    key(
        "memory.items.min",
        "",
        "8 MiB",
        "Least memory for items. With it and miss.cost the price of memory decides how much there is, from here to \
         memory.items.max.",
    ),
    key(
        "miss.cost",
        "",
        "2 $/Mop",
        "What a miss costs whoever asked, such as a question to the database behind the cache. For memory.items.min.",
    ),
    key("memory.full", "evict", "refuse", "What makes room when there is none: evict others, or refuse."),
    key(
        "memory.crawl",
        "yes",
        "no",
        "Whether items past their time are looked for, a few at a time; without it their memory is free when it is wanted.",
    ),
    key(
        "sender.limit",
        "30 s",
        "10 s",
        "How long a client may take between two pieces of a value before it is cut; 0 s for ever.",
    ),
    key("idle.limit", "0 s", "1 h", "How long a client may be silent before it is cut; 0 s for ever."),
    key("commands.flush", "yes", "no", "Whether flush_all is obeyed."),
    key("commands.watch", "yes", "no", "Whether watch is obeyed: it shows the keys that others ask for."),
    key(
        "commands.debugtime",
        "no",
        "yes",
        "Whether debugtime moves the clock of items. For tests of clients.",
    ),
    key("item.max", "1 MiB", "1 MiB", "Largest item, with its key and 42 bytes of header."),
    key(
        "value.inline",
        "128 B",
        "64 B",
        "Values up to this size are copied into the reply, larger ones sent from their place.",
    ),
    key("memory.send", "1 MiB", "4 MiB", "Memory for bytes that were written and not acknowledged."),
    key("memory.receive", "1 MiB", "4 MiB", "Memory for bytes that came out of order or are not consumed."),
    key(
        "web.content",
        "",
        "examples/site",
        "For httpd: the folder whose files are served. An image carries it along.",
    ),
    key(
        "web.headers",
        "lean",
        "full",
        "For httpd: lean leaves out what the standard only recommends (Last-Modified, Accept-Ranges); full says it.",
    ),
    key(
        "web.compress",
        "auto",
        "start",
        "For httpd: which content it compresses itself (gzip), where no compressed form lies beside it: auto, what pays at \
         the prices of bytes and cores; start, all that becomes smaller, before it serves; no.",
    ),
    key(
        "web.mirror",
        "",
        "/mirror",
        "For httpd: what is posted to this path is sent back while it arrives. For trying out clients and proxies.",
    ),
    key(
        "web.log",
        "no",
        "yes",
        "For httpd: whether the access log is among the lines of nom log, for guests above all; a process with --log FILE \
         writes it there instead.",
    ),
    key("web.request.max", "1 MiB", "64 KiB", "For httpd: most content of a request, which is thrown away."),
    key("web.limit.head", "10 s", "5 s", "For httpd: how long the head of a request may take to arrive."),
    key(
        "web.limit.content",
        "60 s",
        "30 s",
        "For httpd: how long the content of a request may take to arrive.",
    ),
    key(
        "web.limit.reading",
        "60 s",
        "30 s",
        "For httpd: how long a client may take to read 64 KiB of its answers, or all that is left of them.",
    ),
    key(
        "web.limit.idle",
        "65 s",
        "5 s",
        "For httpd: how long a connection may rest between requests; 0 s for ever.",
    ),
    key(
        "netpipe.lengths",
        "1-10000000",
        "1024-65536",
        "For netpipe: the first and the last length of messages in bytes; the other side must be told the same.",
    ),
    key(
        "netpipe.apart",
        "3",
        "0",
        "For netpipe: how far the neighbours of each length are away, told to both sides.",
    ),
    key(
        "netpipe.target",
        "",
        "10.0.2.2:5002",
        "For netpipe: whose receiver is measured. Without it ours is the receiver, on the port that is served.",
    ),
    key(
        "netpipe.repeats",
        "",
        "100",
        "For netpipe: messages of a trial of ours. Without it, as many as take 100 ms.",
    ),
    key(
        "netpipe.streams",
        "no",
        "yes",
        "For netpipe: messages follow each other without being sent back; the other side must be told the same.",
    ),
    key(
        "wait",
        "halt",
        "spin:50us",
        "How to wait at the start: halt, spin:TIME, poll. The tuner may change it.",
    ),
    key(
        "batch",
        "0",
        "14 us",
        "How frames gather at the start: 0, queued, or a batching delay. The tuner may change it.",
    ),
    key("batch.bound", "64", "64", "Frames that end a batch before its delay."),
    key(
        "offloads",
        "auto",
        "checksum",
        "What the network card of a guest does: none, checksum, merging (checksums, and received segments as one \
         frame), all (large segments are cut by it, too), auto. Others have no say in it.",
    ),
    key("ack.delay", "40 ms", "10 ms", "How long an acknowledgement may wait for a reply to ride on."),
    key(
        "tcp.keepalive",
        "0 s",
        "60 s",
        "How long a client may be silent before it is asked whether it is there; 0 s: it never is. Connections that are \
         open keep what they began with, here and below.",
    ),
    key("tcp.keepalive.interval", "15 s", "10 s", "Time between such questions that are not answered."),
    key(
        "tcp.keepalive.probes",
        "4",
        "3",
        "Questions without an answer after which the connection is given up.",
    ),
    key(
        "tcp.user_timeout",
        "0 s",
        "30 s",
        "How long sent bytes may stay unacknowledged before the connection is given up; 0 s: ten time-outs.",
    ),
    key(
        "tcp.timestamps",
        "never",
        "asked",
        "Time stamps in segments, 12 bytes each: never, asked (when the other side asks), always.",
    ),
    key(
        "tcp.window",
        "65535 B",
        "1 MiB",
        "Most bytes that a connection may hold and its application has not consumed, out of memory.receive: more makes a \
         single long transfer faster.",
    ),
    key("tcp.ecn", "asked", "never", "Marks of congestion: never, asked (when the other side asks), always."),
    key("tuner", "on", "observe", "on: changes knobs; observe: says what it would do; off."),
    key(
        "tuner.online",
        "no",
        "yes",
        "Whether points follow what is seen while it serves, and other settings are tried within tuner.budget.",
    ),
    key(
        "tuner.budget",
        "1 %",
        "0.5 %",
        "What trying other settings may cost, as a part of an hour's revenue; 0 % learns without trying.",
    ),
    key(
        "tuner.stop",
        "no",
        "yes",
        "Whether the tuner may serve nothing at all (and cut who is connected) when nothing pays.",
    ),
    key(
        "limit.latency",
        "",
        "2 ms",
        "Most latency of points that may be chosen: 99th percentile where measured, else the mean.",
    ),
    key(
        "utility",
        "",
        "penalty",
        "What users pay: simple, penalty, refund, bonus, own. Without it (or slo) nothing is earned or tuned.",
    ),
    key(
        "value",
        "",
        "0.2 $/Mop",
        "What an operation (or a useful byte: 20 $/Gbit) is worth. For own an expression of mean and late, such as \
         0.2 $/Mop * (1 - min(1, 100 * late)); + - * / min max if(a <= b, c, d).",
    ),
    key("latency.limit", "", "750 us", "The promise, for simple and penalty, and for own with late."),
    key("penalty.factor", "", "100", "How much a late part of the operations costs, for penalty."),
    key("penalty.tail", "", "counted", "counted, or normal as in the paper, for penalty."),
    key("refund", "", "0.001 $/(op s)", "What is paid back for latency, for refund."),
    key("bonus", "", "0.00001 $ s/Mop", "What is paid for speed, for bonus."),
    key("bonus.max", "", "0.1 $/Mop", "Most that the bonus can be."),
    key(
        "slo",
        "",
        "p99 < 1 ms",
        "Instead of a utility: the cheapest setting that keeps this promise. Nothing is earned in the ledger.",
    ),
    key("window", "1 s", "1 s", "Settlement window of the ledger."),
    key(
        "limit.spending",
        "",
        "0.5 $/h",
        "Most that may be spent: points that would cost more are not chosen.",
    ),
    Key {
        name: "points",
        meaning: "One line of a points file (nom-points 2), in order: what each setting was measured to give.",
        default: "",
        example: "nom-points 2",
        repeats: true,
    },
    Key {
        name: "prices",
        meaning: "Where prices come from: the board that somebody else writes, or a metadata service, by address or by name. Or up to four \
                  lines with a feed each, the most believed first: cloud-sigma URL mhz=2000 [currency=EUR] \
                  [subscription=yes]; spot URL instance=TYPE zone=ZONE cores=2 [product=Linux/UNIX]; day-ahead URL \
                  watts=12 [negative=yes]. Each may add what is paid besides (core=0.004$/core/h, bandwidth=, memory=), \
                  and must state a rate for other money than dollars (convert=EUR:1.08).",
        default: "board",
        example: "http://10.0.2.2:8080/prices",
        repeats: true,
    },
    key(
        "management.token",
        "",
        "00112233445566778899aabbccddeeff",
        "What the host must show before it is obeyed, 16 to 128 hexadecimal digits.",
    ),
    key(
        "management",
        "yes",
        "no",
        "Whether the application speaks over the machine's management channel; of several in a guest one can.",
    ),
    key(
        "switch.learns",
        "",
        "kv-2",
        "Of a switch: applications that may send for further stations behind them.",
    ),
    key("switch.lifetime", "", "3 s", "Of a switch: it fails after so long. For tests of restarts."),
    key("stats.interval", "200 ms", "200 ms", "Time between two lines of statistics."),
    key(
        "metrics.port",
        "",
        "9464",
        "Port of 127.0.0.1 on which a Linux process shows its figures (/metrics, OpenMetrics), health (/health) and \
         readiness (/ready). For a guest there is nom run --metrics.",
    ),
    key("drain.limit", "5 s", "5 s", "How long a drain waits for connections before it cuts them."),
    key("image.trusted", "no", "yes", "Read by the kernel: the image may be given devices without an IOMMU."),
];

/// Keys of earlier files, and what to do instead.
pub const FORMER: &[(&str, &str)] =
    &[("processors", "there is no such key any more; remove the line, and say kv.cores for several cores")];

/// The table as text for people.
pub fn help() -> String {
    let mut out =
        String::from("One `key = value` a line; `#` begins a comment; values carry their units.\n\n");
    for key in KEYS {
        let _ = writeln!(out, "{} = {}", key.name, key.example);
        let _ = writeln!(out, "    {}", key.meaning);
        if !key.default.is_empty() {
            let _ = writeln!(out, "    When absent: {}", key.default);
        }
        if LIVE.contains(&key.name) {
            let _ = writeln!(out, "    Takes effect at a reload.");
        }
    }
    out.push_str(
        "application.NAME.KEY\n    One of the keys above, for that application of the image alone; it takes the place \
         of the lines without a name.\n",
    );
    out.push_str("kernel.*\n    Read and checked by the kernel.\n");
    out
}
