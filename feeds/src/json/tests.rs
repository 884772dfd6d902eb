//! Good, bad and hostile JSON; and the seeded noise that the other readers are tried with.

use super::*;

/// Seeded noise, and texts changed by it.
pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The text with one to three bytes changed, inserted or removed; `None` when it is no longer UTF-8.
    pub fn mutate(&mut self, text: &str) -> Option<String> {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=self.next() % 3 {
            let place = (self.next() as usize) % bytes.len();
            match self.next() % 3 {
                0 => bytes[place] = (self.next() % 160) as u8,
                1 => {
                    bytes.remove(place);
                }
                _ => bytes.insert(place, b"0123456789 .:,{}[]\"\\\n$/-"[(self.next() % 24) as usize]),
            }
        }
        String::from_utf8(bytes).ok()
    }
}

#[test]
fn json_is_read() {
    let text = r#" {"a":[1,-0.5e+3,true,null,{}],"b":"x\n\u00e9\ud83d\ude00\/","c":{"d":[]}} "#;
    let value = parse(text).unwrap();
    assert_eq!(value.get("b").and_then(Value::as_text), Some("x\né😀/"));
    let Some(Value::List(list)) = value.get("a") else { panic!("{value:?}") };
    assert_eq!(list[0].as_u64(), Some(1));
    assert_eq!(list[1], Value::Number("-0.5e+3".into()));
    let mut quoted = String::new();
    quote(&mut quoted, "a\"\\\n\u{1}é");
    assert_eq!(parse(&quoted), Ok(Value::Text("a\"\\\n\u{1}é".into())));
}

#[test]
fn what_is_not_json_is_refused() {
    let deep = "[".repeat(100_000);
    let wide = alloc::format!("[{}1]", "1,".repeat(5_000));
    for text in [
        "",
        "{",
        "}",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "01",
        "1.",
        ".5",
        "1e",
        "+1",
        "-",
        "nul",
        "truex",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"\\u+123\"",
        "\"\n\"",
        "\"",
        "{\"a\":1,\"a\":2}",
        "1 2",
        "'a'",
        "[1 2]",
        &deep,
        &wide,
    ] {
        assert!(parse(text).is_err(), "{}", &text[..text.len().min(40)]);
    }
}

#[test]
fn what_is_written_is_read() {
    let mut writer = Writer::new();
    writer.number("a", i128::MIN);
    writer.text("b_2", "x \"\\\n\u{1}é\ty\u{7f}");
    let text = writer.end();
    assert!(!text.contains('\n'));
    let members = alloc::vec![
        ("a".into(), Value::Number(alloc::format!("{}", i128::MIN))),
        ("b_2".into(), Value::Text("x \"\\\n\u{1}é\ty\u{7f}".into())),
    ];
    assert_eq!(parse(&text), Ok(Value::Object(members)));
    assert_eq!(parse(&Writer::new().end()), Ok(Value::Object(Vec::new())));
}

#[test]
fn an_object_has_a_bound_of_its_own() {
    let members = |count: usize| {
        let list: Vec<String> = (0..count).map(|place| alloc::format!("\"{place}\":0")).collect();
        alloc::format!("{{{}}}", list.join(","))
    };
    assert!(parse_large(&members(MEMBERS_MAX), usize::MAX).is_ok());
    assert!(parse_large(&members(MEMBERS_MAX + 1), usize::MAX).is_err());
}
