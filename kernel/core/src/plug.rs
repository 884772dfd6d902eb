//! What a port for plugging says, and what is to be done about it (PCI Express 3.0, 6.7.3 and 7.8.10).

/// How long an owner may keep a device that is to be taken out.
pub const GRACE_NS: u64 = 500_000_000;

/// Control: tell of the attention button and of presence, by interrupt; the attention indicator is off.
const TELL: u16 = 1 | 1 << 3 | 1 << 5 | 3 << 6;
const INDICATOR_ON: u16 = 1 << 8;
const INDICATOR_OFF: u16 = 3 << 8;
const POWER_OFF: u16 = 1 << 10;
/// Status: what is cleared by writing it.
pub const EVENTS: u16 = 0x11f;
const ATTENTION: u16 = 1;
const PRESENCE_CHANGED: u16 = 1 << 3;
const PRESENT: u16 = 1 << 6;

/// The control of a port whose slot has power, or none.
pub fn control(power: bool) -> u16 {
    TELL | if power { INDICATOR_ON } else { INDICATOR_OFF | POWER_OFF }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Something was plugged in: give it power and look what it is.
    Enter,
    /// What is there wants to be taken out.
    Leave,
    /// What was there is gone already.
    Gone,
    /// It was changed for something else.
    Changed,
}

/// Whether something is in the slot.
pub fn occupied(status: u16) -> bool {
    status & PRESENT != 0
}

/// Reads a status. `known`: there are published devices behind the port.
pub fn step(status: u16, known: bool) -> Step {
    let (attention, changed) = (status & ATTENTION != 0, status & PRESENCE_CHANGED != 0);
    match (occupied(status), known) {
        (false, true) => Step::Gone,
        (true, false) if attention || changed => Step::Enter,
        (true, true) if changed => Step::Changed,
        (true, true) if attention => Step::Leave,
        _ => Step::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_followed() {
        // As QEMU says it: plugged in, the button for taking out, gone after power was taken.
        assert_eq!(step(PRESENT | PRESENCE_CHANGED | ATTENTION, false), Step::Enter);
        assert_eq!(step(PRESENT | 1 << 4, true), Step::Nothing);
        assert_eq!(step(PRESENT | ATTENTION, true), Step::Leave);
        assert_eq!(step(PRESENCE_CHANGED, false), Step::Nothing);
        // Without asking.
        assert_eq!(step(PRESENCE_CHANGED, true), Step::Gone);
        assert_eq!(step(PRESENT | PRESENCE_CHANGED, true), Step::Changed);
        assert_eq!((control(true), control(false)), (0x1e9, 0x7e9));
    }
}
