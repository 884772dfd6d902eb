//! Which knobs there are, and which values each is given while the others stay as they are when nobody turns them.

use nom_stack::knobs::{Batching, Early, Knobs, Wait};

/// Connections that are opened.
pub const CONNECTIONS: u32 = 64;
const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// Who computes checksums, and cuts and joins segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offloads {
    /// The stack does everything.
    Nothing,
    /// The device computes checksums.
    Checksum,
    /// And joins received segments.
    Merging,
    /// And cuts large ones.
    All,
}

/// A value of a knob, with all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// As a name in a figure: `50us`.
    pub name: String,
    /// What the stack may change while it runs.
    pub knobs: Knobs,
    /// What is settled when it starts.
    pub offloads: Offloads,
}

/// A knob and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// As a name in a figure.
    pub knob: &'static str,
    /// What it decides.
    pub meaning: &'static str,
    /// Its values.
    pub values: Vec<Value>,
}

/// Where a knob can be turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// In virtual time; a checksum costs nothing there.
    Simnet,
    /// A thread over memory: segments are neither cut nor joined.
    Native,
    /// A guest, by the keys of its configuration.
    Guest,
}

/// What stays when nobody turns it.
fn usual() -> Knobs {
    Knobs { connections_max: CONNECTIONS, ..Knobs::default() }
}

fn sweep(knob: &'static str, meaning: &'static str, values: Vec<(String, Knobs)>) -> Sweep {
    let value = |(name, knobs)| Value { name, knobs, offloads: Offloads::Checksum };
    Sweep { knob, meaning, values: values.into_iter().map(value).collect() }
}

fn batching(early: Early) -> Vec<(String, Knobs)> {
    let mut values = vec![("0".to_string(), Knobs { early, ..usual() })];
    if early == Early::EveryConnectionHeard {
        values.push(("queued".into(), Knobs { batching: Batching::TakeQueued, early, ..usual() }));
    }
    values.extend([10, 50, 200].map(|delay| {
        let batching = Batching::Hold { delay_ns: delay * US };
        (format!("{delay}us"), Knobs { batching, early, ..usual() })
    }));
    values
}

/// All that a home has.
pub fn sweeps(home: Home) -> Vec<Sweep> {
    let mut all = vec![
        sweep(
            "wait",
            "how to wait",
            vec![
                ("halt".into(), usual()),
                ("spin20us".into(), Knobs { wait: Wait::Spin { budget_ns: 20 * US }, ..usual() }),
                ("spin100us".into(), Knobs { wait: Wait::Spin { budget_ns: 100 * US }, ..usual() }),
                ("poll".into(), Knobs { wait: Wait::Poll, ..usual() }),
            ],
        ),
        sweep(
            "batch",
            "how frames gather; a batch goes when every connection is in it",
            batching(Early::EveryConnectionHeard),
        ),
    ];
    if home != Home::Guest {
        let meaning = "the same as the paper has it: a batch waits for its delay";
        all.push(sweep("paper", meaning, batching(Early::NoConnection)));
    }
    let held = Knobs { batching: Batching::Hold { delay_ns: 50 * US }, ..usual() };
    let bounds = [1, 8, 64].map(|bound| (bound.to_string(), Knobs { batch_bound: bound, ..held }));
    all.push(sweep("bound", "frames that end a batch of 50 us", bounds.into()));
    let delays = [("0", 0), ("1ms", MS), ("40ms", 40 * MS)];
    let delays = delays.map(|(name, ack_delay_ns)| (name.into(), Knobs { ack_delay_ns, ..usual() }));
    all.push(sweep("ack", "how long an acknowledgement waits for a reply", delays.into()));
    let most = [8, 32, CONNECTIONS];
    let most = most.map(|most| (most.to_string(), Knobs { connections_max: most, ..usual() }));
    all.push(sweep("connections", "how many connections are let in, of 64", most.into()));
    let kinds: &[(&str, Offloads)] = match home {
        Home::Simnet => &[],
        Home::Native => &[("none", Offloads::Nothing), ("checksum", Offloads::Checksum)],
        Home::Guest => &[
            ("none", Offloads::Nothing),
            ("checksum", Offloads::Checksum),
            ("merging", Offloads::Merging),
            ("all", Offloads::All),
        ],
    };
    if !kinds.is_empty() {
        let values = kinds.iter().map(|(name, offloads)| {
            let name = (*name).to_string();
            Value { name, knobs: usual(), offloads: *offloads }
        });
        let meaning = "what the device does";
        all.push(Sweep { knob: "offloads", meaning, values: values.collect() });
    }
    all
}

/// What nothing is turned at: by it the capacity is measured of which loads are parts.
pub fn unturned() -> Value {
    Value { name: "usual".into(), knobs: usual(), offloads: Offloads::Checksum }
}

/// How load comes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// Each connection asks again when it was answered.
    Closed,
    /// Arrivals that do not wait for answers: this part of the capacity in percent.
    Open(u32),
}

/// All of them.
pub const LOADS: [Load; 4] = [Load::Closed, Load::Open(30), Load::Open(70), Load::Open(95)];

impl Load {
    /// As a name in a figure.
    pub fn name(self) -> String {
        match self {
            Self::Closed => "closed".into(),
            Self::Open(percent) => format!("open{percent}"),
        }
    }

    /// Arrivals a second; nothing in a closed loop.
    pub fn per_s(self, capacity_per_s: f64) -> Option<f64> {
        match self {
            Self::Closed => None,
            Self::Open(percent) => Some(capacity_per_s * f64::from(percent) / 100.0),
        }
    }
}
