//! The paper's claims, one each: what is played or measured, what the paper found, what we found, why they differ.

use super::chart::{Chart, short};
use super::server::Costs;
use super::{batching, beyond, days, earnings, levers, native, profit, systems, together};
use crate::figures::Figure;
use crate::{BENCHES, Settings};
use nom_machine::trouble::Outcome;

/// Answers of each delay and load: enough for a tail, and few enough for a test.
const ANSWERS: usize = 1_000_000;
const ANSWERS_QUICK: usize = 200_000;

/// The paper's applications, by stated costs: with W = 0 a single client sees the paper's latency, and many see about
/// its throughput. Figures 3 and 4 are read from the pictures: they are as good as a ruler is.
pub const APPLICATIONS: [Costs; 3] = [
    Costs { name: "kv", request_us: 21.0, kick_us: 4.0, path_us: 38.0, many: 16, answer_len: 1_100.0 },
    Costs { name: "httpd", request_us: 14.0, kick_us: 7.0, path_us: 40.0, many: 16, answer_len: 420.0 },
    Costs { name: "netpipe", request_us: 9.0, kick_us: 4.0, path_us: 22.0, many: 1, answer_len: 1_100.0 },
];

/// A claim as it stands in the report.
#[derive(Default)]
pub struct Found {
    /// What was played, in a line a person can repeat.
    pub configuration: String,
    /// Rows of a table, names first.
    pub rows: Vec<Vec<String>>,
    /// Further tables: what each shows, and its rows.
    pub tables: Vec<(String, Vec<Vec<String>>)>,
    pub charts: Vec<Chart>,
    pub figures: Vec<Figure>,
    /// What we found.
    pub ours: String,
}

/// What plays a claim. The callback gets lines for the person who waits.
type Find = fn(&Settings, &mut dyn FnMut(&str)) -> Outcome<Found>;

/// A claim: its name, title, what the paper found, why ours may differ, and what plays it.
pub struct Claim {
    pub name: &'static str,
    pub title: &'static str,
    pub paper: &'static str,
    pub why: &'static str,
    pub find: Find,
    /// Whether it is pure arithmetic in virtual time: the same figures each time, on any machine.
    pub virtual_time: bool,
}

/// In the report's order, which is the paper's, and then what goes beyond it.
pub static CLAIMS: &[Claim] = &[
    Claim {
        name: "systems",
        title: "Figures 2 to 4, tables 1 and 2: a guest of ours beside one of Linux",
        paper: "nom has 1.01x to 1.28x of Linux' throughput for memcached, 1.2x to 3.9x of Linux' and OSv's for nhttpd, up to 1.42x \
                for NetPIPE; latency up to 9.1x better, memcached's jitter 499 us (Linux) and 121 us (nom) with many and 14 and 13 us \
                with one; 10,834 and 18,280 exits a second instead of 43,146 and 90,166, no injections but the timer's.",
        why: "Both guests run under QEMU's translator, which has a price of its own for everything: small code gains more \
              than it would on hardware, so these ratios are not a headline. Accesses to devices' registers and interrupts of the \
              emulator stand in for exits and injections. OSv is not packaged and was not run, nor was Nanos in its place: its \
              kernel and images come from its maker's store only. The paper's jitter of OSv has nothing beside it here.",
        find: systems::systems,
        virtual_time: false,
    },
    Claim {
        name: "earnings",
        title: "Figures 5 to 7: what guests of Linux and of ours earn on the paper's schedule",
        paper: "nom makes the most with every application and utility: 11.14 $ for each dollar of Linux for memcached with the penalty; \
                less difference elsewhere. OSv makes nothing there.",
        why: "Profit follows throughput, latency and jitter of the claim systems, which are emulated; the tuner is a service's own, \
              alive in virtual time over what was measured. The paper's penalty takes all when a hundredth of a normal tail lies \
              above 750 us: a few answers in ten thousand that the machine held up for milliseconds make the deviation so large \
              that it does, although far fewer were late, which is why the counted tail stands beside. Bandwidth is the only \
              price, and Linux does not know it. With two settings there is little for online to learn: it pays for trying both.",
        find: earnings::earnings,
        virtual_time: false,
    },
    Claim {
        name: "profit",
        title: "Figures 8 to 10: fixed settings and adapting, three applications by three utilities",
        paper: "Adapting makes more than any fixed delay for memcached and nhttpd: with the penalty, the delay of the greatest \
                throughput makes 82% (memcached) and 73% (nhttpd) of it, that of the least latency 14% and 94%. For \
                NetPIPE all columns are the same.",
        why: "How much a fixed delay loses by the penalty depends on how late answers are counted. The paper takes a normal \
              tail from mean and deviation; this model's deviation is small beside the limit, so that tail sees almost \
              nothing (penalty, normal), while the counted one (penalty) sees that the core is elsewhere now and then. The \
              paper's own refund takes 10 $/(Gbit s), which is nothing at microseconds: a steeper one, under which many \
              clients are not worth serving, stands beside it. Costs are stated, so shares are those of this model; that \
              no delay is the best one for both minutes, and that a ping-pong has nothing to win, are the paper's findings.",
        find: profit::profit,
        virtual_time: true,
    },
    Claim {
        name: "nine",
        title: "Nine cases: three applications by three utilities, beside the best fixed delay",
        paper: "For memcached and nhttpd changing the delay with price and load makes more than any fixed one under every utility; \
                for NetPIPE nothing is to be won.",
        why: "The paper compares with the delays of the best throughput and the best latency; here the best of all fixed delays is \
              taken, and in hindsight. That leaves little wherever one delay is near the best in both minutes. Most is left \
              where many clients are not worth serving (refund), and some where a minute wants none of the delay that the other \
              wants (bonus).",
        find: profit::nine,
        virtual_time: true,
    },
    Claim {
        name: "batching",
        title: "Figures 11 to 16: what a batching delay does to throughput and latency, and the frontier",
        paper: "memcached's throughput with many clients has its best at 14 us, nhttpd's at 12 us, NetPIPE's at none; each \
                microsecond of delay costs a single client about one of latency. memcached and nhttpd have a frontier of \
                several delays, NetPIPE has one point.",
        why: "This server is a model with a stated cost of each request and each kick; the paper's is a guest on KVM. The \
              model shows why there is a frontier (a kick that is shared, a client that waits) and that NetPIPE has none \
              (nobody to share with). Its best delay is where all that can gather has gathered, and follows from costs \
              that were put in. On our own guest under QEMU's translator a delay of microseconds before a kick gains \
              nothing: its kick costs about as much as a request's share of everything else, and the emulator's loop \
              gathers by itself. What moves there is how long frames gather before the service wakes, by milliseconds, \
              which the live service tunes.",
        find: batching::batching,
        virtual_time: true,
    },
    Claim {
        name: "open",
        title: "Beyond the paper: arrivals that do not wait, below and above capacity",
        paper: "Its clients ask again when they have their answer, so that load follows the server.",
        why: "Clients of a service do not know each other. Below capacity a server cannot serve more than comes, and a delay only \
              gathers what would have been served anyway; above it, what a shared kick saves is served.",
        find: beyond::open,
        virtual_time: true,
    },
    Claim {
        name: "cores",
        title: "Beyond the paper: a core with a price, to halt, to look for a while, or to poll",
        paper: "Cores cost nothing beside bandwidth there, so nom polls, at 87% and 98% of a core where Linux has 75% and 65%.",
        why: "Where operations are worth little, an hour of a core is what a light load earns. The server's costs are stated, and so \
              is the margin: with a fat one the price of a core does not matter (the claim days says by how much).",
        find: beyond::cores,
        virtual_time: true,
    },
    Claim {
        name: "two",
        title: "Beyond the paper: two applications in one guest, with different utilities",
        paper: "There is no one stack that is best for all applications at all times; each paper figure is of one application alone.",
        why: "The same two minutes for both at once. A kernel with one stack has one delay for both; private stacks have one each. \
              Each application has a core, so neither takes time from the other: what they share is the guest alone.",
        find: beyond::two,
        virtual_time: true,
    },
    Claim {
        name: "together",
        title: "Beyond the paper: two applications in one real guest, with different utilities",
        paper: "Each of its figures is of one application alone in its machine.",
        why: "Both are in one guest under the emulator, share its card through a switch, and its only processor. Who is asked often \
              and can wait saves core time by letting frames gather; who is in a hurry must not. One stack for both has to decide for \
              one of them. What the switch takes is paid by both whatever they choose, which makes the difference smaller than in the \
              model.",
        find: together::together,
        virtual_time: false,
    },
    Claim {
        name: "days",
        title: "Beyond the paper: open load, real price days, load and price apart and together",
        paper: "One step of price and load, in a closed loop, with bandwidth alone priced.",
        why: "Cores are priced too, arrivals do not wait for answers, and the surface bends and moves in ways that the tuner \
              is not told. `nom bench profit` is this claim with more runs.",
        find: days::days,
        virtual_time: true,
    },
    Claim {
        name: "native",
        title: "Beside the paper: the same applications as Linux processes",
        paper: "It runs guests only.",
        why: "No emulator is between: ours on AF_XDP and TAP beside Linux' own sockets, on the same cable. Ours may spin, the peer \
              sleeps, which is why the tables have halting beside it.",
        find: native::native,
        virtual_time: false,
    },
    Claim {
        name: "bytes",
        title: "Beyond the paper: billed bytes, compressed where their price is worth it",
        paper: "Bytes are what is billed; how many an answer has is not changed.",
        why: "An application that owns its stack and its answers can send fewer. Others of these levers (acknowledgements, segments, \
              time stamps) are knobs of the stack and stand in `docs/knobs.md`.",
        find: levers::bytes,
        virtual_time: false,
    },
    Claim {
        name: "replay",
        title: "Beyond the paper: recorded arrivals, played against each fixed setting",
        paper: "Fixed settings and adapting ran one after the other.",
        why: "The same arrivals, request by request, in shuffled rounds: what the machine did meanwhile falls on all alike. Costs come \
              from the sealed ledger.",
        find: levers::replay,
        virtual_time: false,
    },
];

/// Answers of each delay and load.
pub fn answers(settings: &Settings) -> usize {
    if settings.quick { ANSWERS_QUICK } else { ANSWERS }
}

/// The costs in words.
pub fn costs_line() -> String {
    let one = |costs: &Costs| {
        let Costs { name, request_us, kick_us, path_us, many, answer_len } = costs;
        format!(
            "{name}: {request_us} us a request, {kick_us} us a kick, {path_us} us of way, {many} clients, {answer_len} bytes an answer"
        )
    };
    APPLICATIONS.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The bench of this name as a part of the report.
pub fn bench(name: &str, settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let bench = BENCHES.iter().find(|bench| bench.name == name).expect("it is one of ours");
    (bench.measure)(settings, progress)
}

/// The figures as rows of a table.
pub fn rows(figures: &[Figure]) -> Vec<Vec<String>> {
    let mut rows = vec![["figure", "value", "least", "most", "runs", "goal", ""].map(String::from).to_vec()];
    rows.extend(figures.iter().map(|figure| {
        vec![
            figure.name.clone(),
            format!("{} {}", short(figure.value), figure.unit),
            short(figure.min),
            short(figure.max),
            figure.runs.to_string(),
            figure.goal.unwrap_or_default().into(),
            match figure.met() {
                Some(true) => "met".into(),
                Some(false) => "missed".into(),
                None => String::new(),
            },
        ]
    }));
    rows
}
