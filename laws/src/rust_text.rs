//! Rust text as laws look at it: without comments and literals, and without what only tests compile.

/// Blanks comments and the insides of string and character literals; line numbers stay as they are.
pub fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !follows_name(bytes, at) => raw_end(bytes, at),
            b'\'' => character_end(bytes, at),
            _ => at,
        };
        if end > at {
            out.extend(bytes[at..end].iter().map(|&byte| if byte == b'\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            let letter = text[at..].chars().next().expect("at is a boundary");
            out.push(letter);
            at += letter.len_utf8();
        }
    }
    out
}

fn follows_name(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn block_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0;
    let mut at = at;
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|&&byte| byte == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return at;
    }
    let close: Vec<u8> = [b"\"".to_vec(), vec![b'#'; hashes]].concat();
    (open + 1..bytes.len())
        .find(|&end| bytes[end..].starts_with(&close))
        .map_or(bytes.len(), |end| end + close.len())
}

/// A lifetime looks like the beginning of a character; only what is closed at once is one.
fn character_end(bytes: &[u8], at: usize) -> usize {
    let length = match bytes.get(at + 1) {
        Some(b'\\') => bytes[at + 2..].iter().take(12).position(|&byte| byte == b'\'').map(|end| end + 3),
        Some(_) => bytes[at + 1..].iter().take(5).position(|&byte| byte == b'\'').map(|end| end + 2),
        None => None,
    };
    match length {
        Some(length)
            if length > 2 && std::str::from_utf8(&bytes[at + 1..at + length - 1]).is_ok_and(one_letter) =>
        {
            at + length
        }
        _ => at,
    }
}

fn one_letter(inside: &str) -> bool {
    inside.starts_with('\\') || inside.chars().count() == 1
}

/// Cuts off everything from the first test module on: our tests stand at the end of their file.
pub fn shipped(code: &str) -> &str {
    match code.find("#[cfg(test)]\nmod ") {
        Some(at) => &code[..at],
        None => code,
    }
}

/// Whether a word stands in the code by itself.
pub fn has_word(line: &str, word: &str) -> bool {
    let name = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(name)
            && !line[at + word.len()..].chars().next().is_some_and(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        let text = "a // unsafe\nb /* unsafe /* x */ */ c \"unsafe \\\" d\" 'e' '\\'' f<'g> r#\"unsafe\"# h";
        let blanked = code(text);
        assert!(!blanked.contains("unsafe") && !blanked.contains('e'));
        for kept in ["a", "b", "c", "f<'g>", "h"] {
            assert!(blanked.contains(kept), "{kept} in {blanked}");
        }
        assert_eq!(blanked.lines().count(), 2);
    }

    #[test]
    fn words_stand_alone() {
        assert!(has_word("pub unsafe fn", "unsafe"));
        assert!(!has_word("forbid(unsafe_code)", "unsafe"));
        assert_eq!(shipped("x\n#[cfg(test)]\nmod tests {}"), "x\n");
    }
}
