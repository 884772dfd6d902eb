//! How an input is made from good ones: a few changes of the kinds that break parsers.

use crate::INPUT_LEN_MAX;
use crate::random::Random;

/// Numbers at which lengths and counts go wrong.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// A new input from the material, with one to eight changes. Half of them begin from one of the first `originals`, so
/// that changes which pile up do not wear the good inputs away.
pub fn mutate(material: &[Vec<u8>], originals: usize, tokens: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let from = if random.below(2) == 0 { &material[..originals] } else { material };
    let mut input = pick(from, random).clone();
    for _ in 0..=random.below(8) {
        change(&mut input, pick(material, random), tokens, random);
        input.truncate(INPUT_LEN_MAX);
    }
    input
}

fn pick<'a>(material: &'a [Vec<u8>], random: &mut Random) -> &'a Vec<u8> {
    &material[random.below(material.len() as u64) as usize]
}

fn place(input: &[u8], random: &mut Random) -> usize {
    random.below(input.len() as u64 + 1) as usize
}

fn range(input: &[u8], random: &mut Random) -> std::ops::Range<usize> {
    let start = place(input, random);
    let len = random.below(32.min((input.len() - start) as u64) + 1) as usize;
    start..start + len
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}

/// One change. Parts of another input may come into it.
pub fn change(input: &mut Vec<u8>, other: &[u8], tokens: &[&[u8]], random: &mut Random) {
    let at = place(input, random);
    match random.below(10) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.bits() as u8,
        2 => {
            let bytes: Vec<u8> = (0..=random.below(8)).map(|_| random.bits() as u8).collect();
            insert(input, at, &bytes);
        }
        3 => drop(input.drain(range(input, random))),
        4 => {
            let copy = input[range(input, random)].to_vec();
            let times = 1 + random.below(16) as usize;
            insert(input, at, &copy.repeat(times));
        }
        5 if !tokens.is_empty() => {
            insert(input, at, tokens[random.below(tokens.len() as u64) as usize]);
        }
        6 => {
            // A number of two, four or eight bytes, in either order of bytes.
            let edge =
                EDGES[random.below(EDGES.len() as u64) as usize].wrapping_add(random.below(3)).to_le_bytes();
            let len = 2 << random.below(3);
            let mut bytes = edge[..len].to_vec();
            if random.below(2) == 0 {
                bytes.reverse();
            }
            if let Some(over) = input.get_mut(at..at + len) {
                over.copy_from_slice(&bytes);
            }
        }
        7 => {
            // A number in digits.
            let edge = EDGES[random.below(EDGES.len() as u64) as usize].wrapping_add(random.below(3));
            insert(input, at, edge.to_string().as_bytes());
        }
        8 => {
            let part = &other[range(other, random)];
            insert(input, at, part);
        }
        9 if random.below(8) == 0 => input.truncate(at),
        _ => {}
    }
}

/// A number in the forms in which inputs have it: eight, four, two bytes and one, in both orders, and digits. Always as
/// many forms in the same order; where it does not fit, its low bytes.
pub fn numbers(number: u64) -> Vec<Vec<u8>> {
    let bytes = number.to_le_bytes();
    let mut forms = Vec::new();
    for len in [8, 4, 2, 1] {
        let mut form = bytes[..len].to_vec();
        forms.push(form.clone());
        form.reverse();
        forms.push(form);
    }
    forms.push(number.to_string().into_bytes());
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_bounded_and_differ() {
        let material = vec![vec![7; INPUT_LEN_MAX], b"abc".to_vec(), Vec::new()];
        let mut random = Random::new(3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..2_000 {
            let input = mutate(&material, 1, &[b"token"], &mut random);
            assert!(input.len() <= INPUT_LEN_MAX);
            seen.insert(input);
        }
        assert!(seen.len() > 1_000);
    }
}
