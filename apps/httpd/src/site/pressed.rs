//! Content that was, or may be, compressed here.

use super::{Outline, Site, Slot};
use crate::coding::Coding;
use crate::media;
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use nom_stack::application::{EFFORTS, Wish};

/// What is made here may take this part of the memory for content; what finds no room is not made.
pub const MADE_PART: usize = 4;
/// Shorter content does not become smaller: the fields that say how it is coded take as much.
const LEN_MIN: usize = 128;
/// Variants that are looked at for one wish.
const LOOK_MAX: usize = 1024;

/// Whether content is of a kind that becomes smaller.
pub(super) fn presses(body: &[u8], path: &str) -> bool {
    body.len() >= LEN_MIN && media::compresses(media::of(path.as_bytes()))
}

impl Site {
    /// Somebody was sent this who takes gzip.
    #[inline]
    pub(crate) fn note(&mut self, slot: Slot) {
        if let Some(Some(variant)) = self.variants.get_mut(slot as usize)
            && variant.presses
        {
            variant.sent += 1;
        }
    }

    /// The next content that was sent larger than it need be.
    pub(crate) fn wish(&mut self) -> Option<Wish> {
        let end = self.variants.len().min(self.looked + LOOK_MAX);
        while self.looked < end {
            let slot = self.looked;
            self.looked += 1;
            if let Some(variant) = self.variants[slot].as_ref().filter(|variant| variant.sent > 0) {
                let (content, sent, effort) = (slot as Slot, variant.sent, variant.made);
                let plain = self.plain_of(content)?;
                return Some(Wish { content, len: self.variant(plain).len(), sent, effort });
            }
        }
        if end == self.variants.len() {
            self.looked = 0;
        }
        None
    }

    /// The content of which this is a variant, as it was put here.
    pub(crate) fn plain_of(&self, slot: Slot) -> Option<Slot> {
        let variant = self.variants.get(slot as usize)?.as_ref()?;
        if variant.coding == Coding::Identity {
            return Some(slot);
        }
        self.paths.values().find(|entry| entry.slots.contains(&Some(slot)))?.slots[0]
    }

    /// All content that may become smaller.
    pub(crate) fn all_that_press(&self) -> Vec<Slot> {
        let slots = self.paths.values().filter_map(|entry| entry.slots[0]);
        slots.filter(|slot| self.variant(*slot).presses).collect()
    }

    /// The path of content, for people.
    pub(crate) fn name_of(&self, plain: Slot) -> String {
        let path = self.paths.iter().find(|(_, entry)| entry.slots[0] == Some(plain));
        path.map(|(path, _)| String::from_utf8_lossy(path).into_owned()).unwrap_or_default()
    }

    /// Takes what came out of the press, where it makes answers smaller and there is room; else this content is not pressed
    /// again. `None` came out when it would have grown. False when nothing changed.
    pub(crate) fn take_pressed(&mut self, plain: Slot, out: Option<Vec<u8>>, effort: usize) -> bool {
        let of = |entry: &super::Entry| entry.slots[0] == Some(plain);
        let Some((path, entry)) = self.paths.iter().find(|(_, entry)| of(entry)) else { return false };
        let (path, mut entry) = (path.clone(), *entry);
        let before = entry.slots[Coding::Gzip as usize];
        let kept = out.and_then(|out| self.keep(plain, before, out, effort));
        match kept {
            Some(slot) => {
                entry.slots[Coding::Gzip as usize] = Some(slot);
                self.paths.insert(path, entry);
                self.generation += 1;
                if let Some(before) = before {
                    self.release(before);
                }
                self.vary(plain);
            }
            None => {
                for slot in [Some(plain), before].into_iter().flatten() {
                    self.refuse_to_press(slot);
                }
            }
        }
        kept.is_some()
    }

    fn refuse_to_press(&mut self, slot: Slot) {
        if let Some(Some(variant)) = self.variants.get_mut(slot as usize) {
            (variant.presses, variant.sent) = (false, 0);
        }
    }

    /// Stores it; none when it does not pay or has no room.
    fn keep(&mut self, plain: Slot, before: Option<Slot>, out: Vec<u8>, effort: usize) -> Option<Slot> {
        let len = out.len();
        let room = self.made_bytes + len <= self.bytes_max / MADE_PART && self.bytes + len <= self.bytes_max;
        // What a file said is not replaced.
        let replaces = before.is_none_or(|before| self.variant(before).made.is_some());
        if !room || !replaces {
            return None;
        }
        let variant = self.variant(plain);
        let outline = Outline {
            coding: Coding::Gzip,
            media: variant.media,
            modified_s: variant.modified_s,
            varies: true,
        };
        let sent_before = self.variant(before.unwrap_or(plain)).answer_len();
        let slot = self.store(Cow::Owned(out), outline);
        if let Some(Some(variant)) = self.variants.get_mut(slot as usize) {
            (variant.made, variant.presses) = (Some(effort), effort + 1 < EFFORTS);
            self.made_bytes += len;
        }
        if self.variant(slot).answer_len() < sent_before {
            return Some(slot);
        }
        self.release(slot);
        None
    }

    /// From now on there is another variant beside it, which its head says.
    fn vary(&mut self, slot: Slot) {
        let variant = self.variant(slot);
        let outline = Outline {
            coding: variant.coding,
            media: variant.media,
            modified_s: variant.modified_s,
            varies: true,
        };
        let (answer, head_len) = self.answer(&variant.body, &variant.etag, &outline);
        let dated_s = u64::from(self.dated);
        let Some(Some(variant)) = self.variants.get_mut(slot as usize) else { return };
        (variant.answer, variant.head_len, variant.dated_s) = (answer, head_len, dated_s);
        // Who is sent it plain from now on takes nothing else.
        (variant.varies, variant.presses, variant.sent) = (true, false, 0);
    }
}
