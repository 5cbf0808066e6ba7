//! Bytes to change in a segment, and what that does to its checksum.

use super::Why;
use crate::wire::checksum::Delta;
use arrayvec::ArrayVec;

/// Most bytes that may change in one segment: both of every identifier in 1460 bytes of the shortest messages are 184.
pub const MAX_EDITS: usize = 192;

/// One byte of a payload to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Where, from the payload's first byte.
    pub at: u16,
    /// What is there.
    pub old: u8,
    /// What is to be there.
    pub new: u8,
}

/// The bytes of one segment to change, in the order of their places; none is listed that keeps its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits(ArrayVec<Edit, MAX_EDITS>);

impl Edits {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All, in the order of their places.
    #[must_use]
    pub fn as_slice(&self) -> &[Edit] {
        &self.0
    }

    /// Whether the segment stays as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the new bytes into `payload` and says what to change the TCP checksum by.
    ///
    /// The payload of TCP begins at an even offset of what the checksum covers, for its header is counted in words of
    /// four bytes. So a byte at an even offset is the high half of its 16-bit word (RFC 1624 knows only words).
    #[must_use = "the checksum is wrong until it is changed by this"]
    pub fn apply(&self, payload: &mut [u8]) -> Delta {
        let mut delta = Delta::NONE;
        for edit in &self.0 {
            let Some(byte) = payload.get_mut(usize::from(edit.at)) else { break };
            let shift = if edit.at % 2 == 0 { 8 } else { 0 };
            delta = delta.and(Delta::word(u16::from(*byte) << shift, u16::from(edit.new) << shift));
            *byte = edit.new;
        }
        delta
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Notes that `old` at `at`, behind all noted before, is to become `new`.
    pub(super) fn note(&mut self, at: usize, old: u8, new: u8) -> Result<(), Why> {
        if old == new {
            return Ok(());
        }
        let at = u16::try_from(at).map_err(|_| Why::TooMany)?;
        self.0.try_push(Edit { at, old, new }).map_err(|_| Why::TooMany)
    }

    /// What the byte `old` at `at` becomes.
    pub(super) fn new_at(&self, at: usize, old: u8) -> u8 {
        let found = self.0.binary_search_by_key(&at, |e| usize::from(e.at)).ok();
        found.and_then(|n| self.0.get(n)).map_or(old, |e| e.new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_delta_equals_a_full_sum_at_odd_and_even_places(
            mut segment in prop::collection::vec(any::<u8>(), 24..200),
            changes in prop::collection::btree_map(0u16..180, any::<u8>(), 0..40),
        ) {
            segment[16..18].fill(0);
            let sum = checksum::of(&segment);
            let mut edits = Edits::new();
            for (at, new) in changes {
                if let Some(&old) = segment[20..].get(usize::from(at)) {
                    edits.note(usize::from(at), old, new).unwrap();
                }
            }
            let before = segment.clone();
            let updated = edits.apply(&mut segment[20..]).apply(sum);
            for (at, (old, new)) in before[20..].iter().zip(&segment[20..]).enumerate() {
                prop_assert_eq!(edits.new_at(at, *old), *new);
                prop_assert_eq!(edits.as_slice().iter().any(|e| usize::from(e.at) == at), old != new);
            }
            segment[16..18].copy_from_slice(&updated.to_be_bytes());
            prop_assert!(checksum::is_valid(&segment) && testkit::checksum(&segment) == 0);
        }
    }

    #[test]
    fn an_edit_beyond_the_array_is_refused_and_one_that_changes_nothing_costs_none() {
        let mut edits = Edits::new();
        for at in 0..MAX_EDITS {
            assert_eq!((edits.note(at, 1, 2), edits.note(at, 3, 3)), (Ok(()), Ok(())));
        }
        assert_eq!(edits.note(MAX_EDITS, 1, 2), Err(Why::TooMany));
        edits.clear();
        assert_eq!((edits.note(65_536, 1, 2), edits.is_empty()), (Err(Why::TooMany), true));
    }
}
