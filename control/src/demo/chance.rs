//! Chance that can be repeated, and what conversations say: bytes that follow from who speaks.

/// SplitMix64: small, fast, and good enough to choose hosts with.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit.max(1) as u128) >> 64) as usize
    }

    /// One of these.
    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// In another order.
    pub(super) fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i + 1));
        }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `length` bytes, from byte `from` on, of the endless text that belongs to `id` and `part`.
pub(super) fn text(id: u32, part: u16, from: usize, length: usize) -> impl Iterator<Item = u8> {
    let seed = u64::from(id) << 32 | u64::from(part) << 16;
    let word = move |n: usize| mix(seed.wrapping_add((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))).to_le_bytes();
    let (mut at, mut held) = (from / 8, word(from / 8));
    (from..from + length).map(move |n| {
        if n / 8 != at {
            (at, held) = (n / 8, word(n / 8));
        }
        held[n % 8]
    })
}

/// What begins the payload of every datagram of a conversation.
const MAGIC: [u8; 4] = *b"UPdm";
/// Magic, conversation, part.
pub(super) const MARK: usize = 10;

/// The payload that is part `part` of conversation `id`: `length` bytes, at least [`MARK`].
pub(super) fn payload(id: u32, part: u16, length: usize) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&part.to_be_bytes());
    bytes.extend(text(id, part, 0, length.saturating_sub(MARK)));
    bytes
}

/// The conversation and the part that a payload says it is.
pub(super) fn mark(payload: &[u8]) -> Option<(u32, u16)> {
    let (magic, rest) = payload.get(..MARK)?.split_at(4);
    (magic == MAGIC)
        .then(|| (u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]), u16::from_be_bytes([rest[4], rest[5]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_same_from_wherever_it_is_read() {
        let whole: Vec<u8> = text(7, 1, 0, 100).collect();
        assert_eq!(text(7, 1, 13, 50).collect::<Vec<_>>(), whole[13..63]);
        assert_ne!(text(8, 1, 0, 100).collect::<Vec<_>>(), whole);
        assert_ne!(text(7, 2, 0, 100).collect::<Vec<_>>(), whole);
    }

    #[test]
    fn a_payload_says_whose_it_is() {
        let bytes = payload(0x0102_0304, 9, 64);
        assert_eq!((bytes.len(), mark(&bytes)), (64, Some((0x0102_0304, 9))));
        assert_eq!(mark(&bytes[1..]), None);
        assert_eq!(mark(&bytes[..9]), None);
    }

    #[test]
    fn chance_spreads_evenly_and_keeps_all_when_it_shuffles() {
        let mut chance = Chance::new(1);
        let mut seen = [0; 5];
        (0..5000).for_each(|_| seen[chance.below(5)] += 1);
        assert!(seen.iter().all(|n| (800..1200).contains(n)), "{seen:?}");
        let mut list: Vec<u32> = (0..20).collect();
        chance.shuffle(&mut list);
        assert_ne!(list, (0..20).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..20).collect::<Vec<_>>());
    }
}
