//! GETs of the key-value cache, from the device's ring to the device's ring: 32-byte keys, 100-byte values.

use crate::ours;
use crate::{Load, Script};
use nom_kv::{Config, Kv};

const KEY: &str = "a-key-of-32-bytes-for-the-count!";
const VALUE_LEN: usize = 100;
const ITEMS_BYTES: usize = 8 << 20;

/// Stores the value, then gets it again and again.
pub fn play(load: &Load) {
    assert_eq!(KEY.len(), 32);
    let value = "v".repeat(VALUE_LEN);
    let set = format!("set {KEY} 0 0 {VALUE_LEN}\r\n{value}\r\n");
    let get = format!("get {KEY}\r\n");
    let answer_len = format!("VALUE {KEY} 0 {VALUE_LEN}\r\n{value}\r\nEND\r\n").len();
    let before = [(set.as_bytes(), "STORED\r\n".len()), (get.as_bytes(), answer_len)];
    let script = Script { before: &before, request: get.as_bytes(), answer_len };
    ours::play(load, &script, Kv::new(Config::new(ITEMS_BYTES, [3; 16], 0)));
}
