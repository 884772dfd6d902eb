//! A snapshot as JSON. What is no number there (no figure yet, a division by nothing) is null.

use nom_view::{Money, Snapshot};
use serde_json::{Value, json};

/// The snapshot.
pub fn snapshot(now: &Snapshot) -> Value {
    json!({
        "service": now.service,
        "place": now.place,
        "elapsed_s": now.elapsed.as_secs_f64(),
        "ends_s": now.ends.map(|ends| ends.as_secs_f64()),
        "prices": now.prices.iter().map(|price| json!({
            "name": price.name, "text": price.text, "course": price.course,
        })).collect::<Vec<_>>(),
        "rates": now.rates.as_ref().map(money),
        "total": money(&now.total),
        "profits": now.profits,
        "operations_per_s": now.operations_per_s,
        "operations": now.operations,
        "refused_per_s": now.refused_per_s,
        "capacity_per_s": now.capacity_per_s,
        "connections": now.connections,
        "latency": now.latency.as_ref().map(|latency| json!({
            "p50_ns": latency.p50_ns, "p90_ns": latency.p90_ns, "p99_ns": latency.p99_ns,
            "p999_ns": latency.p999_ns, "mean_ns": latency.mean_ns, "jitter_ns": latency.jitter_ns,
        })),
        "request": now.request.as_ref().map(|request| json!({
            "in_bytes": request.in_bytes, "out_bytes": request.out_bytes, "core_ns": request.core_ns,
            "kicks": request.kicks, "sleeps": request.sleeps, "cost": request.cost,
        })),
        "setting": now.setting,
        "fixed": now.fixed.iter().map(|fixed| json!({
            "setting": fixed.setting, "current": fixed.current, "frontier": fixed.frontier,
            "latency_ns": fixed.latency_ns, "cost": fixed.cost,
            "profit_per_h": fixed.profit_per_h, "total": fixed.total,
        })).collect::<Vec<_>>(),
        "decisions": now.decisions.iter().map(|decision| json!({
            "at_s": decision.at.as_secs_f64(), "before": decision.before, "after": decision.after,
            "why": decision.why, "took_ns": decision.took_ns,
        })).collect::<Vec<_>>(),
    })
}

fn money(money: &Money) -> Value {
    json!({
        "revenue": money.revenue, "bandwidth": money.bandwidth, "core": money.core, "memory": money.memory,
        "profit": money.profit(),
    })
}
