//! Which memory of the application a device reaches, and under which address.

/// How many regions an application registers: one heap, and room for arenas that are mapped later.
pub const REGIONS_MAX: usize = 4;

/// Memory that a device reaches, contiguous for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    start: usize,
    len: usize,
    device: u64,
}

impl Region {
    /// Registered memory of `len` bytes at `start`, which the device knows as `device`.
    ///
    /// # Safety
    /// Both addresses mean the same memory, over the whole length and for as long as the application runs, and it is
    /// the application's own.
    pub const unsafe fn new(start: usize, len: usize, device: u64) -> Self {
        Self { start, len, device }
    }

    const EMPTY: Region = Region { start: 0, len: 0, device: 0 };

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// A region without a byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    fn translate(&self, start: usize, len: usize) -> Option<u64> {
        let offset = start.wrapping_sub(self.start);
        (offset < self.len && len <= self.len - offset).then(|| self.device + offset as u64)
    }
}

/// There are [`REGIONS_MAX`] regions already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyRegions;

/// All memory that a device reaches: looked up for every payload slice, so it is a small flat table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regions {
    table: [Region; REGIONS_MAX],
    count: usize,
}

impl Regions {
    /// Nothing is reachable.
    pub const NONE: Regions = Regions { table: [Region::EMPTY; REGIONS_MAX], count: 0 };

    /// One region.
    pub const fn one(region: Region) -> Self {
        let mut table = [Region::EMPTY; REGIONS_MAX];
        table[0] = region;
        Self { table, count: 1 }
    }

    /// One region more.
    pub fn add(&mut self, region: Region) -> Result<(), TooManyRegions> {
        let place = self.table.get_mut(self.count).ok_or(TooManyRegions)?;
        *place = region;
        self.count += 1;
        Ok(())
    }

    /// The device's address of these bytes, when all of them lie in one region.
    #[inline]
    pub fn translate(&self, bytes: &[u8]) -> Option<u64> {
        let start = bytes.as_ptr() as usize;
        self.table[..self.count].iter().find_map(|region| region.translate(start, bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_within_one_region_are_translated() {
        let memory = [0u8; 64];
        let start = memory.as_ptr() as usize;
        // SAFETY: the addresses are only compared here, no device uses them.
        let (low, high) = unsafe { (Region::new(start, 16, 0x1000), Region::new(start + 16, 16, 0x9000)) };
        let mut regions = Regions::one(low);
        assert_eq!(regions.translate(&memory[16..20]), None);
        regions.add(high).unwrap();
        assert_eq!(regions.translate(&memory[..16]), Some(0x1000));
        assert_eq!(regions.translate(&memory[3..9]), Some(0x1003));
        assert_eq!(regions.translate(&memory[16..32]), Some(0x9000));
        assert_eq!(regions.translate(&memory[8..24]), None, "two regions are not contiguous for the device");
        assert_eq!(regions.translate(&memory[31..33]), None);
        assert_eq!(regions.translate(&memory[40..41]), None);
        regions.add(low).unwrap();
        regions.add(low).unwrap();
        assert_eq!(regions.add(low), Err(TooManyRegions));
    }
}
