//! A browser without a screen, led over its own protocol: JSON with a zero byte behind each message, by a pipe.
//!
//! It looks for as long as it is asked to, by a condition on the page and not by a clock: that a page is *renewed* cannot
//! be told from one look at it.

use nom_machine::machine::dying_with_us;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long the browser may take to do one thing, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a condition on the page is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The browser's protocol is on its descriptors 3 and 4; a shell puts our pipes there.
const START: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// A browser with one page.
pub struct Led {
    child: Child,
    orders: ChildStdin,
    answers: Receiver<Value>,
    number: u64,
    session: Option<String>,
    /// What the page complained of: exceptions, and what it was not allowed to load.
    complaints: Vec<String>,
    _profile: Scratch,
}

impl Led {
    /// Starts the browser, without a page to see.
    pub fn start(program: &Path) -> Outcome<Self> {
        let profile = Scratch::new()?;
        let mut child = dying_with_us(Path::new("/bin/sh"))
            .args(["-c", START])
            .arg(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"])
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context(|| format!("cannot start {}", program.display()))?;
        let orders = child.stdin.take().expect("stdin is a pipe");
        let mut told = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while told.read_until(0, &mut message).is_ok_and(|len| len > 0) {
                let answer = serde_json::from_slice(message.strip_suffix(&[0]).unwrap_or(&message));
                if answer.is_ok_and(|answer| tell.send(answer).is_err()) {
                    return;
                }
                message.clear();
            }
        });
        let (number, session, complaints) = (0, None, Vec::new());
        let mut led = Self { child, orders, answers, number, session, complaints, _profile: profile };
        let page = led.order("Target.createTarget", json!({ "url": "about:blank" }))?;
        let known =
            led.order("Target.attachToTarget", json!({ "targetId": page["targetId"], "flatten": true }))?;
        led.session = known["sessionId"].as_str().map(String::from);
        for heard in ["Runtime.enable", "Log.enable", "Page.enable"] {
            led.order(heard, json!({}))?;
        }
        Ok(led)
    }

    /// Starts the browser and opens a page.
    pub fn open(program: &Path, url: &str) -> Outcome<Self> {
        let mut led = Self::start(program)?;
        led.visit(url)?;
        Ok(led)
    }

    /// Opens a page; returns once it is loaded.
    pub fn visit(&mut self, url: &str) -> Outcome<()> {
        let visited = self.order("Page.navigate", json!({ "url": url }))?;
        if let Some(why) = visited["errorText"].as_str() {
            return Err(Trouble::new(format!("the browser cannot open {url}: {why}")));
        }
        self.wait(
            "the page is loaded",
            "document.readyState === 'complete' && location.href !== 'about:blank'",
        )
    }

    /// Gives an order and waits for what it brought.
    fn order(&mut self, method: &str, parameters: Value) -> Outcome<Value> {
        self.number += 1;
        let mut order = json!({ "id": self.number, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        let mut bytes = order.to_string().into_bytes();
        bytes.push(0);
        self.orders.write_all(&bytes).context(|| format!("the browser takes no orders ({method})"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = match self.answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Trouble::new(format!("the browser did not answer {method}")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Trouble::new(format!("the browser ended before it answered {method}")));
                }
            };
            match answer["method"].as_str() {
                Some("Runtime.exceptionThrown") => {
                    self.complaints.push(answer["params"]["exceptionDetails"].to_string());
                }
                Some("Log.entryAdded") if answer["params"]["entry"]["level"] == "error" => {
                    self.complaints.push(answer["params"]["entry"]["text"].to_string());
                }
                _ => {}
            }
            if answer["id"] == self.number {
                return match &answer["error"] {
                    Value::Null => Ok(answer["result"].clone()),
                    error => Err(Trouble::new(format!("the browser refused {method}: {error}"))),
                };
            }
        }
    }

    /// What an expression of the page's language is.
    pub fn value(&mut self, expression: &str) -> Outcome<Value> {
        let found =
            self.order("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }))?;
        match &found["exceptionDetails"] {
            Value::Null => Ok(found["result"]["value"].clone()),
            thrown => Err(Trouble::new(format!("{expression}: {thrown}"))),
        }
    }

    /// Waits until an expression is true.
    pub fn wait(&mut self, what: &str, expression: &str) -> Outcome<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.value(expression)? != json!(true) {
            if Instant::now() > deadline {
                return Err(Trouble::new(format!("it was waited for in vain that {what}")));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Presses a key that writes a letter.
    pub fn press(&mut self, key: &str) -> Outcome<()> {
        for kind in ["keyDown", "keyUp"] {
            self.order("Input.dispatchKeyEvent", json!({ "type": kind, "key": key, "text": key }))?;
        }
        Ok(())
    }

    /// The window's size in points.
    pub fn size(&mut self, width: u32, height: u32) -> Outcome<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.order("Emulation.setDeviceMetricsOverride", size).map(drop)
    }

    /// What the person's system is set to (`dark` or `light`), and whether it is paper that is drawn on.
    pub fn medium(&mut self, scheme: &str, paper: bool) -> Outcome<()> {
        let medium = json!({
            "media": if paper { "print" } else { "" },
            "features": [{ "name": "prefers-color-scheme", "value": scheme }],
        });
        self.order("Emulation.setEmulatedMedia", medium).map(drop)
    }

    /// A picture of the whole page, as PNG.
    pub fn picture(&mut self, path: &Path) -> Outcome<()> {
        let taken =
            self.order("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }))?;
        let bytes = plain(taken["data"].as_str().unwrap_or_default());
        if !bytes.starts_with(b"\x89PNG") {
            return Err(Trouble::new("the browser made no picture"));
        }
        std::fs::write(path, bytes).context(|| format!("cannot write {}", path.display()))
    }

    /// Fails when the page complained of anything since it was opened.
    pub fn content(&self) -> Outcome<()> {
        match self.complaints.first() {
            Some(complaint) => Err(Trouble::new(format!("the page complains: {complaint}"))),
            None => Ok(()),
        }
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        self.session = None;
        // Asked first, since the children that it made are then ended by it.
        let asked = self.order("Browser.close", json!({}));
        let deadline = Instant::now() + Duration::from_secs(20);
        while asked.is_ok() && Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bytes that a text in base 64 stands for.
fn plain(text: &str) -> Vec<u8> {
    let digit = |letter| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(text.len() / 4 * 3), 0_u32, 0);
    for digit in text.bytes().filter_map(digit) {
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn base_64_is_read() {
        for (text, bytes) in
            [("", &b""[..]), ("bQ==", b"m"), ("bm8=", b"no"), ("bm9t", b"nom"), ("/+8=", b"\xff\xef")]
        {
            assert_eq!(plain(text), bytes, "{text}");
        }
    }
}
